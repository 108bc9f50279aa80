//! The result of a task, as Bolt reads it from standard output: one JSON object, in which `_error` makes
//! it a failure; text that is no such object is the value of `_output`.

use serde_json::{Map, Value};

use protocol::{Outcome, Reply};

/// An object of no more characters than this is shown in one line.
const LINE: usize = 100;
/// A longer string is no text to be read: an archive, a report.
const MAX_STRING: usize = 1000;
/// Characters that are shown of it.
const SHOWN: usize = 40;
/// The outcome of a task that reports `_error` and exits with 0.
const FAILED: Outcome = Outcome::Exited { status: 1 };

#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult(Map<String, Value>);

impl TaskResult {
    /// `None` for the reply to anything but a task.
    pub fn of(reply: &Reply) -> Option<Self> {
        reply.name.as_ref()?;
        Some(Self::read(&reply.stdout))
    }

    fn read(stdout: &str) -> Self {
        Self(match serde_json::from_str(stdout) {
            Ok(Value::Object(object)) => object,
            _ => [("_output".to_owned(), stdout.into())]
                .into_iter()
                .collect(),
        })
    }

    /// Why it failed, in the task's own words.
    pub fn error(&self) -> Option<String> {
        let error = self.0.get("_error").filter(|error| !error.is_null())?;
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        Some(match (text("msg"), text("kind")) {
            (Some(msg), Some(kind)) => format!("{msg} ({kind})"),
            (Some(word), None) | (None, Some(word)) => word.to_owned(),
            (None, None) => error.to_string(),
        })
    }

    /// The message of its error alone.
    pub fn message(&self) -> Option<&str> {
        self.0.get("_error")?.get("msg")?.as_str()
    }

    /// With the beginning of what is too long to be looked at, and its length. A text that is no object stays as it is.
    pub fn shortened(mut self) -> Self {
        let values = self.0.iter_mut();
        values
            .filter(|(name, _)| *name != "_output")
            .for_each(|(_, value)| shorten(value));
        self
    }

    pub fn into_json(self) -> Value {
        Value::Object(self.0)
    }

    /// For people. The message of an error is left out: it is told elsewhere.
    pub fn to_text(&self) -> String {
        let mut object = self.0.clone();
        if let Some(Value::Object(error)) = object.get_mut("_error") {
            error.retain(|key, value| key == "details" && !is_empty(value));
            if error.is_empty() {
                object.remove("_error");
                if object.is_empty() {
                    return String::new();
                }
            }
        }
        if let (Some(Value::String(text)), 1) = (object.get("_output"), object.len()) {
            return text.clone();
        }
        let whole = Value::Object(object);
        let line = whole.to_string();
        if line.chars().count() <= LINE {
            return line + "\n";
        }
        format!("{whole:#}\n")
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            let count = text.chars().count();
            if count > MAX_STRING {
                let beginning: String = text.chars().take(SHOWN).collect();
                *text = format!("{beginning}… ({count} characters: -J has them)");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(object) => object.values_mut().for_each(shorten),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

/// The outcome of a reply, be it to a task or not.
pub fn outcome(reply: &Reply) -> Outcome {
    let outcome = reply.outcome();
    let failed = || TaskResult::of(reply).is_some_and(|result| result.error().is_some());
    if outcome.is_success() && failed() {
        return FAILED;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(stdout: &str) -> String {
        TaskResult::read(stdout).to_text()
    }

    #[test]
    fn an_object_is_itself_and_all_else_is_output() {
        assert_eq!(TaskResult::read(r#"{"a":1}"#).into_json(), json!({"a": 1}));
        assert_eq!(
            TaskResult::read("[1]\n").into_json(),
            json!({"_output": "[1]\n"})
        );
        assert_eq!(TaskResult::read("").into_json(), json!({"_output": ""}));
    }

    #[test]
    fn people_see_one_line_or_several() {
        assert_eq!(text("plain\ntext"), "plain\ntext");
        assert_eq!(text(r#"{ "b": 1, "a": [] }"#), "{\"a\":[],\"b\":1}\n");
        let long = json!({"disks": ["x".repeat(60), "y".repeat(60)]});
        assert!(text(&long.to_string()).starts_with("{\n  \"disks\": [\n"));
        let failed = r#"{"_error":{"msg":"no disk","kind":"disk/none","details":{}}}"#;
        assert_eq!(text(failed), "");
        let more = r#"{"_error":{"msg":"no","kind":"k","details":{"disk":"sda"}},"seen":2}"#;
        assert_eq!(
            text(more),
            "{\"_error\":{\"details\":{\"disk\":\"sda\"}},\"seen\":2}\n"
        );
    }

    #[test]
    fn what_is_too_long_to_be_looked_at_is_shown_by_its_beginning_and_its_length() {
        let archive = "QUJD".repeat(1000);
        let result = json!({"files": [{"archive": archive}], "name": "x"}).to_string();
        let shown = TaskResult::read(&result).shortened().to_text();
        assert!(
            shown.len() < 200 && shown.contains("(4000 characters: -J"),
            "{shown}"
        );
        assert_eq!(TaskResult::read(&archive).shortened().to_text(), archive);
    }

    #[test]
    fn an_error_is_a_failure_whatever_the_exit_status_but_only_of_a_task() {
        let mut reply = Reply::of(&Outcome::Exited { status: 0 });
        reply.stdout = r#"{"_error":{"msg":"no disk","kind":"disk/none"}}"#.to_owned();
        assert!(outcome(&reply).is_success());
        reply.name = Some("disk::erase".to_owned());
        assert_eq!(outcome(&reply), Outcome::Exited { status: 1 });
        let result = TaskResult::of(&reply).unwrap();
        assert_eq!(result.error().as_deref(), Some("no disk (disk/none)"));
        reply.exit_status = json!(7);
        assert_eq!(outcome(&reply), Outcome::Exited { status: 7 });
    }
}
