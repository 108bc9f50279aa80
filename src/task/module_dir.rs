//! A directory of modules: one of the operator's, or `scripts/`, which is built in. Lists and reads files
//! by their path below it, and knows nothing of tasks.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use include_dir::{Dir, DirEntry, include_dir};

use protocol::without_byte_order_mark;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../scripts");

#[derive(Clone, Debug)]
pub(super) enum ModuleDir {
    BuiltIn,
    OnDisk(PathBuf),
}

impl ModuleDir {
    /// The names in a directory; none if it is not there.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>> {
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
            Self::OnDisk(dir) => {
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

    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::BuiltIn => Ok(BUILT_IN.get_file(path).map(|file| file.contents().to_vec())),
            Self::OnDisk(dir) => match fs::read(dir.join(path)) {
                Err(error) if is_absence(&error) => Ok(None),
                bytes => bytes
                    .map(|bytes| Some(without_byte_order_mark(&bytes).to_vec()))
                    .with_context(|| format!("reading {self}/{path}")),
            },
        }
    }

    /// Whether a file began with a byte order mark, which was left out: it hides the interpreter's line from the
    /// kernel, and is no JSON.
    pub(super) fn has_mark(&self, path: &str) -> bool {
        let mut first = [0; 3];
        let Self::OnDisk(dir) = self else {
            return false;
        };
        let file = fs::File::open(dir.join(path));
        file.is_ok_and(|mut file| file.read_exact(&mut first).is_ok())
            && without_byte_order_mark(&first).is_empty()
    }

    /// All files below a directory.
    pub(super) fn below(&self, dir: &str) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            for name in self.list(&dir)? {
                let path = format!("{dir}/{name}");
                let is_dir = match self {
                    Self::BuiltIn => BUILT_IN.get_dir(&path).is_some(),
                    Self::OnDisk(root) => root.join(&path).is_dir(),
                };
                if is_dir { &mut dirs } else { &mut files }.push(path);
            }
        }
        if files.is_empty() {
            bail!("there is nothing below {self}/{dir}");
        }
        Ok(files)
    }
}

impl fmt::Display for ModuleDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("(built in)"),
            Self::OnDisk(dir) => dir.display().fmt(f),
        }
    }
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
