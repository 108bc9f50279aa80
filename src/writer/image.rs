//! From the stream to the disk: the first bytes into a file, the others to their places.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Arguments;
use crate::blocks::{Block, Pool};
use crate::disk::Disk;
use crate::hash::Hashing;
use crate::input::{self, Input};
use crate::report::{Failure, Hashes, Kind, Progress, say};
use crate::unpack::{Compression, Unpacker};
use crate::writers::Writers;

/// How many unpacked blocks may be on their way.
const IN_FLIGHT: usize = 24;

pub(crate) fn write(arguments: &Arguments, progress: &Arc<Progress>) -> Result<Hashes, Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = File::from(stdin.map_err(|error| Failure::new(Kind::Read, error.to_string()))?);
    let input = Input::start(stdin, arguments.hash_input, Arc::clone(progress));
    let mut image = Image::new(arguments, input)?;

    let mut at = arguments.offset;
    let mut block = image.next()?;
    if let Some(path) = &arguments.head_file {
        let failure = |error| {
            Failure::new(
                Kind::HeadFile,
                format!("writing {}: {error}", path.display()),
            )
        };
        let mut head = File::create(path).map_err(failure)?;
        let end = at + arguments.head_bytes;
        while let Some(of_head) = block.take_if(|_| at < end) {
            head.write_all(of_head.bytes()).map_err(failure)?;
            at += of_head.bytes().len() as u64;
            progress
                .done
                .fetch_add(of_head.bytes().len() as u64, Ordering::Relaxed);
            block = image.next()?;
        }
        say(format_args!("head {}", at - arguments.offset));
    }
    if let Some(path) = &arguments.go {
        wait(path)?;
    }
    let mut writers = Writers::start(Disk::open(&arguments.disk)?, progress);
    while let Some(of_rest) = block {
        let count = of_rest.bytes().len();
        writers.write(at, of_rest)?;
        at += count as u64;
        block = image.next()?;
    }
    let hashes = image.finish()?;
    writers.finish()?;
    Ok(hashes)
}

fn wait(path: &Path) -> Result<(), Failure> {
    let read = fs::read_to_string(path);
    match read.as_deref().map(str::trim_end) {
        Ok("go") => Ok(()),
        Ok(_) => Err(Failure::new(
            Kind::Stopped,
            "told not to go on: nothing was written",
        )),
        Err(error) => {
            let message = format!("reading {}: {error}: nothing was written", path.display());
            Err(Failure::new(Kind::Stopped, message))
        }
    }
}

/// The unpacked image, block by block, and hashed.
struct Image {
    source: Source,
    hashing: Option<Hashing>,
    /// What is not packed is hashed once.
    same_hash: bool,
}

enum Source {
    /// The blocks that were read are those that are written.
    Plain(Input),
    Packed(Box<Unpacker>, Pool),
}

impl Image {
    fn new(arguments: &Arguments, input: Input) -> Result<Image, Failure> {
        let is_packed = arguments.compression != Compression::None;
        let same_hash = !is_packed && arguments.hash_output == arguments.hash_input;
        let source = if is_packed {
            let unpacker = Unpacker::new(arguments.compression, input);
            let unpacker = unpacker.map_err(|error| input::failure(&error))?;
            Source::Packed(Box::new(unpacker), Pool::new(IN_FLIGHT))
        } else {
            Source::Plain(input)
        };
        let hash = arguments.hash_output.filter(|_| !same_hash);
        Ok(Image {
            source,
            hashing: hash.map(Hashing::start),
            same_hash,
        })
    }

    fn next(&mut self) -> Result<Option<Arc<Block>>, Failure> {
        let block = self.source.next().map_err(|error| input::failure(&error))?;
        if let (Some(hashing), Some(block)) = (&self.hashing, &block) {
            hashing.add(block);
        }
        Ok(block)
    }

    fn finish(self) -> Result<Hashes, Failure> {
        let input = match self.source {
            Source::Plain(input) => Some(input),
            Source::Packed(unpacker, _) => unpacker.into_input(),
        };
        let input = input.and_then(Input::hash);
        let output = if self.same_hash {
            input.clone()
        } else {
            self.hashing.map(Hashing::finish)
        };
        Ok(Hashes { input, output })
    }
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Arc<Block>>> {
        match self {
            Source::Plain(input) => input.next_block(),
            Source::Packed(unpacker, pool) => {
                let mut block = pool.take();
                block.fill(unpacker)?;
                Ok((!block.bytes().is_empty()).then(|| Arc::new(block)))
            }
        }
    }
}
