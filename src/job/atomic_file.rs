//! Atomic files: there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use serde::Serialize;

/// Writes `value` so that `path` never holds a part of it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let dir = parent(path);
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let write = || -> Result<()> {
        let own = own_name(dir);
        create(&own, &bytes, 0o600)?.sync_all()?;
        fs::rename(&own, path)?;
        sync_dir(dir)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Like [`write_json`], for what need not outlive a power cut.
pub(super) fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let own = own_name(parent(path));
    create(&own, &bytes, 0o600)?;
    fs::rename(&own, path).with_context(|| format!("writing {}", path.display()))
}

/// No other living process uses it.
fn own_name(dir: &Path) -> PathBuf {
    dir.join(format!(".new-{}", std::process::id()))
}

/// Opens a file for reading. The agent must not wait for ever at a pipe in the place of a file, nor follow a
/// link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    no_other_than_a_file(file)
}

pub(super) fn no_other_than_a_file(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file any more")),
    }
}

/// Fails for a file of more than `max` bytes: a sparse one of any size takes no room on the disk.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.len() <= max {
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= max {
            return Ok(bytes);
        }
    }
    Err(io::Error::other(format!("it has more than {max} bytes")))
}

/// Makes a file, but fails with `Ok(false)` if `path` is there already. Of several processes that try, one
/// gets `Ok(true)`. After a power cut the file is there, and may be empty.
pub(super) fn claim(path: &Path, bytes: &[u8]) -> Result<bool> {
    let dir = parent(path);
    let claim = || -> Result<bool> {
        let own = own_name(dir);
        create(&own, bytes, 0o600)?;
        let linked = fs::hard_link(&own, path);
        fs::remove_file(&own)?;
        match linked {
            Ok(()) => sync_dir(dir).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    claim().with_context(|| format!("claiming {}", path.display()))
}

/// Like [`claim`], of a file with nothing in it: one step, and none that leaves something behind.
pub(super) fn claim_empty(path: &Path) -> Result<bool> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_dir(parent(path)).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("claiming {}", path.display())),
    }
}

/// Like [`write_json`], but into the blocks of the file `reserved`, which becomes `path`: so that there is
/// room for it on a disk that has been filled since. A power cut may give it back its old name.
pub(super) fn write_json_reserved(
    path: &Path,
    reserved: &Path,
    value: &impl Serialize,
) -> Result<()> {
    let bytes = serde_json::to_vec(value).context("encoding")?;
    let write = || -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let (mut file, was_reserved) = match options.open(reserved) {
            Ok(file) => (file, true),
            Err(_none) => (options.create(true).open(reserved)?, false),
        };
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)?;
        if let Err(error) = file.sync_all() {
            // Nor is it to be found under its old name.
            file.set_len(0).ok();
            return Err(error.into());
        }
        fs::rename(reserved, path)?;
        match was_reserved {
            true => Ok(()),
            false => sync_dir(parent(path)),
        }
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// A file that is written in place, and not flushed: for what can be written anew, or is not in place yet.
pub(super) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<File> {
    let create = || -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        Ok(file)
    };
    create().with_context(|| format!("writing {}", path.display()))
}

/// An empty file that marks something, and outlives a power cut. It is no harm if it is there already.
pub(super) fn mark(path: &Path) -> Result<()> {
    note(path)?;
    // The file holds nothing, so its name is all there is to flush.
    sync_dir(parent(path))
}

/// Like [`mark`], for what a power cut may take back.
pub(super) fn note(path: &Path) -> Result<()> {
    create(path, &[], 0o600).map(drop)
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
        assert!(read(&path, 100).is_err());
    }

    #[test]
    fn a_file_that_is_too_large_or_a_link_is_an_error_and_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("pid"), dir.path().join("link"));
        create(&path, b"1", 0o600).unwrap();
        assert_eq!(read(&path, 1).unwrap(), b"1");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link, 1).is_err());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(read(&path, 1000).is_err());
    }

    #[test]
    fn of_two_claims_one_wins_and_its_content_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        assert!(claim(&path, b"1").unwrap());
        assert!(!claim(&path, b"2").unwrap());
        assert!(!claim_empty(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
