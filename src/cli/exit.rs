//! The exit status of `ur`, and how an error is printed.

use std::fmt;
use std::io;
use std::process::ExitCode;

use anyhow::Result;

use crate::stderr::tell;
use broker::error_chain;
use client::{BadFilter, BadNodeSet, Report, Unselectable};
use protocol::Outcome;
use task::BadParameter;

/// What `ur` tells the shell. In the order of weight: of several, the last is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    /// Some script exited non-zero, was ended, or was refused by its node.
    Failed = 3,
    /// A named node was not found, or none was. Nothing was sent.
    NotFound = 10,
    /// Some node was not connected, or did not reply in time.
    NoAnswer = 20,
    /// The end of some script is unknown.
    Undetermined = 21,
    MaxFail = 22,
    Interrupted = 130,
}

/// What each means, for people.
pub(crate) const MEANINGS: [(Exit, &str); 9] = [
    (
        Exit::Ok,
        "every node ran it and exited 0, or 113, which reboots it",
    ),
    (Exit::Error, "error"),
    (Exit::Usage, "usage"),
    (
        Exit::Failed,
        "some script exited non-zero, was ended, or was refused by its node",
    ),
    (
        Exit::NotFound,
        "a named node was not found, or no node was; nothing was sent",
    ),
    (
        Exit::NoAnswer,
        "some node was not connected, or did not reply in time",
    ),
    (Exit::Undetermined, "the end of some script is unknown"),
    (Exit::MaxFail, "stopped by --max-fail"),
    (Exit::Interrupted, "stopped by ^C or SIGTERM"),
];

/// All of them, for the end of a help.
pub(crate) fn table() -> String {
    let lines = MEANINGS.map(|(exit, meaning)| format!("\n  {:3}  {meaning}", exit as u8));
    format!(
        "Exit status; where several apply, the highest:{}",
        lines.concat()
    )
}

/// What was typed cannot be meant.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

/// What was typed means no node.
#[derive(Debug)]
pub(crate) struct Nobody(pub(crate) String);

impl Exit {
    pub(crate) fn of_run(report: &Report) -> Self {
        if report.interrupted {
            return Self::Interrupted;
        }
        if !report.not_sent.is_empty() {
            return Self::MaxFail;
        }
        let each = report.results.iter().map(|r| Self::of_outcome(&r.outcome));
        each.max().unwrap_or(Self::Ok)
    }

    /// Of a cancel: that it runs no more is what was wanted, however it ended, and even if it never ran there.
    pub(crate) fn of_cancel(report: &Report) -> Self {
        let is_refused = |outcome: &Outcome| {
            matches!(outcome, Outcome::Refused(_)) && !outcome.is_unknown_request()
        };
        match Self::of_run(report) {
            Self::Failed if !report.results.iter().any(|it| is_refused(&it.outcome)) => Self::Ok,
            exit => exit,
        }
    }

    pub(crate) fn of_attach(report: &Report, some_not_sent: bool) -> Self {
        match Self::of_run(report) {
            exit if some_not_sent => exit.max(Self::NoAnswer),
            exit => exit,
        }
    }

    fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            outcome if outcome.is_success() => Self::Ok,
            Outcome::Exited { .. }
            | Outcome::Signalled { .. }
            | Outcome::TimedOut
            | Outcome::Cancelled
            | Outcome::Refused(_) => Self::Failed,
            Outcome::NotConnected | Outcome::NoAnswer => Self::NoAnswer,
            Outcome::Undetermined { .. } => Self::Undetermined,
        }
    }

    fn of_error(error: &anyhow::Error) -> Self {
        if error.is::<Usage>()
            || error.is::<BadFilter>()
            || error.is::<BadNodeSet>()
            || error.is::<BadParameter>()
        {
            return Self::Usage;
        }
        if error.is::<Nobody>() {
            return Self::NotFound;
        }
        match error.downcast_ref::<Unselectable>() {
            Some(
                Unselectable::NotFound { .. }
                | Unselectable::Missing { .. }
                | Unselectable::NoNode { .. }
                | Unselectable::UnknownKeys {
                    some_match: false, ..
                },
            ) => Self::NotFound,
            Some(
                Unselectable::Repeated(..)
                | Unselectable::NoVerdict { .. }
                | Unselectable::Endless { .. }
                | Unselectable::UnknownKeys { .. },
            ) => Self::Usage,
            Some(
                Unselectable::Ambiguous(..)
                | Unselectable::Namesake { .. }
                | Unselectable::DuplicateUuid(_),
            )
            | None => Self::Error,
        }
    }

    /// Prints the error, if there is one. A reader that has gone away is not told about it.
    pub(crate) fn report(done: Result<Self>) -> ExitCode {
        let exit = done.unwrap_or_else(|error| {
            let broken = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
            if !error.downcast_ref::<io::Error>().is_some_and(broken) {
                tell(&format!("ur: {}", error_chain(&error)));
            }
            Self::of_error(&error)
        });
        exit.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Nobody {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::result;
    use protocol::{ErrorCode, Refusal};

    fn report(outcomes: Vec<Outcome>) -> Report {
        let results = outcomes.into_iter().map(|o| result("n", o, "", ""));
        Report {
            results: results.collect(),
            ..Report::default()
        }
    }

    #[test]
    fn the_worst_of_all_nodes_is_told() {
        let ok = Outcome::Exited { status: 0 };
        let failed = Outcome::Exited { status: 7 };
        let lost = Outcome::Undetermined {
            message: String::new(),
        };
        let of = |outcomes| Exit::of_run(&report(outcomes));
        assert_eq!(of(vec![ok.clone()]), Exit::Ok);
        assert_eq!(of(vec![ok.clone(), failed.clone()]), Exit::Failed);
        let mixed = vec![failed.clone(), Outcome::NotConnected, ok.clone()];
        assert_eq!(of(mixed), Exit::NoAnswer);
        assert_eq!(of(vec![lost, Outcome::NoAnswer]), Exit::Undetermined);
        assert_eq!(of(vec![Outcome::Exited { status: 113 }]), Exit::Ok);

        let mut stopped = report(vec![failed]);
        stopped.not_sent = vec![result("n", ok, "", "").target];
        assert_eq!(Exit::of_run(&stopped), Exit::MaxFail);
        stopped.interrupted = true;
        assert_eq!(Exit::of_run(&stopped), Exit::Interrupted);
    }

    #[test]
    fn a_cancel_succeeds_however_the_script_ended() {
        let of = |outcome| Exit::of_cancel(&report(vec![outcome]));
        assert_eq!(of(Outcome::Cancelled), Exit::Ok);
        assert_eq!(of(Outcome::Exited { status: 7 }), Exit::Ok);
        let unknown = Refusal::new(ErrorCode::UnknownRequest, "no such request");
        assert_eq!(of(Outcome::Refused(unknown)), Exit::Ok);
        let broken = Refusal::new(ErrorCode::BadRequest, "no JSON");
        assert_eq!(of(Outcome::Refused(broken)), Exit::Failed);
        assert_eq!(of(Outcome::NoAnswer), Exit::NoAnswer);
    }

    #[test]
    fn an_error_is_told_by_its_kind() {
        let of = |error: anyhow::Error| Exit::of_error(&error);
        let (names, near) = (Vec::new(), Vec::new());
        let missing = Unselectable::NotFound { names, near };
        assert_eq!(of(missing.into()), Exit::NotFound);
        let twice = Unselectable::Repeated(String::new(), String::new());
        assert_eq!(of(twice.into()), Exit::Usage);
        assert_eq!(of(Usage(String::new()).into()), Exit::Usage);
        assert_eq!(of(anyhow::anyhow!("no")), Exit::Error);
    }
}
