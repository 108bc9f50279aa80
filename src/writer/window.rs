//! A window on a stream: its latest bytes, for readers that have to go back a little.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::blocks::{BLOCK, Block};

pub(crate) struct Window {
    /// All of them full, but for the last of the stream.
    blocks: VecDeque<Arc<Block>>,
    count: usize,
    start: u64,
    end: u64,
}

impl Window {
    /// One of at most so many blocks.
    pub(crate) fn new(count: usize) -> Window {
        Window {
            blocks: VecDeque::new(),
            count,
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn push(&mut self, block: Arc<Block>) {
        self.end += block.bytes().len() as u64;
        self.blocks.push_back(block);
        if self.blocks.len() > self.count {
            self.blocks.pop_front();
            self.start += BLOCK as u64;
        }
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Makes `bytes` those from `start` to `end`, which are in the window.
    pub(crate) fn copy(&self, start: u64, end: u64, bytes: &mut Vec<u8>) {
        bytes.clear();
        let mut at = (start - self.start) as usize;
        let end = (end - self.start) as usize;
        while at < end {
            let block = self.blocks[at / BLOCK].bytes();
            let from = at % BLOCK;
            let count = (block.len() - from).min(end - at);
            bytes.extend_from_slice(&block[from..from + count]);
            at += count;
        }
    }
}
