//! Checks of tasks that need no node: before they are shared, or released.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Class, Library, Lock, Task};

/// Something that is to be put right.
#[derive(Debug)]
pub struct Finding {
    about: String,
    what: String,
}

/// Checks every task of a directory of modules. Says how many there are, and what is wrong.
pub fn check(dir: &Path) -> Result<(usize, Vec<Finding>)> {
    let (count, tasks, mut findings) = examine(dir)?;
    for task in tasks.iter().filter(|task| task.is_shell()) {
        if !is_clean(dir, &dir.join(&task.executable))? {
            findings.push(Finding::new(
                &task.name,
                "shellcheck has found what is above",
            ));
        }
    }
    Ok((count, findings))
}

/// All that takes no other program: the number of tasks, those that are understood, and what is wrong.
fn examine(dir: &Path) -> Result<(usize, Vec<Task>, Vec<Finding>)> {
    let library = Library::of(vec![dir.to_owned()]);
    let lock = Lock::of(dir)?;
    let (tasks, broken) = library.tasks_of(dir)?;
    if tasks.is_empty() && broken.is_empty() {
        bail!(
            "there is no task below {}: it is to have MODULE/tasks/TASK.sh",
            dir.display()
        );
    }
    let mut findings: Vec<Finding> = broken
        .iter()
        .map(|error| Finding::new("", format!("{error:#}")))
        .collect();
    for task in &tasks {
        let found = task.findings(&library, lock.as_ref());
        findings.extend(found.into_iter().map(|what| Finding::new(&task.name, what)));
    }
    Ok((tasks.len() + broken.len(), tasks, findings))
}

impl Task {
    fn findings(&self, library: &Library, lock: Option<&Lock>) -> Vec<String> {
        let metadata = &self.metadata;
        let mut findings = Vec::new();
        let mut find = |is_so: bool, what: &str| {
            if is_so {
                findings.push(what.to_owned());
            }
        };
        find(metadata.description.is_empty(), "`description` is missing");
        find(
            metadata.parameters.is_none(),
            "`parameters` is missing: any would be taken",
        );
        let unconfirmed =
            metadata.ur.class == Some(Class::Destructive) && metadata.ur.confirm.is_none();
        find(
            unconfirmed,
            "`extensions.ur.confirm` is missing: which parameter names what is destroyed?",
        );
        let no_object =
            |schema: &serde_json::Map<_, _>| schema.get("type").is_some_and(|t| t != "object");
        let result = metadata.ur.result.as_ref();
        find(
            result.is_some_and(no_object),
            "`extensions.ur.result` is of another type than object",
        );
        for key in metadata.unread.iter().filter(|key| !key.starts_with('$')) {
            find(
                true,
                &format!("`{key}` is a key that neither Bolt nor Ur reads"),
            );
        }
        if lock.is_some() {
            find(
                metadata.ur.version.is_none(),
                "`extensions.ur.version` is missing",
            );
            find(
                metadata.ur.class.is_none(),
                "`extensions.ur.class` is missing",
            );
        }
        match self.bundle(library) {
            Err(error) => findings.push(format!("{error:#}")),
            Ok(bundle) => findings.extend(lock.and_then(|lock| self.violation(&bundle, lock))),
        }
        findings
    }

    fn violation(&self, bundle: &str, lock: &Lock) -> Option<String> {
        let label = self.label(bundle);
        let released = lock.released(&label)?;
        let digest = label.digest.as_deref()?;
        (released != digest).then(|| {
            format!(
                "its content has changed since version {} was released (it or a file it sources): raise `extensions.ur.version`",
                label.version.unwrap_or_default()
            )
        })
    }
}

/// Where there is no shellcheck there is nothing to be found.
fn is_clean(dir: &Path, file: &Path) -> Result<bool> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("finding {}", dir.display()))?;
    let above = dir.parent().unwrap_or(&dir);
    // A comment `shellcheck source=` may start from the script, from the modules, or from the
    // repository that they are in. What is found in none of them (SC1091) is in another module path,
    // and a variable that the script does not set (SC2154) is a parameter.
    let places = format!("SCRIPTDIR:{}:{}", dir.display(), above.display());
    let status = Command::new("shellcheck")
        .args([
            "--external-sources",
            "--exclude=SC1091,SC2154",
            "--source-path",
        ])
        .args([Path::new(&places), file])
        .status();
    match status {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        status => Ok(status.context("running shellcheck")?.success()),
    }
}

impl Finding {
    fn new(about: impl fmt::Display, what: impl Into<String>) -> Self {
        Self {
            about: about.to_string(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about.as_str() {
            "" => f.write_str(&self.what),
            about => write!(f, "{about}: {}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::task;
    use serde_json::{Value, json};

    fn findings(metadata: &Value, lock: Option<&Lock>) -> String {
        task(metadata)
            .findings(&Library::of(Vec::new()), lock)
            .join("\n")
    }

    #[test]
    fn what_an_operator_would_miss_is_found() {
        let mistyped = json!({"parameters": {"key": {"tpye": "String", "sensitve": true}}});
        let mistyped = findings(&mistyped, None);
        for word in ["`parameters.key.tpye`", "`parameters.key.sensitve`"] {
            assert!(mistyped.contains(word), "{mistyped}");
        }
        let bare = findings(&json!({"descripton": "x"}), Some(&Lock::default()));
        for word in [
            "`description`",
            "`parameters`",
            "`descripton`",
            "ur.version`",
            "ur.class`",
        ] {
            assert!(bare.contains(word), "{bare}");
        }
        let destructive = json!({"extensions": {"ur": {"class": "destructive"}}});
        assert!(findings(&destructive, None).contains("ur.confirm`"));
        let missing = json!({"files": ["nosuch/files/x.sh"]});
        assert!(findings(&missing, None).contains("`nosuch`"));
    }

    #[test]
    fn changed_content_under_a_released_version_is_found() {
        let metadata = json!({
            "description": "x", "parameters": {}, "extensions": {"ur": {"version": "1.0.0", "class": "inspect"}},
        });
        let mut task = task(&metadata);
        let library = Library::of(Vec::new());
        let mut lock = Lock::default();
        assert!(lock.add(task.label(&task.bundle(&library).unwrap())));
        assert_eq!(task.findings(&library, Some(&lock)), [""; 0]);
        task.content.extend(b"true\n");
        let found = task.findings(&library, Some(&lock)).join("\n");
        assert!(
            found.contains("1.0.0") && found.contains("raise"),
            "{found}"
        );
    }

    /// `tools/lint-shell` has shellcheck read all of it, once.
    #[test]
    fn what_is_built_in_has_nothing_to_be_put_right() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
        let (count, _, findings) = examine(&dir).unwrap();
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(count > 0 && Lock::of(&dir).unwrap().is_some());
        assert_eq!(findings, [""; 0]);
    }
}
