//! A hash of a stream of blocks, on a thread of its own.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use clap::ValueEnum;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};

use crate::blocks::Block;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn digest(self) -> (&'static str, Box<dyn DynDigest>) {
        match self {
            Algorithm::Sha256 => ("sha256", Box::new(Sha256::default())),
            Algorithm::Sha384 => ("sha384", Box::new(Sha384::default())),
            Algorithm::Sha512 => ("sha512", Box::new(Sha512::default())),
        }
    }
}

pub(crate) struct Hashing {
    blocks: SyncSender<Arc<Block>>,
    thread: JoinHandle<String>,
}

impl Hashing {
    pub(crate) fn start(algorithm: Algorithm) -> Hashing {
        let (blocks, received) = sync_channel::<Arc<Block>>(64);
        let thread = thread::spawn(move || {
            let (name, mut digest) = algorithm.digest();
            for block in received {
                digest.update(block.bytes());
            }
            let mut text = format!("{name}:");
            for byte in digest.finalize() {
                write!(text, "{byte:02x}").expect("a string takes everything");
            }
            text
        });
        Hashing { blocks, thread }
    }

    pub(crate) fn add(&self, block: &Arc<Block>) {
        let sent = self.blocks.send(Arc::clone(block));
        sent.expect("the thread receives until the end");
    }

    /// The name of the algorithm, a colon and the digits.
    pub(crate) fn finish(self) -> String {
        drop(self.blocks);
        self.thread.join().expect("the thread does not panic")
    }
}
