//! Several blocks in flight to one disk: a few threads, which take turns.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::blocks::Block;
use crate::disk::{Disk, Sample};
use crate::report::{Failure, Progress};

const WRITERS: usize = 4;

/// How many zeros are one piece of work.
const ZEROS: usize = 16 << 20;

pub(crate) struct Writers {
    disk: Arc<Disk>,
    lanes: Vec<Lane>,
    next: usize,
}

enum Work {
    Block(Arc<Block>),
    Zeros(u64),
}

struct Lane {
    work: SyncSender<(u64, Work)>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writers {
    pub(crate) fn start(disk: Disk, progress: &Arc<Progress>) -> Writers {
        let disk = Arc::new(disk);
        let lane = |_| {
            let (work, received) = sync_channel(1);
            let (disk, progress) = (Arc::clone(&disk), Arc::clone(progress));
            let thread = thread::spawn(move || work_on(&disk, received, &progress));
            Lane { work, thread }
        };
        Writers {
            lanes: (0..WRITERS).map(lane).collect(),
            disk,
            next: 0,
        }
    }

    /// An error tells of this block or of one before it.
    pub(crate) fn write(&mut self, at: u64, block: Arc<Block>) -> Result<(), Failure> {
        self.disk.has_room(at, block.bytes().len() as u64)?;
        self.give(at, Work::Block(block))
    }

    pub(crate) fn write_zeros(&mut self, at: u64, count: u64) -> Result<(), Failure> {
        self.disk.has_room(at, count)?;
        for begin in (0..count).step_by(ZEROS) {
            let part = (count - begin).min(ZEROS as u64);
            self.give(at + begin, Work::Zeros(part))?;
        }
        Ok(())
    }

    fn give(&mut self, at: u64, work: Work) -> Result<(), Failure> {
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % WRITERS;
        let given = lane.work.send((at, work));
        given.or_else(|_ended| self.join())
    }

    /// Waits until all is on the medium.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.join()?;
        self.disk.flush()
    }

    fn join(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        for lane in self.lanes.drain(..) {
            drop(lane.work);
            let ended = lane.thread.join().expect("a writer does not panic");
            first = first.and(ended);
        }
        first.map_err(|error| self.disk.failure(&error))
    }
}

fn work_on(disk: &Disk, received: Receiver<(u64, Work)>, progress: &Progress) -> io::Result<()> {
    let mut sample = Sample::new();
    for (at, work) in received {
        let count = match work {
            Work::Block(block) => {
                disk.put(at, &block, &mut sample, progress)?;
                block.bytes().len() as u64
            }
            Work::Zeros(count) => {
                disk.put_zeros(at, count, &mut sample, progress)?;
                count
            }
        };
        progress.done.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}
