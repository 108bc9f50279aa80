//! Colours on a terminal: red for failures, yellow for what differs from most.

use std::io::IsTerminal;

use crate::stderr::{tell, tell_red};

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// Whether a stream gets colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(super) bool);

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

impl When {
    pub(super) fn of(self, stream: &impl IsTerminal) -> Colour {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Colour(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb(),
        })
    }
}

impl Colour {
    pub(super) fn red(self, text: &str) -> String {
        self.painted(RED, text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.painted(GREEN, text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.painted(YELLOW, text)
    }

    /// A line on stderr whose middle tells of failures.
    pub(super) fn tell_failure(self, before: &str, failure: &str, after: &str) {
        match self.0 && !failure.is_empty() {
            true => tell_red([before, failure, after]),
            false => tell(&[before, failure, after].concat()),
        }
    }

    fn painted(self, colour: &str, text: &str) -> String {
        match self.0 && !text.is_empty() {
            true => format!("{colour}{text}{RESET}"),
            false => text.to_owned(),
        }
    }
}
