//! A job's JSON files: request, pids, outcome.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use protocol::{NodeId, Outcome, Usage};

use super::ProcessRef;

/// The layout of job directories that this version writes.
pub(super) const FORMAT: u32 = 1;

/// `request.json`: the message as received, and what the broker said with it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub node: NodeId,
    pub routing_key: String,
    pub received_at: Timestamp,
    pub message: Box<RawValue>,
}

/// The same, to be written.
#[derive(Serialize)]
pub(super) struct NewRecord<'a> {
    pub(super) format: u32,
    pub(super) node: &'a NodeId,
    pub(super) routing_key: &'a str,
    pub(super) received_at: Timestamp,
    pub(super) message: &'a RawValue,
}

/// `pid`: who runs the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    pub supervisor: ProcessRef,
    /// Absent in the moment before the script starts.
    pub script: Option<ProcessRef>,
    pub started_at: Timestamp,
}

impl Pids {
    /// For people: what is known of a job whose supervisor died.
    pub fn last_seen(&self) -> String {
        let supervisor = self.supervisor.pid;
        let script = match &self.script {
            Some(script) if script.may_be_alive() => {
                format!("the script (pid {}) still runs, unwatched", script.pid)
            }
            Some(script) => format!("the script (pid {}) is gone", script.pid),
            None => "whether the script was started is not known".to_owned(),
        };
        format!("its supervisor (pid {supervisor}) died and left no outcome; {script}")
    }
}

/// `outcome.json`: how the job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    pub outcome: Outcome,
    pub ended_at: Timestamp,
    /// Absent when nothing was started.
    pub started_at: Option<Timestamp>,
    pub duration_ms: Option<u64>,
    pub usage: Option<Usage>,
    /// Bytes that the script produced, whatever was kept of them.
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
}

impl OutcomeRecord {
    /// Of a job that was not run, or whose run no supervisor saw to its end.
    pub fn unseen(outcome: Outcome) -> Self {
        Self {
            outcome,
            ended_at: Timestamp::now(),
            started_at: None,
            duration_ms: None,
            usage: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
        }
    }
}
