//! Replies: outcome and output as they stand on the wire, in both directions.

use std::collections::HashMap;
use std::io;

use jiff::Timestamp;
use serde::de::value::Error as NoValue;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{ErrorCode, Outcome, REBOOT_STATUS, Refusal, Text};

/// As coreutils' `timeout` does.
const TIMED_OUT_STATUS: i32 = 124;
const NOT_RUN_STATUS: i32 = 125;
const CANNOT_EXECUTE_STATUS: i32 = 126;
const NOT_FOUND_STATUS: i32 = 127;
/// SIGTERM's, which is how a cancel begins.
const CANCELLED_STATUS: i32 = 128 + 15;

/// Which versioned script this is. Comes with the request, goes back with the reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What a script took, its waited-for descendants included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Peak resident memory of its largest process, in bytes.
    pub max_rss_bytes: u64,
}

/// A body on `ur.execute-reply.<node>.<request-id>`, as it stands on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// A number always; a Node.js agent may send a string, the name of an error.
    pub exit_status: Value,
    pub stdout: String,
    pub stderr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// Produced in all; more than what is here means that the middle was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "is_false")]
    pub timed_out: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub cancelled: bool,
    /// The node reboots when this reply is confirmed.
    #[serde(skip_serializing_if = "is_false")]
    pub reboot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The digest of the content of the request that this is the answer to ([`Request::content`](crate::Request::content)):
    /// another request of the same id has the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Version of the agent that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Reply {
    /// The reply for an ending, without output.
    ///
    /// # Panics
    /// For the two endings that only a sender knows: no node can send them.
    pub fn of(outcome: &Outcome) -> Self {
        let mut reply = Self {
            agent: Some(crate::VERSION.to_owned()),
            ..Self::default()
        };
        reply.exit_status = Value::from(match outcome {
            Outcome::Exited { status } if *status == REBOOT_STATUS => {
                reply.reboot = true;
                0
            }
            Outcome::Exited { status } => *status,
            Outcome::Signalled { signal } => {
                reply.signal = Some(*signal);
                signal.saturating_add(128)
            }
            Outcome::TimedOut => {
                reply.timed_out = true;
                TIMED_OUT_STATUS
            }
            Outcome::Cancelled => {
                reply.cancelled = true;
                CANCELLED_STATUS
            }
            Outcome::Refused(refusal) => {
                reply.error = Some(refusal.clone());
                match refusal.code {
                    ErrorCode::NotFound => NOT_FOUND_STATUS,
                    ErrorCode::CannotExecute => CANNOT_EXECUTE_STATUS,
                    _ => NOT_RUN_STATUS,
                }
            }
            Outcome::Undetermined { message } => {
                reply.error = Some(Refusal::new(ErrorCode::Undetermined, message));
                NOT_RUN_STATUS
            }
            Outcome::NotConnected | Outcome::NoAnswer => {
                unreachable!("only a sender can know that there was no answer")
            }
        });
        if let Some(error) = &reply.error {
            reply.stderr = format!("{}\n", error.message);
        }
        reply
    }

    /// Whether it can be the answer to a request of this content. Who does not know what was sent, as one who asks
    /// for the status, is not told that another content was refused.
    pub fn is_meant_for(&self, content: Option<&str>) -> bool {
        let is_conflict = matches!(&self.error, Some(error) if error.code == ErrorCode::Conflict);
        match (content, &self.content) {
            (Some(sent), Some(answered)) => sent == answered,
            _ => !is_conflict,
        }
    }

    /// How the request ended, whichever agent says so.
    pub fn outcome(&self) -> Outcome {
        if let Some(error) = &self.error {
            return match error.code {
                ErrorCode::Undetermined => Outcome::Undetermined {
                    message: error.message.clone(),
                },
                _ => Outcome::Refused(error.clone()),
            };
        }
        if self.timed_out {
            return Outcome::TimedOut;
        }
        if self.cancelled {
            return Outcome::Cancelled;
        }
        if let Some(signal) = self.signal {
            return Outcome::Signalled { signal };
        }
        match &self.exit_status {
            Value::Number(number) => Outcome::Exited {
                status: number
                    .as_i64()
                    .and_then(|n| i32::try_from(n).ok())
                    .unwrap_or(-1),
            },
            // A Node.js agent puts the name of the error where the number belongs.
            Value::String(name) => Outcome::Refused(Refusal::new(
                match name.as_str() {
                    "ENOENT" => ErrorCode::NotFound,
                    "EACCES" | "ETXTBSY" | "E2BIG" => ErrorCode::CannotExecute,
                    _ => ErrorCode::Unknown,
                },
                name,
            )),
            _ => Outcome::Undetermined {
                message: "the reply has no exit status".to_owned(),
            },
        }
    }

    /// Whether a status or a cancel found nothing: an older agent says `not_found` then, as it does
    /// for a missing program; but of a job that ran not even that the output is counted.
    pub fn is_unknown_request(&self) -> bool {
        match self.error.as_ref().map(|error| error.code) {
            Some(ErrorCode::UnknownRequest) => true,
            Some(ErrorCode::NotFound) => self.stdout_bytes.is_none(),
            _ => false,
        }
    }

    pub fn set_stdout(&mut self, text: Text, produced: u64) {
        self.stdout = text.text;
        self.stdout_base64 = text.base64;
        self.stdout_bytes = Some(produced);
    }

    /// Where a script has said nothing, the reason why it was not run stands there, for clients that show no more
    /// than stderr.
    pub fn set_stderr(&mut self, text: Text, produced: u64) {
        self.stderr_bytes = Some(produced);
        if self.error.is_some() && text.text.is_empty() {
            return;
        }
        self.stderr = text.text;
        self.stderr_base64 = text.base64;
    }

    pub fn stdout_as_bytes(&self) -> Vec<u8> {
        Text::bytes(&self.stdout, self.stdout_base64.as_deref())
    }

    /// What the script wrote there. The reason of [`Reply::error`] is not repeated.
    pub fn stderr_as_bytes(&self) -> Vec<u8> {
        if let Some(error) = &self.error
            && self.stderr.strip_suffix('\n') == Some(&error.message)
        {
            return Vec::new();
        }
        Text::bytes(&self.stderr, self.stderr_base64.as_deref())
    }

    /// Bytes of stdout and stderr that the script wrote and that are not here.
    pub fn left_out(&self) -> [u64; 2] {
        let of = |produced: Option<u64>, text: &str, base64: &Option<String>| {
            produced.map_or(0, |produced| {
                Text::left_out(text, base64.as_deref(), produced)
            })
        };
        [
            of(self.stdout_bytes, &self.stdout, &self.stdout_base64),
            of(self.stderr_bytes, &self.stderr, &self.stderr_base64),
        ]
    }

    pub fn set_label(&mut self, label: Label) {
        self.name = label.name;
        self.version = label.version;
        self.digest = label.digest;
    }

    /// Reads a body, and gives the fields that this version does not know besides.
    pub fn decode(body: &[u8]) -> serde_json::Result<(Self, Map<String, Value>)> {
        let reply = serde_json::from_slice(body)?;
        let fields: HashMap<String, &RawValue> = serde_json::from_slice(body)?;
        let known = field_names();
        let unknown = fields
            .into_iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .map(|(name, raw)| Ok((name, serde_json::from_str(raw.get())?)));
        Ok((reply, unknown.collect::<serde_json::Result<_>>()?))
    }

    /// The body as it is published, if it has at most `max` bytes; else how many it would have. A longer one is
    /// never in memory.
    pub fn encode_within(&self, max: usize) -> Result<Vec<u8>, usize> {
        let mut bounded = Bounded {
            bytes: Vec::new(),
            length: 0,
            max,
        };
        serde_json::to_writer(&mut bounded, self)
            .expect("a reply has only string keys and finite numbers");
        match bounded.length <= max {
            true => Ok(bounded.bytes),
            false => Err(bounded.length),
        }
    }

    /// The body as it is published.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a reply has only string keys and finite numbers")
    }
}

struct Bounded {
    bytes: Vec<u8>,
    length: usize,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len();
        match self.length <= self.max {
            true => self.bytes.extend_from_slice(bytes),
            false => self.bytes = Vec::new(),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The names of a reply's fields, as serde knows them: they are told apart from those of a newer agent.
fn field_names() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It has no value to give, only the names to take.
    drop(Reply::deserialize(FieldNames(&mut names)));
    names
}

/// A deserializer that is told the names of a struct's fields.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = NoValue;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NoValue> {
        *self.0 = fields;
        Err(NoValue::custom("names only"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, NoValue> {
        Err(NoValue::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
