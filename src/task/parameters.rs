//! Parameters of a task: from what was typed to what its script gets, on standard input and in the
//! environment. A value that is not of its type is refused, and no secret gets into a message.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::implementation::InputMethod;
use super::metadata::Parameter;
use super::near::{did_you_mean, near};
use super::{Class, Task};

/// The kernel takes no variable of more than 128 KiB, its name included.
const MAX_ENV_VALUE: usize = 100_000;
/// What a login of root would have. A request's environment replaces the node's own.
const ENVIRONMENT: [(&str, &str); 3] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];

/// Parameters as they were typed.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// From `name=value`: JSON if that is of the parameter's type and says the same, else the text itself.
    pub words: Vec<(String, String)>,
    /// From `--params`.
    pub json: Map<String, Value>,
    pub noop: bool,
}

/// What the script gets.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptInput {
    pub stdin: Option<String>,
    pub env: BTreeMap<String, String>,
    /// Something is on standard input and nowhere else.
    pub needs_stdin: bool,
    /// The parameter that must name what is destroyed, if it was not given.
    pub unconfirmed: Option<String>,
    /// For people: `level=purge password=[sensitive]`.
    pub shown: String,
}

/// A parameter that cannot be meant, in words that hold no secret.
#[derive(Debug, PartialEq, Eq)]
pub struct BadParameter(String);

impl Task {
    /// Checks the parameters, and puts them where the script looks for them.
    pub fn prepare(&self, given: &Given) -> Result<ScriptInput, BadParameter> {
        let changes = self.class() != Some(Class::Inspect);
        if given.noop && !self.metadata.supports_noop && changes {
            let bad = format!(
                "{} does not support --noop: it would change things",
                self.name
            );
            return Err(BadParameter(bad));
        }
        let mut values = self.given(given)?;
        let confirm = self.metadata.ur.confirm.clone();
        let unconfirmed = confirm.filter(|name| !values.contains_key(name));
        self.add_defaults(&mut values)?;
        let shown = self.shown(&values);
        values.insert("_task".to_owned(), Value::String(self.name.to_string()));
        if given.noop && self.metadata.supports_noop {
            values.insert("_noop".to_owned(), Value::Bool(true));
        }
        let input = self.metadata.input();
        let mut env: BTreeMap<_, _> = ENVIRONMENT
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let mut needs_stdin = input == InputMethod::Stdin;
        for (name, value) in values.iter().filter(|_| input != InputMethod::Stdin) {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if text.len() <= MAX_ENV_VALUE && !text.contains('\0') {
                env.insert(format!("PT_{name}"), text);
            } else if input == InputMethod::Both {
                needs_stdin = true;
            } else {
                return Err(BadParameter(format!(
                    "the parameter `{name}` of {} goes into its environment, which takes no more than {MAX_ENV_VALUE} bytes and no NUL",
                    self.name
                )));
            }
        }
        // One line, which a shell can read.
        let stdin =
            (input != InputMethod::Environment).then(|| format!("{}\n", Value::Object(values)));
        Ok(ScriptInput {
            stdin,
            env,
            needs_stdin,
            unconfirmed,
            shown,
        })
    }

    /// How a parameter may be given, such as `level=purge`.
    pub fn example_of(&self, name: &str) -> Option<String> {
        let parameter = self.metadata.parameters.as_ref()?.get(name)?;
        Some(format!("{name}={}", parameter.kind.example()))
    }

    /// The parameters that were given, each of its type.
    fn given(&self, given: &Given) -> Result<Map<String, Value>, BadParameter> {
        let mut values = Map::new();
        for (name, text) in &given.words {
            let value = match self.parameter(name)? {
                Some(parameter) => from_text(text, |value| parameter.kind.accepts(value)),
                None => from_text(text, |_| true),
            };
            if values.insert(name.clone(), value).is_some() || given.json.contains_key(name) {
                return Err(BadParameter(format!(
                    "the parameter `{name}` is given twice"
                )));
            }
        }
        values.extend(given.json.clone());
        for (name, value) in &values {
            if let Some(parameter) = self.parameter(name)?
                && !parameter.kind.accepts(value)
            {
                return Err(self.ill_typed(name, parameter, value));
            }
        }
        // A task may not tell null from absent, and a shell cannot tell it from a word.
        values.retain(|_, value| !value.is_null());
        Ok(values)
    }

