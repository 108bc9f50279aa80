//! The fields of a request as they come: each read for itself, so that a refusal names the one that is wrong.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::{DEFAULT_MAX_OUTPUT, MAX_OUTPUT_LIMIT, Program, Request};
use super::{ErrorCode, Label, Refusal};

/// Bytes of a task's name, version or digest. A sha256 with its prefix has 71.
const MAX_LABEL: usize = 256;
/// Bytes of JSON of `args` or `env`. Linux gives a program 2 MiB of both, and each small argument takes many times
/// its bytes in memory.
const MAX_ARGUMENTS: usize = 4 * 1024 * 1024;
/// Bytes of a `timestamp` or `origin` that answers repeat. A longer one is kept with the job all the same.
const MAX_NOTE: usize = 4096;

/// The fields of a request, still unread, taken one by one so that a refusal can name the one that is wrong.
/// As values, small numbers and texts would take many times the memory of their bytes.
#[derive(Default)]
pub(super) struct Fields<'a>(pub(super) HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Fields<'a> {
    pub(super) fn request(mut self, program: Program) -> Result<Request, Refusal> {
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

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, Refusal> {
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

    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.string(name)?
            .ok_or_else(|| Refusal::bad_request(format!("`{name}` is missing")))
    }

    pub(super) fn path(&mut self, name: &str) -> Result<String, Refusal> {
        let path = no_nul(name, self.required(name)?)?;
        if path.is_empty() {
            return Err(Refusal::bad_request(format!("`{name}` is empty")));
        }
        Ok(path)
    }

    pub(super) fn boolean(&mut self, name: &str) -> Result<bool, Refusal> {
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

pub(super) fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}
