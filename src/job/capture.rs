//! A stream's output on disk, bounded: head and tail are kept, the middle is counted.
//!
//! While it fits, the file is simply the stream. Once `max` bytes are full, the second half of the
//! file becomes a ring that the stream goes on running through, and `<name>.total` says how many
//! bytes there were in all; byte `n` of the stream then lies at `head + (n - head) % ring`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::atomic_file;

/// Digits of a `u64`, so that a new total always covers the old one.
const TOTAL_WIDTH: usize = 20;

/// How a file of `max` bytes is divided.
#[derive(Clone, Copy)]
struct Layout {
    head: u64,
    ring: u64,
}

impl Layout {
    fn of(max: u64) -> Self {
        let head = max / 2;
        Self {
            head,
            ring: max - head,
        }
    }

    /// Where byte `offset` of the stream lies, and how many follow it without a jump.
    fn place(self, offset: u64) -> (u64, u64) {
        if offset < self.head {
            return (offset, self.head - offset);
        }
        let into = (offset - self.head) % self.ring;
        (self.head + into, self.ring - into)
    }
}

/// The writing end, in the supervisor.
pub(super) struct Writer {
    path: PathBuf,
    /// Made when there is something to write: most scripts leave a stream empty.
    file: Option<File>,
    total_file: Option<File>,
    layout: Layout,
    max: u64,
    total: u64,
    /// The disk refused a write: from here on bytes are counted only.
    full: bool,
}

impl Writer {
    pub(super) fn new(path: &Path, max: u64) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            total_file: None,
            layout: Layout::of(max),
            max,
            total: 0,
            full: false,
        }
    }

    /// Takes a piece of output. A disk that is full loses bytes, never the script: its output
    /// goes on being read and counted.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if !self.full && self.max > 0 {
            self.full = self.store(bytes).is_err();
        }
        self.total += bytes.len() as u64;
    }

    fn store(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut offset = self.total;
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(private(&self.path)?),
        };
        if offset + bytes.len() as u64 > self.max && self.total_file.is_none() {
            // Before anything is overwritten: without this file the ring cannot be read.
            let total_file = private(&total_path(&self.path))?;
            total_file.write_all_at(digits(offset).as_bytes(), 0)?;
            self.total_file = Some(total_file);
        }
        // Only the last ring's worth of a piece that is longer than the ring can stay.
        while !bytes.is_empty() {
            let (at, room) = self.layout.place(offset);
            let (now, rest) =
                bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            file.write_all_at(now, at)?;
            offset += now.len() as u64;
            bytes = rest;
        }
        match &self.total_file {
            Some(file) => file.write_all_at(digits(offset).as_bytes(), 0),
            None => Ok(()),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

/// What is there of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// From the stream's beginning.
    pub head: Vec<u8>,
    /// Up to its end; empty where nothing is missing between.
    pub tail: Vec<u8>,
    /// Bytes that were produced, as far as the files know.
    pub total: u64,
}

impl Captured {
    /// Reads what `path` holds of a stream that was captured with `max`, and of that at most `keep` bytes, of both
    /// ends alike. No file is an empty stream.
    pub fn read(path: &Path, max: u64, keep: u64) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let Some(reader) = Reader::open(path, max).with_context(reading)? else {
            return Ok(Self {
                head: Vec::new(),
                tail: Vec::new(),
                total: 0,
            });
        };
        let total = reader.total().with_context(reading)?;
        let Layout { head, ring } = reader.layout;
        let (head, tail) = match total <= max {
            true => shortened((total, 0), keep),
            false => shortened((head, ring), keep),
        };
        Ok(Self {
            head: reader.bytes(0, head).with_context(reading)?,
            tail: reader.bytes(total - tail, tail).with_context(reading)?,
            total,
        })
    }

    pub fn bytes(mut self) -> Vec<u8> {
        self.head.append(&mut self.tail);
        self.head
    }
}

/// How much of head and tail is left where at most `keep` bytes may be.
fn shortened((head, tail): (u64, u64), keep: u64) -> (u64, u64) {
    if head + tail <= keep {
        return (head, tail);
    }
    let (head, tail) = match tail {
        0 => (head / 2, head - head / 2),
        _ => (head, tail),
    };
    let head = head.min((keep / 2).max(keep.saturating_sub(tail)));
    (head, tail.min(keep - head))
}

/// A piece of a stream that is still being written: at most `limit` bytes from `offset` on, or
/// from where the ring still has it. `None` when there is nothing new.
pub fn follow(path: &Path, max: u64, offset: u64, limit: u64) -> Result<Option<(u64, Vec<u8>)>> {
    let reading = || format!("following {}", path.display());
    let Some(reader) = Reader::open(path, max).with_context(reading)? else {
        return Ok(None);
    };
    let oldest = |total: u64| match total <= max {
        true => 0,
        false => total - reader.layout.ring,
    };
    let total = reader.total().with_context(reading)?;
    // The head never changes; past it only what the ring has not yet run over.
    let from = match offset < reader.layout.head {
        true => offset,
        false => offset.max(oldest(total)),
    };
    if from >= total || max == 0 {
        return Ok(None);
    }
    let end = match from < reader.layout.head {
        true => total.min(reader.layout.head),
        false => total,
    };
    let bytes = reader
        .bytes(from, limit.min(end - from))
        .with_context(reading)?;
    // The ring may have run over it while we read.
    let safe = oldest(reader.total().with_context(reading)?);
    if from >= reader.layout.head && from < safe {
        let lost = usize::try_from(safe - from)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        return Ok(Some((safe, bytes.split_at(lost).1.to_vec())));
    }
    Ok(Some((from, bytes)))
}

