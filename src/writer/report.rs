//! The report of the work: lines of progress while it goes on, and one line of JSON and an exit status at its end.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How far it has come, in bytes.
#[derive(Default)]
pub(crate) struct Progress {
    /// Of the stream that were read.
    pub(crate) read: AtomicU64,
    /// Of the image that were taken care of.
    pub(crate) done: AtomicU64,
    /// That were written to the disk.
    pub(crate) written: AtomicU64,
    /// That the disk made zero itself.
    pub(crate) zeros: AtomicU64,
}

impl Progress {
    pub(crate) fn tell(&self) {
        let [done, read] = [&self.done, &self.read].map(|count| count.load(Ordering::Relaxed));
        say(format_args!("progress {done} {read}"));
    }
}

/// A line on stderr. That its reader is gone is no reason to leave a disk half written.
pub(crate) fn say(line: impl Display) {
    writeln!(io::stderr(), "{line}").ok();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Read,
    Unpack,
    Write,
    TooBig,
    HeadFile,
    Stopped,
    NotStreamable,
}

impl Kind {
    fn status(self) -> u8 {
        match self {
            Kind::Read => 3,
            Kind::Unpack => 4,
            Kind::Write => 5,
            Kind::TooBig => 6,
            Kind::HeadFile => 7,
            Kind::Stopped => 8,
            Kind::NotStreamable => 9,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { kind, message }
    }
}

/// The hashes of what came and of what it became.
#[derive(Default, Serialize)]
pub(crate) struct Hashes {
    #[serde(rename = "input_hash")]
    pub(crate) input: Option<String>,
    #[serde(rename = "output_hash")]
    pub(crate) output: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    read: u64,
    bytes: u64,
    written: u64,
    zeros: u64,
    #[serde(flatten)]
    hashes: &'a Hashes,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

/// Prints the last line, and says how the program is to end.
pub(crate) fn report(progress: &Progress, outcome: &Result<Hashes, Failure>) -> ExitCode {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let none = Hashes::default();
    let line = Report {
        read: count(&progress.read),
        bytes: count(&progress.done),
        written: count(&progress.written),
        zeros: count(&progress.zeros),
        hashes: outcome.as_ref().unwrap_or(&none),
        error: outcome.as_ref().err(),
    };
    let line = serde_json::to_string(&line).expect("numbers and strings are JSON");
    if let Err(failure) = outcome {
        say(format_args!("ur-writer: {}", failure.message));
    }
    // Who does not hear of success must not take it for one.
    match (writeln!(io::stdout(), "{line}"), outcome) {
        (_, Err(failure)) => failure.kind.status().into(),
        (Err(_), Ok(_)) => ExitCode::FAILURE,
        (Ok(()), Ok(_)) => ExitCode::SUCCESS,
    }
}
