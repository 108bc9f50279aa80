//! A request as Ur sends it; everything Ur did not know is optional.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::fields::{Fields, kind};
use super::{Label, Refusal, hexadecimal};

/// What is kept of each stream when the request does not say: Ur's limit, in bytes.
pub(super) const DEFAULT_MAX_OUTPUT: u64 = 5 * 1024 * 1024;
/// The most that a request may ask to keep of each stream, in bytes.
pub(super) const MAX_OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// A body on `ur.execute.<node>.<request-id>`.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Run(Box<Request>),
    /// Asks what became of an earlier request of this id. Starts nothing.
    Status {
        /// And to send its output as it comes, from its beginning.
        stream: bool,
    },
    /// Asks what runs and waits on the node, whatever the id. Starts nothing.
    Jobs,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// The text of a script; without an interpreter line it runs under /bin/sh.
    Script(String),
    /// A program that is already on the node.
    File(String),
}

impl Program {
    fn type_and_text(&self) -> (&'static str, &str) {
        match self {
            Self::Script(text) => ("script", text),
            Self::File(path) => ("file", path),
        }
    }
}

/// Fields Ur did not know are written only when used. How each is read, and what it is when it is absent,
/// stands in `Fields::request`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(flatten, serialize_with = "type_and_text")]
    pub program: Program,
    pub args: Vec<String>,
    /// Replaces the whole environment, as it always did in Ur; `None` leaves the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// How long the script may run.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// From then on the node is not to start it any more, if it knows the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_before: Option<Timestamp>,
    /// Send output as it comes.
    #[serde(skip_serializing_if = "is_false")]
    pub stream: bool,
    /// Bytes kept of each stream.
    #[serde(skip_serializing_if = "is_default")]
    pub max_output: u64,
    #[serde(flatten)]
    pub label: Label,
    /// When and by whom: kept and shown, never interpreted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
}

impl Request {
    pub fn script(text: impl Into<String>) -> Self {
        Self::of(Program::Script(text.into()))
    }

    pub fn file(path: impl Into<String>) -> Self {
        Self::of(Program::File(path.into()))
    }

    fn of(program: Program) -> Self {
        let nothing_else = Fields::default().request(program);
        nothing_else.expect("no field is wrong where there is none")
    }

    /// The message that [`Message::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request has only string keys and finite numbers")
    }

    /// The digest of what two requests must have in common to be the same one: all that decides what is run. Who
    /// sent it and when, until when it may start, and what is kept and streamed of its output may differ.
    /// `docs/protocol.md` says of which bytes it is.
    pub fn content(&self) -> String {
        let (kind, text) = self.program.type_and_text();
        let Label {
            name,
            version,
            digest,
        } = &self.label;
        let run = (kind, text, &self.args, &self.env, &self.stdin);
        let limits = (self.timeout.map(|time| time.as_secs_f64()), &self.cwd);
        let label = (name, version, digest);
        let mut hasher = Hasher(Sha256::new());
        serde_json::to_writer(&mut hasher, &(run, limits, label))
            .expect("a hasher takes every byte, and a request has only string keys");
        hexadecimal(&hasher.0.finalize())
    }

    /// An encoded request with a `start_before` of its own: one body goes to many nodes, each at its
    /// own time.
    pub fn with_start_before(encoded: &[u8], limit: Timestamp) -> Vec<u8> {
        let mut message = format!(r#"{{"start_before":"{limit:.3}","#).into_bytes();
        message.extend_from_slice(encoded.strip_prefix(b"{").expect("an object"));
        message
    }
}

impl Message {
    /// Reads a body, whatever content type it came with.
    ///
    /// Fails with a refusal of code `bad_request` that says which field is wrong and how.
    pub fn decode(body: &[u8]) -> Result<Self, Refusal> {
        let not_json = |error| Refusal::bad_request(format!("the message is not JSON: {error}"));
        let value: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
        if !value.get().starts_with('{') {
            return Err(Refusal::bad_request(format!(
                "the message is {}, not an object",
                kind(value)
            )));
        }
        let mut fields = Fields(serde_json::from_str(value.get()).map_err(not_json)?);
        let program = match fields.string("type")?.as_deref() {
            Some("script") => Program::Script(fields.required("script")?),
            Some("file") => Program::File(fields.path("file")?),
            Some("status") => {
                return Ok(Self::Status {
                    stream: fields.boolean("stream").unwrap_or(false),
                });
            }
            Some("jobs") => return Ok(Self::Jobs),
            Some(other) => {
                return Err(Refusal::bad_request(format!(
                    "unknown `type` {other:?}: use \"script\" or \"file\""
                )));
            }
            None => {
                return Err(Refusal::bad_request(
                    "`type` is missing: use \"script\" or \"file\"",
                ));
            }
        };
        Ok(Self::Run(Box::new(fields.request(program)?)))
    }
}

/// The digest of a body that is no request, to tell it from every other.
pub fn content_of_bytes(body: &[u8]) -> String {
    hexadecimal(&Sha256::digest(body))
}

struct Hasher(Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn type_and_text<S: Serializer>(program: &Program, to: S) -> Result<S::Ok, S::Error> {
    let (kind, text) = program.type_and_text();
    let mut fields = to.serialize_map(Some(2))?;
    fields.serialize_entry("type", kind)?;
    fields.serialize_entry(kind, text)?;
    fields.end()
}

fn seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_default(max_output: &u64) -> bool {
    *max_output == DEFAULT_MAX_OUTPUT
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