    fn add_defaults(&self, values: &mut Map<String, Value>) -> Result<(), BadParameter> {
        for (name, parameter) in self.metadata.parameters.iter().flatten() {
            if values.contains_key(name) {
                continue;
            }
            if parameter.is_required() {
                return Err(BadParameter(format!(
                    "the parameter `{name}` of {} is missing: it is to be {}, such as {name}={}; ur task show {0} tells more",
                    self.name,
                    parameter.kind,
                    parameter.kind.example()
                )));
            }
            if let Some(default) = parameter.default.clone().filter(|value| !value.is_null()) {
                values.insert(name.clone(), default);
            }
        }
        Ok(())
    }

    /// What is known of a parameter; `None` if the task takes any.
    fn parameter(&self, name: &str) -> Result<Option<&Parameter>, BadParameter> {
        let Some(known) = &self.metadata.parameters else {
            return Ok(None);
        };
        known.get(name).map(Some).ok_or_else(|| {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            BadParameter(match names.as_slice() {
                [] => format!("{} has no parameter `{name}`, nor any other", self.name),
                names => format!(
                    "{} has no parameter `{name}`; it has {}{}",
                    self.name,
                    names.join(", "),
                    did_you_mean(&near(name, names.iter().copied()))
                ),
            })
        })
    }

    fn ill_typed(&self, name: &str, parameter: &Parameter, value: &Value) -> BadParameter {
        let is = if parameter.sensitive {
            "[sensitive]".to_owned()
        } else {
            value.to_string()
        };
        BadParameter(format!(
            "the parameter `{name}` of {} is {is}: it is to be {}, such as {name}={}",
            self.name,
            parameter.kind,
            parameter
                .listed(value)
                .unwrap_or_else(|| parameter.kind.example())
        ))
    }

    fn shown(&self, values: &Map<String, Value>) -> String {
        let known = self.metadata.parameters.as_ref();
        let shown =
            values.iter().map(
                |(name, value)| match known.and_then(|known| known.get(name)) {
                    Some(parameter) if parameter.sensitive => format!("{name}=[sensitive]"),
                    _ => match value {
                        Value::String(text) => format!("{name}={text}"),
                        other => format!("{name}={other}"),
                    },
                },
            );
        shown.collect::<Vec<_>>().join(" ")
    }
}

impl Parameter {
    /// A text of words with commas, written as the list that was meant by it.
    fn listed(&self, value: &Value) -> Option<String> {
        let text = value
            .as_str()
            .filter(|text| !self.sensitive && !text.contains('\''))?;
        let list = Value::Array(text.split(',').map(Value::from).collect());
        self.kind.accepts(&list).then(|| format!("'{list}'"))
    }
}

/// JSON if it is of the type, else the text. A number that JSON would write otherwise (a version 1.10, a serial of 23
/// digits) is a text, unless the type takes none.
fn from_text(text: &str, accepts: impl Fn(&Value) -> bool) -> Value {
    let as_text = Value::String(text.to_owned());
    let json = serde_json::from_str(text).ok();
    match json.filter(&accepts) {
        Some(json) if keeps_numbers(text) || !accepts(&as_text) => json,
        _ => as_text,
    }
}

/// Whether every number outside of quotes stays as it is when it is read and written again.
fn keeps_numbers(json: &str) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let unquoted: String = json
        .chars()
        .map(|c| {
            let is_quote = c == '"' && !is_escaped;
            is_escaped = is_quoted && c == '\\' && !is_escaped;
            is_quoted ^= is_quote;
            if is_quoted || is_quote { ' ' } else { c }
        })
        .collect();
    let is_of_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let words = unquoted.split(|c| !is_of_number(c));
    words
        .filter(|word| word.contains(|c: char| c.is_ascii_digit()))
        .all(|word| {
            let written = serde_json::from_str::<Value>(word).map(|it| it.to_string());
            written.is_ok_and(|written| written == word)
        })
}

impl fmt::Display for BadParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadParameter {}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
