//! A request as Ur sends it; everything Ur did not know is optional.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{ErrorCode, Label, Refusal};

/// Bytes of a task's name, version or digest. A sha256 with its prefix has 71.
const MAX_LABEL: usize = 256;
/// What is kept of each stream when the request does not say: Ur's limit, in bytes.
pub(super) const DEFAULT_MAX_OUTPUT: u64 = 5 * 1024 * 1024;
/// The most that a request may ask to keep of each stream, in bytes.
pub(super) const MAX_OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// Bytes of JSON of `args` or `env`. Linux gives a program 2 MiB of both, and each small argument takes many times
/// its bytes in memory.
const MAX_ARGUMENTS: usize = 4 * 1024 * 1024;
/// Bytes of a `timestamp` or `origin` that answers repeat. A longer one is kept with the job all the same.
const MAX_NOTE: usize = 4096;

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
        let nothing_else = Fields(HashMap::new()).request(program);
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

/// The digest of a body that is no request, to tell it from every other.
pub fn content_of_bytes(body: &[u8]) -> String {
    hexadecimal(&Sha256::digest(body))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// The fields of a request, still unread, taken one by one so that a refusal can name the one that is wrong.
/// As values, small numbers and texts would take many times the memory of their bytes.
struct Fields<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
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
            timestamp: self.note("timestamp"),
            origin: self.note("origin"),
        })
    }

    /// A field that is absent or null is not given.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.0.remove(name).filter(|value| value.get() != "null")
    }

    /// What is repeated in answers and never interpreted.
    fn note(&mut self, name: &str) -> Option<Value> {
        let value = self.take(name)?;
        let short = value.get().len() <= MAX_NOTE;
        short.then(|| serde_json::from_str(value.get()).ok())?
    }

    /// What a program is given in the memory of its start.
    fn arguments(&mut self, name: &str) -> Result<Option<&'a RawValue>, Refusal> {
        let value = self.take(name);
        match value.map_or(0, |value| value.get().len()) {
            0..=MAX_ARGUMENTS => Ok(value),
            bytes => {
                let message = format!(
                    "`{name}` has {bytes} bytes, more than the kernel gives to any program: \
                     give long input as `stdin`"
                );
                Err(Refusal::new(ErrorCode::CannotExecute, message))
            }
        }
    }

    fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(value) if value.get().starts_with('"') => read(name, value).map(Some),
            Some(other) => Err(wrong(name, other, "a string")),
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
        match self.take(name).map(|value| (value.get(), value)) {
            None | Some(("false", _)) => Ok(false),
            Some(("true", _)) => Ok(true),
            Some((_, other)) => Err(wrong(name, other, "true or false")),
        }
    }

    fn args(&mut self) -> Result<Vec<String>, Refusal> {
        let values: Vec<&RawValue> = match self.arguments("args")? {
            None => return Ok(Vec::new()),
            Some(value) if value.get().starts_with('[') => read("args", value)?,
            Some(other) => return Err(wrong("args", other, "an array of strings")),
        };
        values
            .into_iter()
            .enumerate()
            .map(|(i, value)| scalar(|| format!("args[{i}]"), value))
            .collect()
    }

    fn env(&mut self) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let values: BTreeMap<String, &RawValue> = match self.arguments("env")? {
            None => return Ok(None),
            Some(value) if value.get().starts_with('{') => read("env", value)?,
            Some(other) => return Err(wrong("env", other, "an object of strings")),
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
        serde_json::from_str(value.get())
            .ok()
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map(Some)
            .ok_or_else(|| wrong("timeout", value, "a number of seconds above 0"))
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
        serde_json::from_str(value.get())
            .ok()
            .filter(|bytes| *bytes <= MAX_OUTPUT_LIMIT)
            .ok_or_else(|| {
                wrong(
                    "max_output",
                    value,
                    &format!("a number of bytes up to {MAX_OUTPUT_LIMIT}"),
                )
            })
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

/// One argument or variable. Numbers, booleans and null stand for their text, as they did in Ur.
fn scalar(name: impl Fn() -> String, value: &RawValue) -> Result<String, Refusal> {
    match value.get().as_bytes() {
        [b'"', ..] => {
            let text: String =
                serde_json::from_str(value.get()).map_err(|error| unreadable(&name(), &error))?;
            match text.contains('\0') {
                false => Ok(text),
                true => no_nul(&name(), text),
            }
        }
        [b'{' | b'[', ..] => Err(wrong(&name(), value, "a string")),
        _ => {
            let value: Value =
                serde_json::from_str(value.get()).map_err(|error| unreadable(&name(), &error))?;
            Ok(value.to_string())
        }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(name: &str, value: &'a RawValue) -> Result<T, Refusal> {
    serde_json::from_str(value.get()).map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &serde_json::Error) -> Refusal {
    Refusal::bad_request(format!("`{name}` is not JSON: {error}"))
}

fn no_nul(name: &str, text: String) -> Result<String, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::bad_request(format!(
            "`{name}` has a NUL byte, which no program can be given"
        )));
    }
    Ok(text)
}

fn wrong(name: &str, value: &RawValue, wanted: &str) -> Refusal {
    let found = match kind(value) {
        "a number" => value.get(),
        other => other,
    };
    Refusal::bad_request(format!("`{name}` is {found}, not {wanted}"))
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
