//! The lock on a state directory: one agent at a time has it.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

/// Another agent has the state directory.
#[derive(Debug)]
pub struct Held(PathBuf);

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.0.display();
        write!(
            f,
            "another ur-agent uses {dir}: stop it, or give this one its own --state-dir"
        )
    }
}

impl std::error::Error for Held {}

/// Holds the directory for as long as the file is open.
pub(super) fn take(state_dir: &Path) -> Result<File> {
    let path = state_dir.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Held(state_dir.to_owned()).into()),
        Err(error) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spool;
    use super::*;

    #[test]
    fn a_state_directory_has_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let first = Spool::open(dir.path()).unwrap();
        assert!(Spool::open(dir.path()).err().unwrap().is::<Held>());
        drop(first);
        Spool::open(dir.path()).unwrap();
    }
}
