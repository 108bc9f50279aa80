//! The owner of a state directory: a user who can write to it, or put another one in its place, can have the
//! agent run anything.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{getegid, geteuid};

const STICKY: u32 = 0o1000;
const BY_GROUP: u32 = 0o020;
const BY_ALL: u32 = 0o002;

/// Makes the directory where it is missing, with mode 0700.
pub(super) fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("making {}", dir.display()))
}

/// Refuses a directory in which another user may have put something, and closes one that others may only
/// read: scripts and output are secret.
pub(super) fn close(dir: &Path) -> Result<()> {
    let meta = status(dir)?;
    let (name, own) = (dir.display(), geteuid().as_raw());
    if !meta.is_dir() {
        bail!("{name} is no directory: remove it, or give another --state-dir");
    }
    if meta.uid() != own {
        bail!(
            "{name} belongs to the user with id {}, and this agent has {own}: what lies in it could make \
             the agent run anything; remove it, or give another --state-dir",
            meta.uid()
        );
    }
    if meta.mode() & (BY_GROUP | BY_ALL) != 0 {
        bail!(
            "other users can write to {name} (mode {:04o}): what lies in it could make the agent run \
             anything; remove it, or give another --state-dir",
            meta.mode() & 0o7777
        );
    }
    if meta.mode() & 0o777 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .with_context(|| format!("closing {name} to others"))?;
    }
    Ok(())
}

/// Refuses a path on which another user could put another directory in the place of this one. `/tmp` is none:
/// it is sticky.
pub(super) fn check_path(dir: &Path) -> Result<()> {
    let trusted = [0, geteuid().as_raw(), status(Path::new("/"))?.uid()];
    for (depth, part) in dir.ancestors().enumerate() {
        let meta = status(part)?;
        let is_link = meta.is_symlink();
        // The directory itself is looked at more closely, elsewhere.
        if depth == 0 && !is_link {
            continue;
        }
        let why = if !trusted.contains(&meta.uid()) {
            format!("belongs to the user with id {}", meta.uid())
        } else if !is_link && is_open(&meta) {
            format!(
                "can be written to by others (mode {:04o})",
                meta.mode() & 0o7777
            )
        } else {
            continue;
        };
        bail!(
            "{} {why}, who could put another directory in the place of {}: give another --state-dir",
            part.display(),
            dir.display()
        );
    }
    Ok(())
}

/// Whether users other than the owner and the agent's own group can rename what lies in it.
fn is_open(meta: &Metadata) -> bool {
    let own_group = [0, getegid().as_raw()].contains(&meta.gid());
    let by_others = match own_group {
        true => BY_ALL,
        false => BY_ALL | BY_GROUP,
    };
    meta.mode() & STICKY == 0 && meta.mode() & by_others != 0
}

fn status(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).with_context(|| format!("looking at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Spool;
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(state_dir: &Path) -> String {
        let error = Spool::open(state_dir).err().expect("a refusal");
        format!("{error:#}")
    }

    #[test]
    fn a_state_directory_that_others_could_read_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        mode(&state, 0o755);
        Spool::open(&state).unwrap();
        assert_eq!(status(&state).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_state_directory_that_others_could_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        for open in [0o770, 0o777, 0o1777, 0o722] {
            mode(&state, open);
            let why = refusal(&state);
            assert!(why.contains("other users can write to"), "{why}");
        }
        mode(&state, 0o700);
        Spool::open(&state).unwrap();
        mode(&state.join("jobs"), 0o777);
        let why = refusal(&state);
        assert!(why.contains("state/jobs"), "{why}");
    }

    #[test]
    fn a_path_on_which_others_could_put_another_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (open, state) = (dir.path().join("open"), dir.path().join("open/a/state"));
        fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        let why = refusal(&state);
        assert!(
            why.contains("can be written to by others (mode 0777)"),
            "{why}"
        );
        mode(&open, 0o1777);
        Spool::open(&state).unwrap();
        // Found by a link, whose own directory is open.
        mode(&open, 0o755);
        let link = dir.path().join("link");
        fs::create_dir(&link).unwrap();
        symlink(&state, link.join("state")).unwrap();
        Spool::open(&link.join("state")).unwrap();
        mode(&link, 0o777);
        let why = refusal(&link.join("state"));
        assert!(why.contains("/link can be written to by others"), "{why}");
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !geteuid().is_root() {
            return eprintln!("skipped: only root can give a directory away");
        }
        let dir = tempfile::tempdir().unwrap();
        let [state, parent] = ["state", "parent/state"].map(|name| dir.path().join(name));
        for (path, given) in [
            (&state, state.as_path()),
            (&parent, parent.parent().unwrap()),
        ] {
            fs::create_dir_all(path).unwrap();
            chown(given, Some(65534), None).unwrap();
            let why = refusal(path);
            assert!(why.contains("belongs to the user with id 65534"), "{why}");
            chown(given, Some(0), None).unwrap();
            Spool::open(path).unwrap();
        }
        // Left by an earlier owner of the directory.
        chown(state.join("jobs"), Some(65534), None).unwrap();
        assert!(refusal(&state).contains("state/jobs belongs to"));
    }
}
