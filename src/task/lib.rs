//! Tasks: versioned scripts in modules, as the Puppet Task specification has them, so that Bolt runs
//! ours and we run the Forge's. From name to request: [`Library`] finds a task and reads its metadata,
//! [`Task::prepare`] checks the parameters against their types, [`Task::bundle`] makes it one
//! self-contained script, and [`TaskResult`] reads what it printed. Knows nothing of nodes or brokers.

mod bundle;
mod check;
mod completion;
mod docs;
mod extension;
mod implementation;
mod json_object;
mod library;
mod metadata;
mod module_dir;
mod name;
mod near;
mod parameters;
mod result;
mod scaffold;
mod types;
mod versions;

use std::time::Duration;

pub use check::{Finding, check};
pub use docs::write_pages;
pub use extension::Class;
pub use library::{Library, local, own_modules};
pub use name::TaskName;
pub use near::{did_you_mean, near};
pub use parameters::{BadParameter, Given, ScriptInput};
pub use result::{TaskResult, outcome};
pub use scaffold::create;
pub use versions::Lock;

use metadata::Metadata;

/// A task that was found, and whose metadata is understood.
#[derive(Clone, Debug)]
pub struct Task {
    pub name: TaskName,
    metadata: Metadata,
    /// `<module>/tasks/<file>`.
    executable: String,
    content: Vec<u8>,
    /// Its file began with a byte order mark, which is left out.
    pub had_mark: bool,
}

impl Task {
    pub fn version(&self) -> Option<String> {
        self.metadata.ur.version.as_ref().map(ToString::to_string)
    }

    pub fn class(&self) -> Option<Class> {
        self.metadata.ur.class
    }

    /// Not for people, as its author has it.
    pub fn is_private(&self) -> bool {
        self.metadata.private
    }

    /// What it does, in a line.
    pub fn summary(&self) -> &str {
        let line = self.metadata.description.lines().next().unwrap_or_default();
        line.split_once(". ").map_or(line, |(first, _)| first)
    }

    /// The jq filter that makes a page for people of its result.
    pub fn view(&self) -> Option<&str> {
        self.metadata.ur.view.as_deref()
    }

    /// How long it may run.
    pub fn timeout(&self) -> Option<Duration> {
        self.metadata.ur.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// A shell task `test::task` with that metadata, and nothing in it.
    pub(super) fn task(metadata: &Value) -> Task {
        Task {
            name: "test::task".parse().unwrap(),
            metadata: Metadata::read(metadata.to_string().as_bytes()).unwrap(),
            executable: "test/tasks/task.sh".to_owned(),
            content: b"#!/bin/sh\n".to_vec(),
            had_mark: false,
        }
    }
}
