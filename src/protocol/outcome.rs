//! Outcomes of requests: how each can end, and the codes of those that were not run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A script that exits with this asks for a reboot of its node, and has succeeded.
/// (sdc-ur-agent: the reply says 0 and the node reboots after it.)
pub const REBOOT_STATUS: i32 = 113;

/// How a request ended. Every request ends in exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// The script ended by itself with this status, 0 to 255.
    Exited {
        status: i32,
    },
    /// A signal ended it that neither the time limit nor a cancel sent.
    Signalled {
        signal: i32,
    },
    TimedOut,
    Cancelled,
    /// It was never started.
    Refused(Refusal),
    /// It was started, or may have been, and its supervisor did not see its end.
    Undetermined {
        message: String,
    },
    /// Known only to the sender: the broker had no queue for the node.
    NotConnected,
    /// Known only to the sender: it stopped waiting.
    NoAnswer,
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Exited {
                status: 0 | REBOOT_STATUS
            }
        )
    }

    /// The node knows of no such request: it never had it, or has forgotten it.
    pub fn is_unknown_request(&self) -> bool {
        // Older agents say `not_found`.
        let codes = [ErrorCode::UnknownRequest, ErrorCode::NotFound];
        matches!(self, Self::Refused(refusal) if codes.contains(&refusal.code))
    }

    /// The word for this ending in tables and JSON.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Refused(_) => "refused",
            Self::Undetermined { .. } => "undetermined",
            Self::NotConnected => "not_connected",
            Self::NoAnswer => "no_answer",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { status } => write!(f, "exit {status}"),
            Self::Signalled { signal } => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Refused(refusal) => write!(f, "refused: {}", refusal.message),
            Self::Undetermined { message } => write!(f, "undetermined: {message}"),
            Self::NotConnected => f.write_str("not connected"),
            Self::NoAnswer => f.write_str("no answer in time"),
        }
    }
}

/// Why a request was not run: for programs the code, for people the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

/// The closed list of reasons. `docs/protocol.md` says for each what a sender can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message is not a request.
    BadRequest,
    /// The program, its interpreter or its working directory does not exist. From an older agent also
    /// what [`ErrorCode::UnknownRequest`] says.
    NotFound,
    /// A status or a cancel of a request that the node does not know: it never arrived, or was forgotten.
    UnknownRequest,
    /// The program is there and the kernel will not run it.
    CannotExecute,
    /// The node has no room for one more: too many requests, or no process to be had.
    Busy,
    /// The state directory did not take the job: full, read-only, broken.
    Storage,
    /// The node knows a request of this id, and it has another content. That one goes on.
    Conflict,
    /// The node will not: it is about to reboot, or the request came after its `start_before`.
    Refused,
    /// Started, or perhaps, and its end is unknown. Never a reason to believe that nothing ran.
    Undetermined,
    /// A code of a newer agent.
    #[serde(other)]
    Unknown,
}

/// Characters of a refusal's text. It may repeat a piece of the request, which has megabytes perhaps, and an
/// answer that the broker does not take is none.
const MAX_MESSAGE: usize = 1000;

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { code, message }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::UnknownRequest => "unknown_request",
            Self::CannotExecute => "cannot_execute",
            Self::Busy => "busy",
            Self::Storage => "storage",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Undetermined => "undetermined",
            Self::Unknown => "unknown",
        })
    }
}
