//! `ur task …`: lists, shows, writes, checks and releases tasks. Needs no broker.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::tasks::{TasksArgs, tasks};
use crate::exit::Exit;
use crate::flags::modules::{ModuleArgs, task_name};
use crate::stderr::tell;
use crate::view::Pages;
use task::{Library, Lock, check, create, own_modules, write_pages};

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List the tasks
    List(TasksArgs),
    /// Show what a task does, and its parameters
    Show(ShowTaskArgs),
    /// Write the beginnings of a new task
    New(NewArgs),
    /// Check all tasks of a directory of modules
    Check(CheckArgs),
    /// Record the digests of new versions in versions.lock
    Lock(CheckArgs),
    /// Write the pages of the built-in tasks
    #[command(hide = true)]
    Pages { dir: PathBuf },
}

#[derive(Debug, Args)]
pub(crate) struct ShowTaskArgs {
    #[command(flatten)]
    modules: ModuleArgs,
    /// MODULE::TASK, or a path with a slash in it
    task: String,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// MODULE::TASK
    task: String,
    /// A directory of modules [default: ~/.ur/modules]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A directory of modules
    dir: PathBuf,
}

pub(crate) fn task(command: TaskCommand) -> Result<Exit> {
    let out = &mut io::stdout();
    match command {
        TaskCommand::List(args) => return tasks(&args),
        TaskCommand::Show(args) => {
            let task = args.modules.find(&args.task)?;
            write!(out, "{}", task.page())?;
        }
        TaskCommand::New(args) => {
            let name = task_name(&args.task)?;
            let dir = args.dir.or_else(own_modules);
            let dir = dir.context("HOME is not set: say which directory")?;
            for path in create(&dir, &name)? {
                writeln!(out, "{}", path.display())?;
            }
        }
        TaskCommand::Check(args) => return checked(&args.dir, out),
        TaskCommand::Lock(args) => {
            if checked(&args.dir, out)? != Exit::Ok {
                bail!("nothing was recorded");
            }
            writeln!(out, "versions.lock: {} new", locked(&args.dir)?)?;
        }
        TaskCommand::Pages { dir } => write_pages(&dir)?,
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn checked(dir: &Path, out: &mut dyn Write) -> Result<Exit> {
    let (count, findings) = check(dir)?;
    let (tasks, _) = Library::of(vec![dir.to_owned()]).tasks_of(dir)?;
    Pages::of(&tasks)?;
    for finding in &findings {
        tell(&finding.to_string());
    }
    if findings.is_empty() {
        writeln!(out, "tasks: {count}, nothing to be put right")?;
        return Ok(Exit::Ok);
    }
    let to_do = findings.len();
    tell(&format!("ur: tasks: {count}, to be put right: {to_do}"));
    Ok(Exit::Error)
}

/// Adds what is new. Says how much that was.
fn locked(dir: &Path) -> Result<usize> {
    let library = Library::of(vec![dir.to_owned()]);
    let mut lock = Lock::of(dir)?.unwrap_or_default();
    let (tasks, _) = library.tasks_of(dir)?;
    let mut new = 0;
    for task in tasks {
        let label = task.label(&task.bundle(&library)?);
        new += usize::from(lock.add(label));
    }
    lock.write(dir)?;
    Ok(new)
}
