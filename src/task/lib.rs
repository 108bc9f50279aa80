//! Tasks: versioned scripts in modules, as the Puppet Task specification has them, so that Bolt runs
//! ours and we run the Forge's. From name to request, in the order of the files: [`Library`] finds a
//! task, [`Task::prepare`] checks the parameters against their types, a bundle makes it one
//! self-contained script, and [`Answer`] reads what it printed. Knows nothing of nodes or brokers.

mod answer;
mod bundle;
mod check;
mod expression;
mod keys;
mod library;
mod metadata;
mod page;
mod params;
mod skeleton;
mod types;
mod versions;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};

pub use answer::{Answer, outcome};
pub use check::{Finding, check};
pub use library::{Library, local};
pub use metadata::Class;
pub use page::write_pages;
pub use params::{BadParameter, Given, Input};
pub use skeleton::create;
pub use versions::Lock;

use metadata::Metadata;

/// `module::task`; the task `init` is the module's own and goes by the name of the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    module: String,
    task: String,
}

/// A task that was found, and whose metadata is understood.
#[derive(Clone, Debug)]
pub struct Task {
    pub name: Name,
    metadata: Metadata,
    /// `<module>/tasks/<file>`.
    executable: String,
    content: Vec<u8>,
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

    /// How long it may run.
    pub fn timeout(&self) -> Option<Duration> {
        self.metadata.ur.timeout
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (module, task) = text.split_once("::").unwrap_or((text, "init"));
        ensure!(
            library::is_word(module) && library::is_word(task),
            "{text:?} is not the name of a task: write MODULE::TASK, each of a to z, 0 to 9 and _"
        );
        Ok(Self {
            module: module.to_owned(),
            task: task.to_owned(),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task.as_str() {
            "init" => f.pad(&self.module),
            task => f.pad(&format!("{}::{task}", self.module)),
        }
    }
}

/// Where an operator's own modules are looked for without being asked.
pub fn own_modules() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ur/modules"))
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
        }
    }

    #[test]
    fn a_name_is_module_and_task_and_init_is_the_module_s_own() {
        let shown = |text: &str| text.parse::<Name>().map(|name| name.to_string()).ok();
        assert_eq!(shown("disk::erase").as_deref(), Some("disk::erase"));
        assert_eq!(shown("service").as_deref(), Some("service"));
        assert_eq!(shown("service::init").as_deref(), Some("service"));
        for bad in ["Disk::erase", "disk::", "::x", "a::b::c", "../x", ""] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
