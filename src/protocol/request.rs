//! A request as Ur sends it; everything Ur did not know is optional.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Label, Refusal};

/// Bytes of a task's name, version or digest. A sha256 with its prefix has 71.
const MAX_LABEL: usize = 256;
/// What is kept of each stream when the request does not say: Ur's limit, in bytes.
pub(super) const DEFAULT_MAX_OUTPUT: u64 = 5 * 1024 * 1024;
/// The most that a request may ask to keep of each stream, in bytes.
pub(super) const MAX_OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// A body on `ur.execute.<node>.<request-id>`.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Run(Box<Request>),
    /// Asks what became of an earlier request of this id. Starts nothing.
    Status,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// The text of a script; without an interpreter line it runs under /bin/sh.
    Script(String),
    /// A program that is already on the node.
    File(String),
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
        let nothing_else = Fields(Map::new()).request(program);
        nothing_else.expect("no field is wrong where there is none")
    }

    /// The message that [`Message::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request has only string keys and finite numbers")
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
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("the message is not JSON: {error}")))?;
        let Value::Object(fields) = value else {
            return Err(Refusal::bad_request(format!(
                "the message is {}, not an object",
                kind(&value)
            )));
        };
        let mut fields = Fields(fields);
        let program = match fields.string("type")?.as_deref() {
            Some("script") => Program::Script(fields.required("script")?),
            Some("file") => Program::File(fields.path("file")?),
            Some("status") => return Ok(Self::Status),
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

/// The fields of a request, taken one by one so that a refusal can name the one that is wrong.
struct Fields(Map<String, Value>);

impl Fields {
    fn request(mut self, program: Program) -> Result<Request, Refusal> {
        Ok(Request {
            program,
            args: self.args()?,
            env: self.env()?,
            stdin: self.string("stdin")?,
            timeout: self.timeout()?,
            cwd: self
                .string("cwd")?
                .map(|dir| no_nul("cwd", dir))
                .transpose()?,
            start_before: self.start_before()?,
            stream: self.boolean("stream")?,
            max_output: self.max_output()?,
            label: Label {
                name: self.short("name")?,
                version: self.short("version")?,
                digest: self.short("digest")?,
            },
            timestamp: self.take("timestamp"),
            origin: self.take("origin"),
        })
    }

    /// A field that is absent or null is not given.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, &other, "a string")),
        }
    }

    /// What every reply has to repeat, and must have room for.
    fn short(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let text = self.string(name)?;
        match text.as_ref().map_or(0, String::len) {
            0..=MAX_LABEL => Ok(text),
            bytes => Err(Refusal::bad_request(format!(
                "`{name}` has {bytes} bytes; at most {MAX_LABEL} are allowed"
            ))),
        }
    }

    fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.string(name)?
            .ok_or_else(|| Refusal::bad_request(format!("`{name}` is missing")))
    }

    fn path(&mut self, name: &str) -> Result<String, Refusal> {
        let path = no_nul(name, self.required(name)?)?;
        if path.is_empty() {
            return Err(Refusal::bad_request(format!("`{name}` is empty")));
        }
        Ok(path)
    }

    fn boolean(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    fn args(&mut self) -> Result<Vec<String>, Refusal> {
        match self.take("args") {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .into_iter()
                .enumerate()
                .map(|(i, value)| scalar(|| format!("args[{i}]"), value))
                .collect(),
            Some(other) => Err(wrong("args", &other, "an array of strings")),
        }
    }

    fn env(&mut self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let values = match self.take("env") {
            None => return Ok(None),
            Some(Value::Object(values)) => values,
            Some(other) => return Err(wrong("env", &other, "an object of strings")),
        };
        let mut env = BTreeMap::new();
        for (name, value) in values {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Refusal::bad_request(format!(
                    "`env` has a variable named {name:?}: a name is not empty and has no = or NUL"
                )));
            }
            let value = scalar(|| format!("env.{name}"), value)?;
            env.insert(name, value);
        }
        Ok(Some(env))
    }

    fn timeout(&mut self) -> Result<Option<Duration>, Refusal> {
        let Some(value) = self.take("timeout") else {
            return Ok(None);
        };
        value
            .as_f64()
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map(Some)
            .ok_or_else(|| wrong("timeout", &value, "a number of seconds above 0"))
    }

    fn start_before(&mut self) -> Result<Option<Timestamp>, Refusal> {
        let text = self.string("start_before")?;
        let parse = |text: String| {
            text.parse().map_err(|error| {
                let message = format!("`start_before` is no time as in RFC 3339: {error}");
                Refusal::bad_request(message)
            })
        };
        text.map(parse).transpose()
    }

    fn max_output(&mut self) -> Result<u64, Refusal> {
        let Some(value) = self.take("max_output") else {
            return Ok(DEFAULT_MAX_OUTPUT);
        };
        value
            .as_u64()
            .filter(|bytes| *bytes <= MAX_OUTPUT_LIMIT)
            .ok_or_else(|| {
                wrong(
                    "max_output",
                    &value,
                    &format!("a number of bytes up to {MAX_OUTPUT_LIMIT}"),
                )
            })
    }
}

fn type_and_text<S: Serializer>(program: &Program, to: S) -> Result<S::Ok, S::Error> {
    let (kind, text) = match program {
        Program::Script(text) => ("script", text),
        Program::File(path) => ("file", path),
    };
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

/// One argument or variable. Numbers and booleans stand for their text, as they did in Ur.
fn scalar(name: impl FnOnce() -> String, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if !text.contains('\0') => Ok(text),
        Value::String(text) => no_nul(&name(), text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        other => Err(wrong(&name(), &other, "a string")),
    }
}

fn no_nul(name: &str, text: String) -> Result<String, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::bad_request(format!(
            "`{name}` has a NUL byte, which no program can be given"
        )));
    }
    Ok(text)
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Refusal {
    let found = match value {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    };
    Refusal::bad_request(format!("`{name}` is {found}, not {wanted}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
