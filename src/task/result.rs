//! The result of a task, as Bolt reads it from standard output: one JSON object, in which `_error` makes
//! it a failure; text that is no such object is the value of `_output`.

use serde_json::{Map, Value};

use protocol::{Outcome, Reply};

/// An object of no more characters than this is shown in one line.
const LINE: usize = 100;
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
