//! Where tasks are found: directories of modules, as Bolt has them, and below all others the modules
//! that are built in. Knows names and places; what is in the files is for others to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use include_dir::{Dir, DirEntry, include_dir};

use super::metadata::Metadata;
use super::{Name, Task};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../scripts");

/// A module path: of two places that have a module, the first one has the whole of it.
#[derive(Clone, Debug)]
pub struct Library(Vec<Place>);

/// A directory of modules.
#[derive(Clone, Debug)]
enum Place {
    BuiltIn,
    Directory(PathBuf),
}

impl Library {
    /// `directories`, and after them what is built in.
    pub fn of(directories: Vec<PathBuf>) -> Self {
        let mut places: Vec<Place> = directories.into_iter().map(Place::Directory).collect();
        places.push(Place::BuiltIn);
        Self(places)
    }

    /// Every task, by name; and what kept others from being understood.
    pub fn tasks(&self) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        self.tasks_where(|_| true)
    }

    /// Those in one of the directories.
    pub fn tasks_of(&self, dir: &Path) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        self.tasks_where(|place| matches!(place, Place::Directory(other) if other == dir))
    }

    fn tasks_where(
        &self,
        wanted: impl Fn(&Place) -> bool,
    ) -> Result<(Vec<Task>, Vec<anyhow::Error>)> {
        let (mut tasks, mut broken) = (Vec::new(), Vec::new());
        let modules = self.modules()?.into_iter();
        for (module, place) in modules.filter(|(_, place)| wanted(place)) {
            for name in place.names(&module)? {
                match place.task(name) {
                    Ok(task) => tasks.push(task),
                    Err(error) => broken.push(error),
                }
            }
        }
        tasks.sort_by_key(|task| task.name.to_string());
        Ok((tasks, broken))
    }

    pub fn find(&self, name: &Name) -> Result<Task> {
        let modules = self.modules()?;
        let Some(place) = modules.get(&name.module) else {
            let known: Vec<&str> = modules.keys().map(String::as_str).collect();
            bail!(
                "there is no module `{}`: the modules are {}; --modulepath adds others",
                name.module,
                known.join(", ")
            );
        };
        if !place.names(&name.module)?.contains(name) {
            bail!(
                "there is no task {name} in {place}/{}: ur tasks lists those there are",
                name.module
            );
        }
        place.task(name.clone())
    }

    /// The content of `<module>/<rest>`; of all files below it if it ends with a slash. By path.
    pub(super) fn read(&self, path: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let modules = self.modules()?;
        let module = path.split('/').next().unwrap_or_default();
        let Some(place) = modules.get(module) else {
            bail!("there is no module `{module}` for the file {path}");
        };
        let paths = match path.strip_suffix('/') {
            Some(dir) => place.below(dir)?,
            None => vec![path.to_owned()],
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let bytes = place.read(&path)?;
            let bytes = bytes.with_context(|| format!("there is no file {place}/{path}"))?;
            files.insert(path, bytes);
        }
        Ok(files)
    }

    /// Every module, and the first place that has it.
    fn modules(&self) -> Result<BTreeMap<String, &Place>> {
        let mut modules = BTreeMap::new();
        for place in &self.0 {
            for module in place.list("")?.into_iter().filter(|name| is_word(name)) {
                modules.entry(module).or_insert(place);
            }
        }
        Ok(modules)
    }
}

