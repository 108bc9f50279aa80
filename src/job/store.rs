//! Atomic files: there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::Builder;

/// Writes `value` so that `path` never holds a part of it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let dir = parent(path);
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let write = || -> Result<()> {
        let mut file = Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_dir(dir)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Like [`write_json`], for what need not outlive a power cut.
pub(super) fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let write = || -> Result<()> {
        let mut file = Builder::new().prefix(".new-").tempfile_in(parent(path))?;
        file.write_all(&bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Opens a file for reading. A script may do what it likes in its directory; the agent must not wait for
/// ever at a pipe that the script made in the place of a file.
pub fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file any more")),
    }
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Like [`write_json`], but fails with `Ok(false)` if `path` is there already. Of several processes
/// that try, one gets `Ok(true)`.
pub(super) fn claim_json(path: &Path, value: &impl Serialize) -> Result<bool> {
    let dir = parent(path);
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let claim = || -> Result<bool> {
        let mut file = Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        match fs::hard_link(file.path(), path) {
            Ok(()) => sync_dir(dir).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    claim().with_context(|| format!("claiming {}", path.display()))
}

/// Like [`write_json`], but into the blocks of the file `reserved`, which becomes `path`: so that there is
/// room for it on a disk that has been filled since.
pub(super) fn write_json_reserved(
    path: &Path,
    reserved: &Path,
    value: &impl Serialize,
) -> Result<()> {
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let write = || -> Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(reserved)?;
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        fs::rename(reserved, path)?;
        sync_dir(parent(path))
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// A new file in a directory that is not yet in place, flushed to disk.
pub(super) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let create = || -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        Ok(file.sync_all()?)
    };
    create().with_context(|| format!("writing {}", path.display()))
}

/// An empty file that marks something. It is no harm if it is there already.
pub(crate) fn touch(path: &Path) -> Result<()> {
    let touch = || -> Result<()> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?
            .sync_all()?;
        sync_dir(parent(path))
    };
    touch().with_context(|| format!("marking {}", path.display()))
}

/// Without this a rename is not sure to outlive a power cut.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("flushing {}", dir.display()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reserved_becomes_the_file_and_holds_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (path, reserved) = (dir.path().join("outcome"), dir.path().join("room"));
        create(&reserved, &[0; 100], 0o600).unwrap();
        write_json_reserved(&path, &reserved, &1).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert!(!reserved.exists());
        // Written once more, by a second writer: whole all the same.
        write_json_reserved(&path, &reserved, &2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn of_two_claims_one_wins_and_its_content_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        assert!(claim_json(&path, &1).unwrap());
        assert!(!claim_json(&path, &2).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
