//! The part of a job that its script may reach: `<state-dir>/work/<id>/`, with the script's text and `work/`,
//! in which it runs.
//!
//! It lies in a tree of its own, so that nothing a script does by relative names (`rm -rf ./* ../*`, a file
//! `pid` of its own, a mount) touches what agent and supervisor believe. Nothing here is believed: a file
//! may have become a link, a pipe or another file system.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

use super::{Job, atomic_file, removal};

/// JSON lines that the script appends, by the path in `$UR_PROGRESS`.
pub(super) const PROGRESS: &str = "progress";
/// Of these trees, in a state directory.
pub(super) const WORK: &str = "work";

/// Not what a script may have put in its place: a pipe, which would have us wait for ever, or a link.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

impl Job {
    pub(super) fn work_tree(&self) -> PathBuf {
        self.all_work().join(self.id.as_str())
    }

    /// Where the script runs, if its request does not say otherwise.
    pub fn work_dir(&self) -> PathBuf {
        self.work_tree().join("work")
    }

    /// The job's directory is in `<state-dir>/jobs`.
    fn all_work(&self) -> PathBuf {
        let state_dir = self.dir.parent().and_then(Path::parent);
        state_dir.unwrap_or(Path::new("..")).join(WORK)
    }

    /// Not flushed: after a power cut the job is not run again.
    pub(super) fn make_work_dir(&self) -> Result<()> {
        let tree = self.work_tree();
        let made = match private(&tree) {
            // A script has removed all of it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                private(&self.all_work()).and_then(|()| private(&tree))
            }
            // Of an earlier job of this id, whose directory was removed by hand.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                removal::discard(&tree, &self.all_work()).and_then(|()| private(&tree))
            }
            made => made,
        };
        made.and_then(|()| private(&tree.join("work")))
            .with_context(|| format!("making {}", tree.display()))
    }

    /// The script's progress, as far as it has written some.
    pub fn open_progress(&self) -> io::Result<File> {
        let path = Path::new(self.id.as_str()).join("work").join(PROGRESS);
        let all = open_directory(&self.all_work())?;
        atomic_file::no_other_than_a_file(open_beneath(all, path, OFlags::NONBLOCK)?.into())
    }
}

fn private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// Opens for reading what lies beneath `dir`, on its file system: by no link, and through no mount.
pub(super) fn open_beneath(
    dir: impl AsFd,
    path: impl Arg,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = path.into_c_str()?;
    match openat2(&dir, path.as_ref(), flags, Mode::empty(), resolve) {
        // Before Linux 5.6.
        Err(Errno::NOSYS) => openat(dir, path.as_ref(), flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{Created, Spool};
    use protocol::{NodeId, Request, RequestId};

    fn job(spool: &Spool) -> Job {
        let (request, node) = (Request::script("true"), NodeId::parse("n1").unwrap());
        match spool.create(&RequestId::random(), (&node, "key"), &request.encode()) {
            Ok(Created::New(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    fn progress(job: &Job) -> io::Result<String> {
        io::read_to_string(job.open_progress()?)
    }

    #[test]
    fn what_a_script_reaches_by_relative_names_is_not_the_state_of_its_job() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = job(&spool);
        job.make_work_dir().unwrap();
        assert_eq!(job.work_dir().parent(), Some(job.work_tree().as_path()));
        fs::remove_dir_all(job.work_tree()).unwrap();
        job.record().unwrap();
        assert_eq!(spool.find(&job.id), Some(job));
    }

    #[test]
    fn progress_is_read_in_the_work_of_the_job() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = job(&spool);
        assert!(progress(&job).is_err());
        job.make_work_dir().unwrap();
        atomic_file::create(&job.work_dir().join(PROGRESS), b"new", 0o600).unwrap();
        assert_eq!(progress(&job).unwrap(), "new");
    }

    #[test]
    fn progress_by_way_of_a_link_is_not_read() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spool = Spool::open(dir.path()).unwrap();
        let job = job(&spool);
        let secret = elsewhere.path().join(PROGRESS);
        atomic_file::create(&secret, b"secret", 0o600).unwrap();
        job.make_work_dir().unwrap();
        symlink(&secret, job.work_dir().join(PROGRESS)).unwrap();
        assert!(progress(&job).is_err());
        fs::remove_dir_all(job.work_dir()).unwrap();
        symlink(elsewhere.path(), job.work_dir()).unwrap();
        assert!(progress(&job).is_err());
    }

    #[test]
    fn a_job_starts_though_another_has_removed_the_tree_or_left_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = job(&spool);
        fs::remove_dir_all(job.all_work()).unwrap();
        job.make_work_dir().unwrap();
        atomic_file::create(&job.work_dir().join("old"), b"", 0o600).unwrap();
        job.make_work_dir().unwrap();
        assert_eq!(fs::read_dir(job.work_dir()).unwrap().count(), 0);
    }
}
