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

pub(crate) struct Writers {
    disk: Arc<Disk>,
    lanes: Vec<Lane>,
    next: usize,
}

struct Lane {
    blocks: SyncSender<(u64, Arc<Block>)>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writers {
    pub(crate) fn start(disk: Disk, progress: &Arc<Progress>) -> Writers {
        let disk = Arc::new(disk);
        let lane = |_| {
            let (blocks, received) = sync_channel(1);
            let (disk, progress) = (Arc::clone(&disk), Arc::clone(progress));
            let thread = thread::spawn(move || write(&disk, received, &progress));
            Lane { blocks, thread }
        };
        Writers {
            lanes: (0..WRITERS).map(lane).collect(),
            disk,
            next: 0,
        }
    }

    /// An error tells of this block or of one before it.
    pub(crate) fn write(&mut self, at: u64, block: Arc<Block>) -> Result<(), Failure> {
        self.disk.has_room(at, block.bytes().len())?;
        let lane = &self.lanes[self.next];
        self.next = (self.next + 1) % WRITERS;
        lane.blocks.send((at, block)).or_else(|_gone| self.join())
    }

    /// Waits until all is on the medium.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.join()?;
        self.disk.flush()
    }

    fn join(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        for lane in self.lanes.drain(..) {
            drop(lane.blocks);
            let ended = lane.thread.join().expect("a writer does not panic");
            first = first.and(ended);
        }
        first.map_err(|error| self.disk.failure(&error))
    }
}

fn write(disk: &Disk, blocks: Receiver<(u64, Arc<Block>)>, progress: &Progress) -> io::Result<()> {
    let mut sample = Sample::new();
    for (at, block) in blocks {
        disk.put(at, &block, &mut sample, progress)?;
        progress
            .done
            .fetch_add(block.bytes().len() as u64, Ordering::Relaxed);
    }
    Ok(())
}
