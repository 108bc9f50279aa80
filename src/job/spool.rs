//! The directory of jobs: open, find, list.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use protocol::{NodeId, Refusal, RequestId};
use rustix::fs::{Mode, OFlags, fchmod};
use rustix::process::geteuid;

use super::commit::Created;
use super::retention::Retention;
use super::work_dir::{WORK, open_beneath, open_directory};
use super::{Job, lock, removal, state_dir_owner};

/// `<state-dir>`, held by one agent at a time.
pub struct Spool {
    state_dir: PathBuf,
    pub(super) jobs: PathBuf,
    /// What scripts may reach; see [`work_dir`](super::work_dir).
    work: PathBuf,
    /// Where jobs are built: what is found here is no job.
    pub(super) building: PathBuf,
    pub(super) retention: Retention,
    _lock: File,
}

impl Spool {
    /// Opens the state directory, making it (0700) where it is missing.
    ///
    /// Fails with [`Held`](super::Held) if another agent has it, and if another user could have written to it. What
    /// an agent that died left half built was never acked, and is removed in a thread.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let given = path::absolute(state_dir)
            .with_context(|| format!("finding {}", state_dir.display()))?;
        state_dir_owner::make(&given)?;
        state_dir_owner::check_path(&given)?;
        let state_dir =
            fs::canonicalize(&given).with_context(|| format!("finding {}", given.display()))?;
        state_dir_owner::check_path(&state_dir)?;
        state_dir_owner::close(&state_dir)?;
        let lock = lock::take(&state_dir)?;
        let (jobs, work) = (state_dir.join("jobs"), state_dir.join(WORK));
        state_dir_owner::make(&jobs)?;
        state_dir_owner::close(&jobs)?;
        let mut spool = Self {
            building: jobs.join(".new"),
            retention: Retention::default(),
            _lock: lock,
            state_dir,
            jobs,
            work,
        };
        spool.tidy()?;
        Ok(spool)
    }

    /// Puts away what is no job's: what was being built, and what the scripts of removed jobs left.
    fn tidy(&mut self) -> Result<()> {
        // What cannot be put away (something is mounted there) is in no job's way.
        if fs::remove_dir(&self.building).is_err() {
            removal::discard(&self.building, &self.jobs).ok();
        }
        state_dir_owner::make(&self.building)?;
        state_dir_owner::make(&removal::gone(&self.jobs))?;
        // What a script made of it keeps no agent from answering for all jobs: one that finds no place there is
        // refused and says so.
        self.mend_work().ok();
        // What is mounted over it is not ours to tidy.
        let work = self.open_work().is_ok().then(|| fs::read_dir(&self.work));
        for entry in work.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name();
            let is_hidden = name.as_bytes().starts_with(b".");
            if !is_hidden && !self.jobs.join(&name).exists() {
                removal::discard(&entry.path(), &self.work).ok();
            }
        }
        self.begin_removal(Vec::new());
        Ok(())
    }

    /// Fails for a link, and where something is mounted over it.
    fn open_work(&self) -> io::Result<OwnedFd> {
        let state_dir = open_directory(&self.state_dir)?;
        Ok(open_beneath(state_dir, WORK, OFlags::DIRECTORY)?)
    }

    /// A script may have put anything in its place, or mounted something over it.
    fn mend_work(&self) -> Result<()> {
        let own = geteuid().as_raw();
        let is_own = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == own)
        };
        if !is_own(&self.work) {
            removal::discard(&self.work, &self.jobs).ok();
            state_dir_owner::make(&self.work)?;
        }
        let Ok(work) = self.open_work() else {
            return Ok(());
        };
        // Nothing in it is believed, so it is enough to close it again: jobs may be running there.
        fchmod(work, Mode::RWXU)?;
        let gone = removal::gone(&self.work);
        if !is_own(&gone) {
            fs::remove_file(&gone).ok();
            state_dir_owner::make(&gone)?;
        }
        Ok(())
    }

    /// The trees that jobs have a part in.
    pub(super) fn trees(&self) -> [PathBuf; 2] {
        [self.jobs.clone(), self.work.clone()]
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub fn jobs_dir(&self) -> &Path {
        &self.jobs
    }

    /// The job of this id, if it was ever admitted and is still kept.
    pub fn find(&self, id: &RequestId) -> Option<Job> {
        let job = self.job(id.clone());
        job.dir.is_dir().then_some(job)
    }

    /// Makes a request, of which `body` is the message, a job.
    ///
    /// Refuses with code `storage` if the disk does not take it; nothing is left behind then.
    pub fn create(
        &self,
        id: &RequestId,
        origin: (&NodeId, &str),
        body: &[u8],
    ) -> Result<Created, Refusal> {
        match self.find(id) {
            Some(job) => Ok(Created::Existing(job)),
            None => {
                let new = self.build(id, origin, body)?;
                self.commit(vec![new]).remove(0)
            }
        }
    }

    /// Every job there is, in the order of arrival. A directory that is no job is not touched.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let mut jobs: Vec<(SystemTime, Job)> = Vec::new();
        let reading = || format!("reading {}", self.jobs.display());
        for entry in fs::read_dir(&self.jobs).with_context(reading)? {
            let name = entry.with_context(reading)?.file_name();
            let Some(id) = name.to_str().and_then(|name| RequestId::parse(name).ok()) else {
                continue;
            };
            let job = self.job(id);
            if let Some(arrived) = super::modified(&job.path("request.json")) {
                jobs.push((arrived, job));
            }
        }
        jobs.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.id.cmp(&y.id)));
        Ok(jobs.into_iter().map(|(_, job)| job).collect())
    }

    pub(super) fn job(&self, id: RequestId) -> Job {
        Job::in_directory(&self.jobs, id)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::OutcomeRecord;
    use protocol::{Outcome, Request, State};

    fn admit(spool: &Spool, id: &str) -> Created {
        let request = Request::script("true");
        let node = NodeId::parse("n1").unwrap();
        let id = RequestId::parse(id).unwrap();
        let body = request.encode();
        spool.create(&id, (&node, "key"), &body).unwrap()
    }

    fn new_job(spool: &Spool, id: &str) -> Job {
        match admit(spool, id) {
            Created::New(job) => job,
            Created::Existing(_) => panic!("{id} was known"),
        }
    }

    /// What a script makes of the place of all scripts' files.
    fn after(spoil: impl FnOnce(&Path)) -> (tempfile::TempDir, Job) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        new_job(&spool, "r1").make_work_dir().unwrap();
        spoil(&dir.path().join(WORK));
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r2");
        (dir, job)
    }

    #[test]
    fn whatever_a_script_made_of_the_place_of_its_files_the_next_agent_starts() {
        let as_a_file = |work: &Path| {
            fs::remove_dir_all(work).unwrap();
            File::create(work).unwrap();
        };
        let gone_as_a_file = |work: &Path| {
            fs::remove_dir_all(removal::gone(work)).unwrap();
            File::create(removal::gone(work)).unwrap();
        };
        let gone_as_a_link = |work: &Path| {
            fs::remove_dir_all(removal::gone(work)).unwrap();
            std::os::unix::fs::symlink("/nowhere", removal::gone(work)).unwrap();
        };
        let spoils: [&dyn Fn(&Path); 3] = [&as_a_file, &gone_as_a_file, &gone_as_a_link];
        for spoil in spoils {
            let (_dir, job) = after(spoil);
            job.make_work_dir().unwrap();
        }
    }

    #[test]
    fn the_place_of_scripts_that_was_opened_to_all_is_closed_and_keeps_what_is_in_it() {
        let (dir, _) = after(|work| {
            File::create(work.join("r1/kept")).unwrap();
            fs::set_permissions(work, fs::Permissions::from_mode(0o777)).unwrap();
        });
        let work = dir.path().join(WORK);
        assert_eq!(fs::metadata(&work).unwrap().mode() & 0o777, 0o700);
        assert!(work.join("r1/kept").exists());
    }

    #[test]
    fn a_pipe_in_the_place_of_scripts_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r1");
        let work = dir.path().join(WORK);
        fs::remove_dir_all(&work).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &work, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        job.open_progress().unwrap_err();
    }

    #[test]
    fn a_second_request_of_an_id_finds_the_first_ones_job_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r1");
        job.write_outcome(&OutcomeRecord::unseen(Outcome::Cancelled))
            .unwrap();
        assert!(matches!(admit(&spool, "r1"), Created::Existing(known) if known == job));
        assert_eq!(job.state(), State::Ended);
        assert_eq!(fs::read_dir(&spool.building).unwrap().count(), 0);
    }

    #[test]
    fn jobs_are_listed_in_the_order_of_their_arrival() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let ids = ["b", "a", "c"];
        for (i, id) in ids.iter().enumerate() {
            let job = new_job(&spool, id);
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(i as u64);
            let file = File::options().write(true).open(job.path("request.json"));
            file.unwrap().set_modified(at).unwrap();
        }
        fs::create_dir(spool.jobs.join("no job")).unwrap();
        let listed: Vec<String> = spool
            .jobs()
            .unwrap()
            .iter()
            .map(|j| j.id.to_string())
            .collect();
        assert_eq!(listed, ids);
    }

    #[test]
    fn what_was_never_committed_is_gone_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        fs::create_dir(spool.building.join("half")).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(&spool.building).unwrap().count(), 0);
        assert!(spool.jobs().unwrap().is_empty());
    }
}
