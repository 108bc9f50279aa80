//! The list of jobs that run and wait: what they are, whose, since when, how far.

use serde::{Deserialize, Serialize};

use super::{Progress, RequestId};

/// Asks a node for its list. Starts nothing.
pub const JOBS_REQUEST: &[u8] = br#"{"type":"jobs"}"#;

/// What stands beside the reply to a `jobs` message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    pub running: usize,
    pub waiting: usize,
    /// The first of them: all that run, and those that wait in their order.
    pub jobs: Vec<ListedJob>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedJob {
    pub request: RequestId,
    /// A task's name, or the beginning of a script, or the path of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    #[serde(flatten)]
    pub progress: Progress,
}