struct Reader {
    file: File,
    total_path: PathBuf,
    layout: Layout,
}

impl Reader {
    fn open(path: &Path, max: u64) -> io::Result<Option<Self>> {
        match atomic_file::open(path) {
            Ok(file) => Ok(Some(Self {
                file,
                total_path: total_path(path),
                layout: Layout::of(max),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn total(&self) -> io::Result<u64> {
        match atomic_file::read(&self.total_path, TOTAL_WIDTH as u64).and_then(text) {
            // Just made, or made when the disk was full.
            Ok(text) if text.is_empty() => Ok(self.file.metadata()?.len()),
            Ok(text) => text.parse().map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(self.file.metadata()?.len())
            }
            Err(error) => Err(error),
        }
    }

    fn bytes(&self, mut offset: u64, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let (at, room) = self.layout.place(offset);
            let len = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = rest.split_at_mut(len);
            self.file.read_exact_at(now, at)?;
            offset += len as u64;
            rest = later;
        }
        Ok(bytes)
    }
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn digits(total: u64) -> String {
    format!("{total:0TOTAL_WIDTH$}")
}

fn total_path(path: &Path) -> PathBuf {
    path.with_extension("total")
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `total` bytes in pieces of `piece`; byte `n` of the stream is `n % 251`.
    fn stream(dir: &Path, max: u64, total: usize, piece: usize) -> Captured {
        let path = dir.join("stdout");
        let bytes: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
        let mut writer = Writer::new(&path, max);
        bytes.chunks(piece).for_each(|piece| writer.write(piece));
        assert_eq!(writer.total(), total as u64);
        Captured::read(&path, max, u64::MAX).unwrap()
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let captured = stream(dir.path(), 1000, 1000, 300);
        assert_eq!(captured.total, 1000);
        let expected: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
        assert_eq!(captured.bytes(), expected);
    }

    #[test]
    fn of_what_does_not_fit_head_and_tail_are_kept_and_the_rest_is_counted() {
        for (max, total, piece) in [
            (1000, 1001, 7),
            (1000, 10_000, 333),
            (99, 5000, 5000),
            (2, 9, 1),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let captured = stream(dir.path(), max, total, piece);
            assert_eq!(captured.total, total as u64);
            let head: Vec<u8> = (0..(max / 2) as usize).map(|n| (n % 251) as u8).collect();
            let ring = (max - max / 2) as usize;
            let tail: Vec<u8> = (total - ring..total).map(|n| (n % 251) as u8).collect();
            assert_eq!(captured.head, head, "max {max}");
            assert_eq!(captured.tail, tail, "max {max}");
        }
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(&dir.path().join("stdout"), 0);
        writer.write(b"abc");
        assert_eq!(writer.total(), 3);
        assert_eq!(
            Captured::read(&dir.path().join("stdout"), 0, u64::MAX)
                .unwrap()
                .bytes(),
            b""
        );
    }

    #[test]
    fn a_follower_that_keeps_up_sees_every_byte_and_one_that_does_not_sees_the_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let mut writer = Writer::new(&path, 10);
        assert_eq!(follow(&path, 10, 0, 100).unwrap(), None);
        writer.write(b"abc");
        assert_eq!(
            follow(&path, 10, 0, 100).unwrap(),
            Some((0, b"abc".to_vec()))
        );
        writer.write(b"defgh");
        assert_eq!(
            follow(&path, 10, 3, 100).unwrap(),
            Some((3, b"de".to_vec()))
        );
        assert_eq!(follow(&path, 10, 5, 2).unwrap(), Some((5, b"fg".to_vec())));
        assert_eq!(follow(&path, 10, 8, 100).unwrap(), None);
        writer.write(b"ijklmnopq");
        assert_eq!(
            follow(&path, 10, 8, 100).unwrap(),
            Some((12, b"mnopq".to_vec()))
        );
    }

    #[test]
    fn shortening_keeps_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let kept = |max, keep| Captured::read(&path, max, keep).unwrap().bytes();
        let mut writer = Writer::new(&path, 10);
        writer.write(b"0123456789");
        assert_eq!(kept(10, 4), b"0189");
        assert_eq!(kept(10, 10), b"0123456789");
        assert_eq!(kept(10, 0), b"");
        writer.write(b"ab");
        assert_eq!(kept(10, 10), b"01234789ab");
        assert_eq!(kept(10, 4), b"01ab");
        for (ends, keep, left) in [
            ((5, 1), 4, (3, 1)),
            ((1, 5), 4, (1, 3)),
            ((4, 1), 0, (0, 0)),
            ((4, 0), 4, (4, 0)),
        ] {
            assert_eq!(shortened(ends, keep), left);
        }
    }
}
