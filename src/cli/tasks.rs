//! `ur tasks`, `ur task …`: which tasks there are, and what it takes to have more. No broker is asked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::Exit;
use super::exit::Usage;
use task::{Library, Lock, Task, TaskName, check, create, local, own_modules, write_pages};

#[derive(Debug, ClapArgs)]
pub(crate) struct TasksArgs {
    #[command(flatten)]
    modules: ModuleArgs,
    /// No header
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ModuleArgs {
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

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Show what a task does, and its parameters
    Show(ShowArgs),
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

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    modules: ModuleArgs,
    /// MODULE::TASK, or a path with a slash in it
    task: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NewArgs {
    /// MODULE::TASK
    task: String,
    /// A directory of modules [default: ~/.ur/modules]
    dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// A directory of modules
    dir: PathBuf,
}

impl ModuleArgs {
    pub(super) fn library(&self) -> Library {
        let mut directories = self.modulepath.clone();
        directories.extend(own_modules());
        Library::of(directories)
    }
}

/// What was typed as a task: a name, or the path of a file.
pub(super) fn find(library: &Library, task: &str) -> Result<Task> {
    if task.contains('/') {
        return local(Path::new(task));
    }
    let name: TaskName = task.parse().map_err(|error| Usage(format!("{error:#}")))?;
    library.find(&name)
}

pub(crate) fn tasks(args: &TasksArgs) -> Result<Exit> {
    let (tasks, broken) = args.modules.library().tasks()?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !args.quiet {
        table.set_header(["NAME", "VERSION", "CLASS", "DESCRIPTION"]);
    }
    for task in tasks.iter().filter(|task| !task.is_private()) {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            task.name.to_string(),
            or_dash(task.version()),
            or_dash(task.class().map(|class| class.to_string())),
            task.summary().to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", table.trim_fmt())?;
    out.flush()?;
    for error in &broken {
        eprintln!("ur: {error:#}");
    }
    Ok(if broken.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

pub(crate) fn task(command: TaskCommand) -> Result<Exit> {
    let mut out = io::stdout().lock();
    match command {
        TaskCommand::Show(args) => {
            let task = find(&args.modules.library(), &args.task)?;
            write!(out, "{}", task.page())?;
        }
        TaskCommand::New(args) => {
            let name: TaskName = args
                .task
                .parse()
                .map_err(|error| Usage(format!("{error:#}")))?;
            let dir = args.dir.or_else(own_modules);
            let dir = dir.context("HOME is not set: say which directory")?;
            for path in create(&dir, &name)? {
                writeln!(out, "{}", path.display())?;
            }
        }
        TaskCommand::Check(args) => return checked(&args.dir, &mut out),
        TaskCommand::Lock(args) => {
            if checked(&args.dir, &mut out)? != Exit::Ok {
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
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        writeln!(out, "tasks: {count}, nothing to be put right")?;
        return Ok(Exit::Ok);
    }
    eprintln!("ur: tasks: {count}, to be put right: {}", findings.len());
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
