//! ur-writer: writes an image, as it comes on standard input, to a disk.
//!
//! Unpacks it, hashes what comes and what becomes of it, leaves zeros to the disk, and writes past the page cache. It
//! knows nothing of Ur, of partitions and of where the image comes from.

mod blocks;
mod disk;
mod guest;
mod hash;
mod image;
mod input;
mod qcow2;
mod report;
mod sequence;
mod unpack;
mod window;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use blocks::BLOCK;
use hash::Algorithm;
use report::{Progress, report};
use unpack::Compression;

const PROTOCOL: &str = "\
On standard error, while it works:
  head BYTES          the head is in its file, and has that many bytes: fewer than
                      --head-bytes, if the image has no more. That of a raw image is
                      there before the disk is opened, that of a qcow2 at the end
  size BYTES          a qcow2 has begun, of an image of that many bytes
  progress DONE READ  once a second: bytes of the image that are taken care of, bytes
                      that came
  ur-writer: TEXT     what is wrong

On standard output, at the end, also after an error, one line of JSON:
  read        bytes that came
  bytes       bytes of the image, unpacked, the head included
  written     bytes written to the disk
  zeros       bytes that are zero in the image, and were made zero by the disk itself
  input_hash, output_hash
              sha256:DIGITS, or null
  error       only if there is one: its kind and its message

Exit status: 0 all is on the medium, but for the head; 2 wrong arguments, and no JSON;
3 (read) standard input cannot be read; 4 (unpack) it cannot be unpacked, as a whole or
to its end; 5 (write) the disk cannot be opened or takes no more; 6 (too-big) the image
is bigger than the disk; 7 (head-file) the file for the head takes no more; 8 (stopped)
told by --go not to write; 9 (not-streamable) the qcow2 has its parts in an order in
which it cannot be written as it comes, or something unusual in it: qemu-img may read it.";

/// No disk has more bytes: sums of places on it do not overflow.
const MAX_BYTES: u64 = 1 << 60;

/// Writes an image, as it comes on standard input, to a disk
#[derive(Parser)]
#[command(version, after_help = PROTOCOL)]
struct Arguments {
    /// The disk: a block device that nothing uses, or a file, which is as big as it is
    #[arg(long, value_name = "DEVICE")]
    disk: PathBuf,
    /// Where on the disk the image begins, in bytes: a multiple of its sectors
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=MAX_BYTES))]
    offset: u64,
    /// What the stream is, unpacked
    #[arg(long, value_enum, default_value = "raw")]
    format: Format,
    /// How the stream is packed, if it is raw
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Hash what comes
    #[arg(long, value_name = "ALGORITHM")]
    hash_input: Option<Algorithm>,
    /// Hash the image, unpacked, if it is raw
    #[arg(long, value_name = "ALGORITHM")]
    hash_output: Option<Algorithm>,
    /// Write the first bytes of the image to this file instead of the disk
    #[arg(long, value_name = "FILE")]
    head_file: Option<PathBuf>,
    /// How many: a multiple of 1048576
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = whole_blocks)]
    head_bytes: u64,
    /// Open the disk only when this file, a FIFO, says "go"; whatever else it says means stop
    #[arg(long, value_name = "FIFO")]
    go: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Raw,
    Qcow2,
}

impl Arguments {
    fn read() -> Arguments {
        let arguments = Arguments::parse();
        let for_raw = arguments.compression != Compression::None || arguments.hash_output.is_some();
        if arguments.format == Format::Qcow2 && for_raw {
            let message = "a qcow2 is neither unpacked before nor hashed after it was read";
            let error = Arguments::command().error(ErrorKind::ArgumentConflict, message);
            error.exit();
        }
        arguments
    }
}

fn whole_blocks(text: &str) -> Result<u64, String> {
    let bytes: u64 = text.parse().map_err(|error| format!("{error}"))?;
    if bytes.is_multiple_of(BLOCK as u64) && bytes <= MAX_BYTES {
        Ok(bytes)
    } else {
        Err(format!(
            "it is no multiple of {BLOCK}, or more than {MAX_BYTES}"
        ))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let progress = Arc::new(Progress::default());
    let (ended, end) = sync_channel(1);
    let counters = Arc::clone(&progress);
    // What it has started may wait for ever, for a stream that stalls, say: it ends with the program.
    thread::spawn(move || ended.send(image::write(&arguments, &counters)));
    loop {
        match end.recv_timeout(Duration::from_secs(1)) {
            Ok(outcome) => return report(&progress, &outcome),
            Err(RecvTimeoutError::Timeout) => progress.tell(),
            Err(RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
        }
    }
}
