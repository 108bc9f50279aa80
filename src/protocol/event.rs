//! Messages of a node besides replies: progress, output as it comes, heartbeat, ping's answer.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// How far a request has come on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Safe on the node's disk, about to start.
    Accepted,
    /// Safe on the node's disk, waiting for its turn.
    Queued,
    Running,
    /// It has an outcome that the broker has not confirmed yet.
    Ended,
    /// The broker has confirmed the reply.
    Replied,
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

/// A body on `ur.execute-progress.<node>.<request-id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    pub at: Timestamp,
    /// 0 to 100, as the script says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Seconds left, as the script says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Of one that is queued: how many wait before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<usize>,
    /// The job's life so far, in the answer to a `status` message and to a second delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_at: Option<Timestamp>,
    /// The sender's `timestamp` and `origin`, as the request had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
}

impl Progress {
    pub fn now(state: State) -> Self {
        Self {
            state,
            at: Timestamp::now(),
            percent: None,
            eta: None,
            msg: None,
            before: None,
            accepted_at: None,
            started_at: None,
            ended_at: None,
            replied_at: None,
            timestamp: None,
            origin: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A body on `ur.execute-output.<node>.<request-id>`: a piece of a stream. A gap between one
/// piece's end and the next one's `offset` was produced faster than it could be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub stream: Stream,
    /// Where in the stream this piece begins, in bytes.
    pub offset: u64,
    pub data: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// A body on `ur.heartbeat.<node>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub agent: String,
    pub version: String,
    pub boot_id: String,
    /// Seconds since the node booted.
    pub uptime: u64,
    /// Jobs that are running or waiting.
    pub jobs: usize,
}

/// A body on `ur.broadcast.sysinfo.<request-id>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SysinfoRequest {
    /// How old the answer may be, in seconds. Who says so listens already, and is answered at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<f64>,
    /// Only nodes of which one of these is a name need answer. Each in lower case; older agents answer all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl SysinfoRequest {
    pub fn max_age(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.max_age?).ok()
    }
}

/// A body on `ur.ping.<node>`. Both ids come back as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ping {
    pub client_id: String,
    pub id: Value,
}

/// A body on `ur.ack<client_id>.<node>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    pub req_id: Value,
    #[serde(serialize_with = "milliseconds")]
    pub timestamp: Timestamp,
}

/// As JavaScript writes a time, which clients of node-amqp expect there.
fn milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}
