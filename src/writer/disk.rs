//! A disk, written past the page cache: blocks of data, and ranges that it makes zero by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{FallocateFlags, OFlags, fallocate, fsync, ioctl_blksszget};

use crate::blocks::{BLOCK, Block, Pool, is_zero};
use crate::report::{Failure, Kind, Progress};

/// After how many bytes it is judged how fast something goes.
const TRIED: u64 = 16 << 20;
/// There are drives that write zeros one by one. A range that takes longer than this, 100 MB/s, or than writing does, is
/// written instead.
const SLOW: f64 = 10.0;

pub(crate) struct Disk {
    file: File,
    path: PathBuf,
    bytes: u64,
    sector: usize,
    makes_zeros: AtomicBool,
    zeroing: Speed,
    writing: Speed,
}

/// How long something took, of so many bytes.
#[derive(Default)]
struct Speed {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Speed {
    fn add(&self, bytes: u64, begun: Instant) {
        let took = begun.elapsed().as_nanos() as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// Nanoseconds a byte, if that can be said already.
    fn of_byte(&self) -> Option<f64> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let took = self.nanoseconds.load(Ordering::Relaxed);
        (bytes >= TRIED).then(|| took as f64 / bytes as f64)
    }
}

impl Disk {
    /// Fails if it is in use: mounted, or part of a stack of disks.
    pub(crate) fn open(path: &Path) -> Result<Disk, Failure> {
        let failure =
            |error| Failure::new(Kind::Write, format!("opening {}: {error}", path.display()));
        let mut file = open(path).map_err(failure)?;
        let is_device = file
            .metadata()
            .map_err(failure)?
            .file_type()
            .is_block_device();
        let sector = if is_device {
            ioctl_blksszget(&file).map_err(|error| failure(error.into()))?
        } else {
            512
        };
        Ok(Disk {
            bytes: file.seek(SeekFrom::End(0)).map_err(failure)?,
            file,
            path: path.to_owned(),
            sector: sector as usize,
            makes_zeros: true.into(),
            zeroing: Speed::default(),
            writing: Speed::default(),
        })
    }

    pub(crate) fn has_room(&self, at: u64, count: u64) -> Result<(), Failure> {
        let (path, bytes) = (self.path.display(), self.bytes);
        if !at.is_multiple_of(self.sector as u64) {
            let message = format!(
                "byte {at} of {path} is not where one of its sectors of {} begins",
                self.sector
            );
            return Err(Failure::new(Kind::Write, message));
        }
        if at.saturating_add(count) > bytes {
            let message = format!("the image is bigger than {path}, which has {bytes} bytes");
            return Err(Failure::new(Kind::TooBig, message));
        }
        Ok(())
    }

    /// Makes the disk have the block there, one way or the other.
    pub(crate) fn put(
        &self,
        at: u64,
        block: &Block,
        sample: &mut Sample,
        progress: &Progress,
    ) -> io::Result<()> {
        let bytes = block.padded(self.sector);
        let count = bytes.len() as u64;
        if is_zero(bytes) && self.make_zero(at, count, sample)? {
            progress.zeros.fetch_add(count, Ordering::Relaxed);
        } else {
            let begun = Instant::now();
            self.file.write_all_at(bytes, at)?;
            self.writing.add(count, begun);
            progress.written.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes so many bytes there zero, and what is left of the last sector.
    pub(crate) fn put_zeros(
        &self,
        at: u64,
        count: u64,
        sample: &mut Sample,
        progress: &Progress,
    ) -> io::Result<()> {
        let count = count.next_multiple_of(self.sector as u64);
        if self.make_zero(at, count, sample)? {
            progress.zeros.fetch_add(count, Ordering::Relaxed);
            return Ok(());
        }
        let mut zeros = sample.pool.take();
        zeros.fill(&mut io::repeat(0))?;
        for begin in (0..count).step_by(BLOCK) {
            let part = (count - begin).min(BLOCK as u64);
            self.file
                .write_all_at(&zeros.bytes()[..part as usize], at + begin)?;
            progress.written.fetch_add(part, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Succeeds if the disk does that itself, and a sample says that it did.
    fn make_zero(&self, at: u64, count: u64, sample: &mut Sample) -> io::Result<bool> {
        if !self.makes_zeros.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let begun = Instant::now();
        // Of a block device, this is refused if the kernel would have to write the zeros.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let works = fallocate(&self.file, flags, at, count).is_ok()
            && sample.is_zero(&self.file, at, count)?;
        self.zeroing.add(count, begun);
        let limit = self
            .writing
            .of_byte()
            .map_or(SLOW, |of_byte| of_byte.min(SLOW));
        if !works
            || self
                .zeroing
                .of_byte()
                .is_some_and(|of_byte| of_byte > limit)
        {
            self.makes_zeros.store(false, Ordering::Relaxed);
        }
        Ok(works)
    }

    pub(crate) fn flush(&self) -> Result<(), Failure> {
        fsync(&self.file).map_err(|error| self.failure(&error.into()))
    }

    pub(crate) fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(
            Kind::Write,
            format!("writing {}: {error}", self.path.display()),
        )
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32);
        options.open(path)
    };
    // Some file systems, which tests use, know nothing of direct I/O.
    open(OFlags::DIRECT | OFlags::EXCL).or_else(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
            open(OFlags::EXCL)
        } else {
            Err(error)
        }
    })
}

/// Where the beginning of a range is read to.
pub(crate) struct Sample {
    pool: Pool,
}

impl Sample {
    pub(crate) fn new() -> Sample {
        Sample { pool: Pool::new(1) }
    }

    fn is_zero(&mut self, file: &File, at: u64, count: u64) -> io::Result<bool> {
        let mut block = self.pool.take();
        let mut range = At { file, at };
        block.fill(&mut (&mut range).take(count.min(4096)))?;
        Ok(is_zero(block.bytes()))
    }
}

/// Reads on from a place of a file.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
