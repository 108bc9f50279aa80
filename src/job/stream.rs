//! One of a script's streams: the pipe that it writes to and the files that keep what it wrote.

use std::io::{ErrorKind, PipeReader, Read};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};

use super::capture::Writer;

pub(super) struct CapturedStream {
    /// `None` after its end. It does not block.
    pub(super) pipe: Option<PipeReader>,
    pub(super) writer: Writer,
}

impl CapturedStream {
    /// Takes what is there now, about `max_bytes` bytes of it, in pieces of the buffer's capacity.
    pub(super) fn drain(&mut self, buffer: &mut Vec<u8>, max_bytes: u64) {
        let mut taken = 0;
        while let Some(pipe) = self.pipe.as_ref().filter(|_| taken < max_bytes) {
            buffer.clear();
            match rustix::io::read(pipe, spare_capacity(buffer)) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    self.writer.write(buffer);
                    taken += n as u64;
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Takes what is in the pipe at this moment, and no more: a descendant of the script may write for
    /// ever.
    pub(super) fn finish(&mut self, buffer: &mut Vec<u8>) {
        let there = self.pipe.as_ref().map(ioctl_fionread);
        // Without an answer, what a pipe usually holds; of an empty one, its end.
        let there = there.and_then(Result::ok).unwrap_or(65_536);
        self.drain(buffer, there.max(1));
    }
}

/// Reads and drops until no process holds the other ends any more.
pub(super) fn swallow(pipes: [Option<PipeReader>; 2]) {
    let mut pipes: Vec<PipeReader> = pipes.into_iter().flatten().collect();
    let mut buffer = [0; 4096];
    while !pipes.is_empty() {
        let poll_one = |pipe| PollFd::new(pipe, PollFlags::IN);
        let mut fds: Vec<PollFd> = pipes.iter().map(poll_one).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => pipes.retain_mut(|pipe| goes_on(pipe, &mut buffer)),
            Err(_) => return,
        }
    }
}

fn goes_on(pipe: &mut PipeReader, buffer: &mut [u8]) -> bool {
    match pipe.read(buffer) {
        Ok(n) => n > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
