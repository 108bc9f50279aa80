//! The library of tasks: directories of modules, as Bolt has them, and below all others the modules that
//! are built in. Names of files tell which tasks there are; the metadata tells what each is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::metadata::Metadata;
use super::module_dir::ModuleDir;
use super::name::is_word;
use super::near::{did_you_mean, near};
use super::{Task, TaskName};

/// A module path: of two directories that have a module, the first one has the whole of it.
#[derive(Clone, Debug)]
pub struct Library(Vec<ModuleDir>);

impl Library {
    /// `directories`, and after them what is built in.
    pub fn of(directories: Vec<PathBuf>) -> Self {
        let on_disk = directories.into_iter().map(ModuleDir::OnDisk);
        Self(on_disk.chain([ModuleDir::BuiltIn]).collect())
    }

    /// Every task, by name; and what kept others from being understood.
    pub fn tasks(&self) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        self.tasks_where(|_| true)
    }

    /// Those in one of the directories.
    pub fn tasks_of(&self, dir: &Path) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        self.tasks_where(|found| matches!(found, ModuleDir::OnDisk(path) if path == dir))
    }

    fn tasks_where(
        &self,
        wanted: impl Fn(&ModuleDir) -> bool,
    ) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        let (mut tasks, mut broken) = (Vec::new(), Vec::new());
        let modules = self.modules()?.into_iter();
        for (module, dir) in modules.filter(|(_, dir)| wanted(dir)) {
            for name in task_names(dir, &module)? {
                match read_task(dir, name) {
                    Ok(task) => tasks.push(task),
                    Err(error) => broken.push(error),
                }
            }
        }
        tasks.sort_by_key(|task| task.name.to_string());
        Ok((tasks, broken))
    }

    pub fn find(&self, name: &TaskName) -> Result<Task> {
        let modules = self.modules()?;
        if let Some(dir) = modules.get(&name.module)
            && task_names(dir, &name.module)?.contains(name)
        {
            return read_task(dir, name.clone());
        }
        let names = self.names()?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let near = did_you_mean(&near(&name.to_string(), names.iter().map(String::as_str)));
        match modules.get(&name.module) {
            Some(dir) => bail!(
                "there is no task {name} in {dir}/{} (ur task list has all){near}",
                name.module
            ),
            None => bail!(
                "there is no module `{}` for the task {name} (ur task list has all, --modulepath adds others){near}",
                name.module
            ),
        }
    }

    /// Of every task, whether or not its metadata is understood.
    fn names(&self) -> Result<BTreeSet<TaskName>> {
        let mut names = BTreeSet::new();
        for (module, dir) in self.modules()? {
            names.extend(task_names(dir, &module)?);
        }
        Ok(names)
    }

    /// The content of `<module>/<rest>`; of all files below it if it ends with a slash. By path.
    pub(super) fn read(&self, path: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let modules = self.modules()?;
        let module = path.split('/').next().unwrap_or_default();
        let Some(dir) = modules.get(module) else {
            bail!("there is no module `{module}` for the file {path}");
        };
        let paths = match path.strip_suffix('/') {
            Some(below) => dir.below(below)?,
            None => vec![path.to_owned()],
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let bytes = dir.read(&path)?;
            let bytes = bytes.with_context(|| format!("there is no file {dir}/{path}"))?;
            files.insert(path, bytes);
        }
        Ok(files)
    }

    /// Every module, and the first directory that has it.
    fn modules(&self) -> Result<BTreeMap<String, &ModuleDir>> {
        let mut modules = BTreeMap::new();
        for dir in &self.0 {
            for module in dir.list("")?.into_iter().filter(|name| is_word(name)) {
                modules.entry(module).or_insert(dir);
            }
        }
        Ok(modules)
    }
}

/// What a task's files are called tells which tasks there are.
fn task_names(dir: &ModuleDir, module: &str) -> Result<BTreeSet<TaskName>> {
    let files = dir.list(&format!("{module}/tasks"))?;
    let stems = files.iter().filter_map(|file| {
        let (stem, extension) = parts(file);
        let is_task = is_word(stem) && !matches!(extension, "md" | "conf");
        // One for PowerShell alone is none for any node of ours.
        let windows = extension == "json" && files.contains(&format!("{stem}.ps1"));
        (is_task && extension != "ps1" && !windows).then_some(stem)
    });
    let names = stems.map(|stem| TaskName {
        module: module.to_owned(),
        task: stem.to_owned(),
    });
    Ok(names.collect())
}

fn read_task(dir: &ModuleDir, name: TaskName) -> Result<Task> {
    let TaskName { module, task } = &name;
    let path = format!("{module}/tasks/{task}.json");
    let metadata = read_metadata(dir, &path)?;
    let file = match metadata.implementation() {
        Some(file) => file.to_owned(),
        None => only_file(dir, &name)?,
    };
    let executable = format!("{module}/tasks/{file}");
    let Some(content) = dir.read(&executable)? else {
        bail!("{dir}/{path}: `implementations` names {file}, which is not there");
    };
    Ok(Task {
        had_mark: dir.has_mark(&executable),
        content,
        executable,
        metadata,
        name,
    })
}

fn read_metadata(dir: &ModuleDir, path: &str) -> Result<Metadata> {
    match dir.read(path)? {
        Some(bytes) => Metadata::read(&bytes).with_context(|| format!("{dir}/{path}")),
        None => Ok(Metadata::default()),
    }
}

/// The one file that a task has besides its metadata.
fn only_file(dir: &ModuleDir, name: &TaskName) -> Result<String> {
    let TaskName { module, task } = name;
    let mut files = dir.list(&format!("{module}/tasks"))?;
    files.retain(|file| {
        let (stem, extension) = parts(file);
        stem == task && !matches!(extension, "json" | "md" | "conf" | "ps1")
    });
    files.sort();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        [] => bail!("{name} has metadata in {dir}/{module}/tasks, and nothing to run"),
        several => bail!(
            "{name} could be any of {} in {dir}/{module}/tasks: let `implementations` in {task}.json say which",
            several.join(", ")
        ),
    }
}

/// The name of a file, and what stands behind its first dot.
fn parts(file: &str) -> (&str, &str) {
    file.split_once('.').unwrap_or((file, ""))
}

/// A task that is a file anywhere, with its metadata beside it if it has any.
pub fn local(path: &Path) -> Result<Task> {
    let dir = ModuleDir::OnDisk(path.parent().unwrap_or(Path::new("")).to_owned());
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(content) = dir.read(&file)? else {
        bail!("there is no file {}", path.display());
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Task {
        metadata: read_metadata(&dir, &format!("{stem}.json"))?,
        name: TaskName {
            module: "local".to_owned(),
            task: stem.into_owned(),
        },
        executable: format!("local/tasks/{file}"),
        had_mark: dir.has_mark(&file),
        content,
    })
}

/// Where an operator's own modules are looked for without being asked.
pub fn own_modules() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ur/modules"))
}
