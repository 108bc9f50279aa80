//! The image that a qcow2 has in it, written in any order: its head to memory, the rest to the disk.

use std::io;
use std::sync::Arc;

use crate::blocks::{BLOCK, Block, Pool};
use crate::report::Failure;
use crate::writers::Writers;

/// How many blocks may be on their way.
const IN_FLIGHT: usize = 24;

pub(crate) struct Guest {
    pub(crate) head: Vec<u8>,
    writers: Writers,
    /// Where it begins on the disk.
    offset: u64,
    pool: Pool,
    /// Clusters that follow each other are written as one: where they begin, and what they are so far.
    block: Option<(u64, Block)>,
}

impl Guest {
    pub(crate) fn new(writers: Writers, offset: u64, head: usize) -> Guest {
        Guest {
            head: vec![0; head],
            writers,
            offset,
            pool: Pool::new(IN_FLIGHT),
            block: None,
        }
    }

    pub(crate) fn put(&mut self, mut at: u64, mut bytes: &[u8]) -> Result<(), Failure> {
        if let Some(room) = usize::try_from(at)
            .ok()
            .and_then(|at| self.head.get_mut(at..))
        {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            at += count as u64;
            bytes = &bytes[count..];
        }
        while !bytes.is_empty() {
            let follows = |(start, block): &(u64, Block)| {
                let len = block.bytes().len();
                len < BLOCK && start + len as u64 == at
            };
            if !self.block.as_ref().is_some_and(follows) {
                self.flush()?;
            }
            let (_, block) = self.block.get_or_insert_with(|| (at, self.pool.take()));
            let before = bytes.len();
            let filled: io::Result<()> = block.fill(&mut bytes);
            filled.expect("memory can be read");
            at += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    pub(crate) fn put_zeros(&mut self, at: u64, end: u64) -> Result<(), Failure> {
        let at = at.max(self.head.len() as u64);
        if at < end {
            self.writers.write_zeros(self.offset + at, end - at)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self.block.take() {
            Some((at, block)) => self.writers.write(self.offset + at, Arc::new(block)),
            None => Ok(()),
        }
    }

    /// Waits until all is on the medium, but for the head, which comes back.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Failure> {
        self.flush()?;
        self.writers.finish()?;
        Ok(self.head)
    }
}
