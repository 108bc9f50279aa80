//! Ur's extension of a task's metadata, `extensions.ur`: the task's version, what it does to a node, how
//! long it may run.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use semver::Version;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::json_object::JsonObject;

#[derive(Clone, Debug, Default)]
pub(super) struct Extension {
    pub(super) version: Option<Version>,
    pub(super) class: Option<Class>,
    pub(super) timeout: Option<Duration>,
    /// The parameter that must name what is destroyed.
    pub(super) confirm: Option<String>,
    /// A jq filter: what people see of the result.
    pub(super) view: Option<String>,
    /// A JSON Schema of the result.
    pub(super) result: Option<Map<String, Value>>,
}

/// A long text in JSON: as it is, or by lines.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    Whole(String),
    Lines(Vec<String>),
}

impl Lines {
    fn text(self) -> String {
        match self {
            Self::Whole(text) => text,
            Self::Lines(lines) => lines.join("\n"),
        }
    }
}

/// What a task does to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Inspect,
    Change,
    Destructive,
}

impl Extension {
    /// An unknown key here is a mistake: no other tool may add keys of its own.
    pub(super) fn read(value: Value) -> Result<Self> {
        let mut object = JsonObject::of(value, "extensions.ur")?;
        let timeout: Option<f64> = object.take("timeout")?;
        let limit = |seconds| {
            Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|t| !t.is_zero())
        };
        let extension = Self {
            version: object.take("version")?,
            class: object.take("class")?,
            timeout: match timeout {
                Some(seconds) => Some(
                    limit(seconds)
                        .context("`extensions.ur.timeout` is not a number of seconds above 0")?,
                ),
                None => None,
            },
            confirm: object.take("confirm")?,
            view: object.take::<Lines>("view")?.map(Lines::text),
            result: object.take("result")?,
        };
        if let Some(key) = object.rest().first() {
            bail!("`{key}` is not a key of Ur");
        }
        Ok(extension)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inspect => "inspect",
            Self::Change => "change",
            Self::Destructive => "destructive",
        })
    }
}
