//! Blocks of memory, aligned as direct I/O wants them, that go round between the threads: their number is the bound of
//! what is in flight, and a thread that needs one waits until one comes back.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

pub(crate) const BLOCK: usize = 1 << 20;

/// No disk has larger logical blocks.
const ALIGNMENT: usize = 4096;

pub(crate) struct Pool {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
}

impl Pool {
    pub(crate) fn new(count: usize) -> Pool {
        let (home, free) = sync_channel(count);
        for _ in 0..count {
            home.send(vec![0; BLOCK + ALIGNMENT])
                .expect("the other end is here");
        }
        Pool { free, home }
    }

    /// An empty block.
    pub(crate) fn take(&self) -> Block {
        let memory = self.free.recv().expect("the other end is here");
        Block {
            start: memory.as_ptr().align_offset(ALIGNMENT),
            memory,
            len: 0,
            home: self.home.clone(),
        }
    }
}

pub(crate) struct Block {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    home: SyncSender<Vec<u8>>,
}

impl Block {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.padded(1)
    }

    /// Its bytes, and zeros up to a multiple of `sector`.
    pub(crate) fn padded(&self, sector: usize) -> &[u8] {
        let len = self.len.next_multiple_of(sector);
        &self.memory[self.start..self.start + len]
    }

    /// Reads until it is full or the source is at its end.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        let room = &mut self.memory[self.start..self.start + BLOCK];
        while self.len < BLOCK {
            match source.read(&mut room[self.len..]) {
                Ok(0) => break,
                Ok(count) => self.len += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let end = self.len.next_multiple_of(ALIGNMENT);
        room[self.len..end].fill(0);
        Ok(())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // It fails when the pool is gone, and then so is the need for its memory.
        self.home.try_send(mem::take(&mut self.memory)).ok();
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // A whole page at a time, without a branch in it, is what the compiler makes vector instructions of.
    let page_is_zero = |page: &[u8]| page.iter().fold(0, |all, byte| all | byte) == 0;
    bytes.chunks(4096).all(page_is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_aligned_and_padded_with_zeros_whatever_was_in_it_before() {
        let pool = Pool::new(1);
        let mut block = pool.take();
        block.fill(&mut io::repeat(7)).unwrap();
        assert_eq!(block.bytes().len(), BLOCK);
        drop(block);
        let mut block = pool.take();
        block.fill(&mut io::repeat(1).take(1000)).unwrap();
        assert_eq!(block.bytes(), [1; 1000]);
        assert_eq!(block.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(block.padded(512).len(), 1024);
        assert!(is_zero(&block.padded(4096)[1000..]));
        assert_eq!(block.padded(4096).len(), 4096);
    }

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        let mut bytes = vec![0; 3 * 4096 + 100];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in [0, 4095, 4096, 3 * 4096 + 99] {
            bytes[at] = 128;
            assert!(!is_zero(&bytes));
            bytes[at] = 0;
        }
    }
}
