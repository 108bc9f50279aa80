//! The name of a task: `MODULE::TASK`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

/// `module::task`; the task `init` is the module's own and goes by the name of the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskName {
    pub(super) module: String,
    pub(super) task: String,
}

impl FromStr for TaskName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (module, task) = text.split_once("::").unwrap_or((text, "init"));
        ensure!(
            is_word(module) && is_word(task),
            "{text:?} is not the name of a task: write MODULE::TASK, each of a to z, 0 to 9 and _"
        );
        Ok(Self {
            module: module.to_owned(),
            task: task.to_owned(),
        })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task.as_str() {
            "init" => f.pad(&self.module),
            task => f.pad(&format!("{}::{task}", self.module)),
        }
    }
}

/// The name of a module, a task or a parameter.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_module_and_task_and_init_is_the_module_s_own() {
        let shown = |text: &str| text.parse::<TaskName>().map(|name| name.to_string()).ok();
        assert_eq!(shown("disk::erase").as_deref(), Some("disk::erase"));
        assert_eq!(shown("service").as_deref(), Some("service"));
        assert_eq!(shown("service::init").as_deref(), Some("service"));
        for bad in ["Disk::erase", "disk::", "::x", "a::b::c", "../x", ""] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
