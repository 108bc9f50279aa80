//! The stream as it comes: read on a thread of its own, hashed on another, and given on block by block.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rustix::pipe::fcntl_setpipe_size;

use crate::blocks::{BLOCK, Block, Pool};
use crate::hash::{Algorithm, Hashing};
use crate::report::{Failure, Kind, Progress};

pub(crate) struct Input {
    blocks: Receiver<io::Result<Arc<Block>>>,
    reader: JoinHandle<Option<String>>,
    /// The block that is being read, by those who read bytes, and how far.
    current: Option<Arc<Block>>,
    position: usize,
}

impl Input {
    /// With so many blocks to go round.
    pub(crate) fn start(
        source: File,
        hash: Option<Algorithm>,
        count: usize,
        progress: Arc<Progress>,
    ) -> Input {
        // What writes to a pipe of the usual 64 KiB waits for us after each of them. It is a pipe, or it needs none.
        fcntl_setpipe_size(&source, BLOCK).ok();
        let (sender, blocks) = sync_channel(count);
        let hashing = hash.map(Hashing::start);
        let pool = Pool::new(count);
        Input {
            blocks,
            reader: thread::spawn(move || read(source, &pool, hashing, &sender, &progress)),
            current: None,
            position: 0,
        }
    }

    pub(crate) fn next_block(&mut self) -> io::Result<Option<Arc<Block>>> {
        self.blocks.recv().ok().transpose()
    }

    /// The hash of all that came; at the end of the stream.
    pub(crate) fn hash(self) -> Option<String> {
        drop((self.blocks, self.current));
        self.reader.join().expect("the reader does not panic")
    }
}

fn read(
    mut source: File,
    pool: &Pool,
    hashing: Option<Hashing>,
    blocks: &SyncSender<io::Result<Arc<Block>>>,
    progress: &Progress,
) -> Option<String> {
    loop {
        let mut block = pool.take();
        if let Err(error) = block.fill(&mut source) {
            // The receiver has failed before, and told why.
            blocks.send(Err(io::Error::other(Unreadable(error)))).ok();
            return None;
        }
        let block = Arc::new(block);
        let count = block.bytes().len();
        progress.read.fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 {
            return hashing.map(Hashing::finish);
        }
        if let Some(hashing) = &hashing {
            hashing.add(&block);
        }
        blocks.send(Ok(block)).ok()?;
        if count < BLOCK {
            return hashing.map(Hashing::finish);
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_read = |block: &Arc<Block>| block.bytes().len() == self.position;
        if self.current.as_ref().is_none_or(is_read) {
            // The old one goes back to its pool first.
            self.current = None;
            self.position = 0;
            self.current = self.next_block()?;
        }
        let bytes = self.current.as_ref().map_or(&[][..], |block| block.bytes());
        Ok(&bytes[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

/// Marks an error of the stream itself among those of what unpacks it.
#[derive(Debug)]
struct Unreadable(io::Error);

impl Error for Unreadable {}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What an error that came out of an unpacker was.
pub(crate) fn failure(error: &io::Error) -> Failure {
    if error
        .get_ref()
        .is_some_and(<dyn Error + Send + Sync>::is::<Unreadable>)
    {
        Failure::new(Kind::Read, format!("reading standard input: {error}"))
    } else {
        Failure::new(Kind::Unpack, format!("unpacking the image: {error}"))
    }
}
