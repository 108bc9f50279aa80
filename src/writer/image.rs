//! The way of an image from the stream to the disk: the first bytes into a file, the others to their places.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::blocks::{Block, Pool};
use crate::disk::Disk;
use crate::guest::Guest;
use crate::hash::Hashing;
use crate::input::{self, Input};
use crate::qcow2::Header;
use crate::report::{Failure, Hashes, Kind, Progress, say};
use crate::sequence::Sequence;
use crate::unpack::{Compression, Unpacker};
use crate::window::Window;
use crate::writers::Writers;
use crate::{Arguments, Format};

/// How many unpacked blocks may be on their way.
const IN_FLIGHT: usize = 24;

/// How much of a qcow2 is kept for tables that come behind what they are for.
const WINDOW: usize = 32;

pub(crate) fn write(arguments: &Arguments, progress: &Arc<Progress>) -> Result<Hashes, Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = File::from(stdin.map_err(|error| Failure::new(Kind::Read, error.to_string()))?);
    let start = |count| Input::start(stdin, arguments.hash_input, count, Arc::clone(progress));
    match arguments.format {
        Format::Raw => write_raw(arguments, start(IN_FLIGHT), progress),
        Format::Qcow2 => write_qcow2(arguments, start(IN_FLIGHT + WINDOW), progress),
    }
}

fn write_raw(
    arguments: &Arguments,
    input: Input,
    progress: &Arc<Progress>,
) -> Result<Hashes, Failure> {
    let mut image = Image::new(arguments, input)?;
    let mut at = arguments.offset;
    let mut block = image.next()?;
    if block.is_none() {
        return Err(empty());
    }
    if let Some(path) = &arguments.head_file {
        let mut head = HeadFile::create(path)?;
        let end = at + arguments.head_bytes;
        while let Some(of_head) = block.take_if(|_| at < end) {
            at += head.write(of_head.bytes(), progress)?;
            block = image.next()?;
        }
        say(format_args!("head {}", at - arguments.offset));
    }
    wait(arguments)?;
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

/// What should have given the image has failed. A standard input that is closed is an empty one to a program in Rust.
fn empty() -> Failure {
    Failure::new(
        Kind::Unpack,
        "the image is empty, or standard input is closed",
    )
}

fn write_qcow2(
    arguments: &Arguments,
    mut input: Input,
    progress: &Arc<Progress>,
) -> Result<Hashes, Failure> {
    let first = input.next_block().map_err(|error| input::failure(&error))?;
    let header = Header::parse(first.as_ref().map_or(&[], |block| block.bytes()))?;
    let mut window = Window::new(WINDOW);
    first.into_iter().for_each(|block| window.push(block));
    say(format_args!("size {}", header.size));
    wait(arguments)?;
    let disk = Disk::open(&arguments.disk)?;
    disk.has_room(arguments.offset, header.size)?;
    let held = arguments
        .head_file
        .as_ref()
        .map_or(0, |_| arguments.head_bytes.min(header.size));
    let writers = Writers::start(disk, progress);
    let guest = Guest::new(writers, arguments.offset, held as usize);
    let head = Sequence::new(header, window, guest).write(&mut input)?;
    if let Some(path) = &arguments.head_file {
        HeadFile::create(path)?.write(&head, progress)?;
        say(format_args!("head {held}"));
    }
    Ok(Hashes {
        input: input.hash(),
        output: None,
    })
}

struct HeadFile<'a> {
    file: File,
    path: &'a Path,
}

impl HeadFile<'_> {
    fn create(path: &Path) -> Result<HeadFile<'_>, Failure> {
        let file = File::create(path).map_err(|error| HeadFile::failure(path, &error))?;
        Ok(HeadFile { file, path })
    }

    fn write(&mut self, bytes: &[u8], progress: &Progress) -> Result<u64, Failure> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| HeadFile::failure(self.path, &error))?;
        let count = bytes.len() as u64;
        progress.done.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        Failure::new(
            Kind::HeadFile,
            format!("writing {}: {error}", path.display()),
        )
    }
}

/// Until the word is given to write, if it has to be.
fn wait(arguments: &Arguments) -> Result<(), Failure> {
    let Some(path) = &arguments.go else {
        return Ok(());
    };
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
