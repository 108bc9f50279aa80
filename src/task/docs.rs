//! The page of a task, made from its metadata: `ur task show` prints it, and `docs/tasks` has those of the
//! built-in ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::metadata::Parameter;
use super::{Library, Task};

impl Task {
    /// In Markdown, which people read as it is.
    pub fn page(&self) -> String {
        let mut parts = vec![format!("# {}", self.name)];
        if !self.metadata.description.is_empty() {
            parts.push(self.metadata.description.clone());
        }
        parts.push(format!("    {}", self.example()));
        parts.extend(self.facts());
        parts.push("## Parameters".to_owned());
        parts.push(match &self.metadata.parameters {
            None => "Any: the metadata does not say which.".to_owned(),
            Some(none) if none.is_empty() => "None.".to_owned(),
            Some(parameters) => {
                let lines = parameters
                    .iter()
                    .map(|(name, parameter)| parameter.line(name));
                lines.collect::<Vec<_>>().join("\n")
            }
        });
        if let Some(schema) = &self.metadata.ur.result {
            parts.push("## Result".to_owned());
            parts.push(members(schema));
        }
        parts.join("\n\n") + "\n"
    }

    /// A command line with all that must be given.
    fn example(&self) -> String {
        let confirm = self.metadata.ur.confirm.as_ref();
        let mut words = vec![format!("ur run {} -n NODE", self.name)];
        for (name, parameter) in self.metadata.parameters.iter().flatten() {
            if parameter.is_required() || confirm == Some(name) {
                words.push(format!("{name}={}", parameter.kind.example()));
            }
        }
        words.join(" ")
    }

    fn facts(&self) -> Option<String> {
        let ur = &self.metadata.ur;
        let facts = [
            ur.version
                .as_ref()
                .map(|version| format!("version {version}")),
            ur.class.map(|class| class.to_string()),
            ur.timeout
                .map(|limit| format!("ended after {} s", limit.as_secs_f64())),
            self.metadata
                .supports_noop
                .then(|| "supports `--noop`".to_owned()),
            ur.confirm
                .as_ref()
                .map(|name| format!("`{name}` must name what is destroyed")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        (!facts.is_empty()).then(|| format!("{}.", facts.join("; ")))
    }
}

impl Parameter {
    fn line(&self, name: &str) -> String {
        let given = match &self.default {
            _ if self.is_required() => ", required".to_owned(),
            Some(default) => format!(", default `{default}`"),
            None => String::new(),
        };
        let secret = if self.sensitive { ", never shown" } else { "" };
        let line = format!(
            "- `{name}`: `{}`{given}{secret}. {}",
            self.kind, self.description
        );
        line.trim_end().to_owned()
    }
}

/// The members of an object that a JSON Schema describes.
fn members(schema: &Map<String, Value>) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let properties = schema.get("properties").and_then(Value::as_object);
    let lines = properties.into_iter().flatten().map(|(name, of)| {
        let kind = text(of, "type")
            .map(|kind| format!(": {kind}"))
            .unwrap_or_default();
        let line = format!(
            "- `{name}`{kind}. {}",
            text(of, "description").unwrap_or_default()
        );
        line.trim_end().to_owned()
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return "A JSON object.".to_owned();
    }
    lines.join("\n")
}

/// The pages of what is built in, by file name.
fn pages() -> Result<BTreeMap<String, String>> {
    let (tasks, _) = Library::of(Vec::new()).tasks()?;
    let shown = tasks.iter().filter(|task| !task.is_private());
    let page = |task: &Task| {
        let file = task.name.to_string().replace("::", "-") + ".md";
        (file, task.page())
    };
    Ok(shown.map(page).collect())
}

/// Writes them to a directory that has nothing but them.
pub fn write_pages(dir: &Path) -> Result<()> {
    let pages = pages()?;
    let write = || -> Result<()> {
        fs::create_dir_all(dir)?;
        for (name, text) in &pages {
            fs::File::create(dir.join(name))?.write_all(text.as_bytes())?;
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !pages.contains_key(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    write().with_context(|| format!("writing pages to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::task;
    use serde_json::json;

    #[test]
    fn a_page_has_what_one_needs_to_run_it() {
        let task = task(&json!({
            "description": "Does it.", "supports_noop": true,
            "parameters": {
                "level": {"type": "Enum[low, high]", "default": "low", "description": "How."},
                "key": {"type": "Sensitive[String]"},
            },
            "extensions": {"ur": {
                "version": "1.0.0", "class": "change", "timeout": 60,
                "result": {"properties": {"done": {"type": "boolean", "description": "Whether."}}},
            }},
        }));
        let expected = "# test::task\n\nDoes it.\n\n    ur run test::task -n NODE key=…\n
version 1.0.0; change; ended after 60 s; supports `--noop`.\n
## Parameters\n
- `key`: `Sensitive[String]`, required, never shown.
- `level`: `Enum[low, high]`, default `\"low\"`. How.\n
## Result\n\n- `done`: boolean. Whether.\n";
        assert_eq!(task.page(), expected);
    }

    #[test]
    fn the_pages_in_docs_are_those_of_the_metadata() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tasks");
        let files = fs::read_dir(&dir).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read_to_string(entry.path()).unwrap())
        });
        let found: BTreeMap<String, String> = files.collect();
        assert_eq!(
            found,
            pages().unwrap(),
            "docs/tasks is stale: run make pages"
        );
    }
}
