//! The lock on a state directory: one agent at a time has it, and no other user may enter it.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
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

/// A directory that was there before may be open to all users; scripts and output are secret.
pub(super) fn tighten(dir: &Path) -> Result<()> {
    let mode = fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to others", dir.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Spool;
    use super::*;

    #[test]
    fn a_state_directory_has_one_agent_and_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
        let first = Spool::open(&state).unwrap();
        assert_eq!(
            fs::metadata(&state).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(Spool::open(&state).err().unwrap().is::<Held>());
        drop(first);
        Spool::open(&state).unwrap();
    }
}
