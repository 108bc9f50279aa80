//! `--modulepath`: the modules whose tasks can be run, and finding a task in them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::exit::Usage;
use task::{Library, Task, TaskName, local, own_modules};

#[derive(Debug, Args)]
pub(crate) struct ModuleArgs {
    /// Where modules are, besides ~/.ur/modules and ours;
    /// these go first
    #[arg(
        long,
        value_name = "DIR:…",
        value_delimiter = ':',
        verbatim_doc_comment
    )]
    modulepath: Vec<PathBuf>,
}

impl ModuleArgs {
    pub(crate) fn library(&self) -> Library {
        library(&self.modulepath)
    }

    /// What was typed as a task: a name, or the path of a file.
    pub(crate) fn find(&self, task: &str) -> Result<Task> {
        if !task.contains('/') && (Path::new(task).is_file() || task.ends_with(".sh")) {
            let hint = format!(
                "{task:?} is a file, not a task: did you mean ur script TARGETS {task}? \
                 A task that is a file has a slash: ur run TARGETS ./{task}"
            );
            return Err(Usage(hint).into());
        }
        find(&self.library(), task)
    }
}

pub(crate) fn library(modulepath: &[PathBuf]) -> Library {
    Library::of(modulepath.iter().cloned().chain(own_modules()).collect())
}

pub(crate) fn find(library: &Library, task: &str) -> Result<Task> {
    match task.contains('/') {
        true => local(Path::new(task)),
        false => library.find(&task_name(task)?),
    }
}

pub(crate) fn task_name(text: &str) -> Result<TaskName> {
    let name = text.parse();
    Ok(name.map_err(|error| Usage(format!("{error:#}")))?)
}