impl Place {
    /// The names in a directory; none if it is not there.
    fn list(&self, path: &str) -> Result<Vec<String>> {
        match self {
            Self::BuiltIn => {
                let dir = match path {
                    "" => Some(&BUILT_IN),
                    path => BUILT_IN.get_dir(path),
                };
                let entries = dir.map(Dir::entries).unwrap_or_default();
                let names = entries
                    .iter()
                    .filter_map(|entry| DirEntry::path(entry).file_name());
                Ok(names
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect())
            }
            Self::Directory(dir) => {
                let dir = dir.join(path);
                let names = || -> std::io::Result<Vec<String>> {
                    let entries = fs::read_dir(&dir)?.collect::<Result<Vec<_>, _>>()?;
                    let names = entries.iter().map(fs::DirEntry::file_name);
                    Ok(names
                        .map(|name| name.to_string_lossy().into_owned())
                        .collect())
                };
                match names() {
                    Err(error) if is_absence(&error) => Ok(Vec::new()),
                    names => names.with_context(|| format!("reading {}", dir.display())),
                }
            }
        }
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::BuiltIn => Ok(BUILT_IN.get_file(path).map(|file| file.contents().to_vec())),
            Self::Directory(dir) => match fs::read(dir.join(path)) {
                Err(error) if is_absence(&error) => Ok(None),
                bytes => bytes
                    .map(Some)
                    .with_context(|| format!("reading {self}/{path}")),
            },
        }
    }

    /// All files below a directory.
    fn below(&self, dir: &str) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            for name in self.list(&dir)? {
                let path = format!("{dir}/{name}");
                let is_dir = match self {
                    Self::BuiltIn => BUILT_IN.get_dir(&path).is_some(),
                    Self::Directory(root) => root.join(&path).is_dir(),
                };
                if is_dir { &mut dirs } else { &mut files }.push(path);
            }
        }
        if files.is_empty() {
            bail!("there is nothing below {self}/{dir}");
        }
        Ok(files)
    }

    /// What a task's files are called tells which tasks there are.
    fn names(&self, module: &str) -> Result<BTreeSet<Name>> {
        let files = self.list(&format!("{module}/tasks"))?;
        let stems = files.iter().filter_map(|file| {
            let (stem, extension) = parts(file);
            let is_task = is_word(stem) && !matches!(extension, "md" | "conf");
            // One for PowerShell alone is none for any node of ours.
            let windows = extension == "json" && files.contains(&format!("{stem}.ps1"));
            (is_task && extension != "ps1" && !windows).then_some(stem)
        });
        let names = stems.map(|stem| Name {
            module: module.to_owned(),
            task: stem.to_owned(),
        });
        Ok(names.collect())
    }

    fn task(&self, name: Name) -> Result<Task> {
        let Name { module, task } = &name;
        let dir = format!("{module}/tasks");
        let path = format!("{dir}/{task}.json");
        let metadata = match self.read(&path)? {
            Some(bytes) => Metadata::read(&bytes).with_context(|| format!("{self}/{path}"))?,
            None => Metadata::default(),
        };
        let file = match metadata.implementation() {
            Some(file) => file.to_owned(),
            None => self.only_file(&name)?,
        };
        let executable = format!("{dir}/{file}");
        let Some(content) = self.read(&executable)? else {
            bail!("{self}/{path}: `implementations` names {file}, which is not there");
        };
        Ok(Task {
            content,
            executable,
            metadata,
            name,
        })
    }

    /// The one file that a task has besides its metadata.
    fn only_file(&self, name: &Name) -> Result<String> {
        let Name { module, task } = name;
        let mut files = self.list(&format!("{module}/tasks"))?;
        files.retain(|file| {
            let (stem, extension) = parts(file);
            stem == task && !matches!(extension, "json" | "md" | "conf" | "ps1")
        });
        files.sort();
        match files.as_slice() {
            [file] => Ok(file.clone()),
            [] => bail!("{name} has metadata in {self}/{module}/tasks, and nothing to run"),
            several => bail!(
                "{name} could be any of {} in {self}/{module}/tasks: let `implementations` in {task}.json say which",
                several.join(", ")
            ),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("(built in)"),
            Self::Directory(dir) => dir.display().fmt(f),
        }
    }
}

/// The name of a file, and what stands behind its first dot.
fn parts(file: &str) -> (&str, &str) {
    file.split_once('.').unwrap_or((file, ""))
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The name of a module, a task or a parameter.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A task that is a file somewhere, with its metadata beside it if it has any.
pub fn local(path: &Path) -> Result<Task> {
    let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let beside = path.with_extension("json");
    let metadata = match fs::read(&beside) {
        Ok(bytes) => Metadata::read(&bytes).with_context(|| beside.display().to_string())?,
        Err(error) if is_absence(&error) => Metadata::default(),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", beside.display()));
        }
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Task {
        name: Name {
            module: "local".to_owned(),
            task: stem.into_owned(),
        },
        executable: format!("local/tasks/{file}"),
        content,
        metadata,
    })
}
