//! The directory of jobs: create, find, list.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use jiff::Timestamp;
use protocol::{ErrorCode, NodeId, Refusal, RequestId};

use super::record::{FORMAT, NewRecord};
use super::{Job, lock, store};

/// Kept free for `outcome.json`: it has some 300, and a message.
const OUTCOME_BYTES: usize = 4096;

/// `<state-dir>`, held by one agent at a time.
pub struct Spool {
    state_dir: PathBuf,
    jobs: PathBuf,
    /// Where jobs are built, and where they go to be removed: what is found here is no job.
    pub(super) building: PathBuf,
    /// Since when jobs are known to be settled. By the monotonic clock: a node's time is often corrected
    /// after its boot, by years.
    pub(super) settled: HashMap<RequestId, Instant>,
    _lock: File,
}

/// What [`Spool::create`] found under a request's id.
#[derive(Debug)]
pub enum Created {
    /// No job was there; this one is on disk now.
    New(Job),
    /// Its id was used before; nothing was changed.
    Existing(Job),
}

impl Spool {
    /// Opens the state directory, making it (0700) where it is missing.
    ///
    /// Fails with [`Held`](super::Held) if another agent has it. What an agent that died left half built was never acked,
    /// and is removed.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let private = |dir: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .with_context(|| format!("making {}", dir.display()))
        };
        private(state_dir)?;
        let state_dir = fs::canonicalize(state_dir)
            .with_context(|| format!("finding {}", state_dir.display()))?;
        lock::tighten(&state_dir)?;
        let lock = lock::take(&state_dir)?;
        let jobs = state_dir.join("jobs");
        let building = jobs.join(".new");
        // What cannot be removed (something is mounted there) is in no job's way.
        fs::remove_dir_all(&building).ok();
        private(&building)?;
        Ok(Self {
            state_dir,
            jobs,
            building,
            settled: HashMap::new(),
            _lock: lock,
        })
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

    /// Makes a request, of which `body` is the message, a job: built beside, flushed, renamed into place. The rename is the commit
    /// and the de-duplication.
    ///
    /// Refuses with code `storage` if the disk does not take it; nothing is left behind then.
    pub fn create(
        &self,
        id: &RequestId,
        origin: (&NodeId, &str),
        body: &[u8],
    ) -> Result<Created, Refusal> {
        let job = self.job(id.clone());
        if job.dir.is_dir() {
            return Ok(Created::Existing(job));
        }
        let new = self.building.join(id.as_str());
        self.build(&new, origin, body)
            .and_then(|()| self.commit(&new, job))
            .map_err(|error| {
                // The first error is the one that matters; what cannot be removed now is removed
                // when the spool is opened the next time.
                fs::remove_dir_all(&new).ok();
                Refusal::new(
                    ErrorCode::Storage,
                    format!("the node's state directory did not take the job: {error:#}"),
                )
            })
    }

    fn build(&self, new: &Path, (node, routing_key): (&NodeId, &str), body: &[u8]) -> Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(new)
            .with_context(|| format!("making {}", new.display()))?;
        let record = NewRecord {
            format: FORMAT,
            node,
            routing_key,
            received_at: Timestamp::now(),
            message: serde_json::from_slice(body)?,
        };
        let record = serde_json::to_vec(&record)?;
        // Its blocks are taken by now, or reserved: that it is empty after a power cut is no harm.
        store::create(&new.join("outcome.room"), &[0; OUTCOME_BYTES], 0o600)?;
        let path = new.join("request.json");
        let file = store::create(&path, &record, 0o600)?;
        file.sync_all()
            .with_context(|| format!("flushing {}", path.display()))?;
        store::sync_dir(new)
    }

    fn commit(&self, new: &Path, job: Job) -> Result<Created> {
        match fs::rename(new, &job.dir) {
            Ok(()) => match store::sync_dir(&self.jobs) {
                Ok(()) => Ok(Created::New(job)),
                Err(error) => {
                    // It is about to be refused, and must not be started by the next agent.
                    fs::rename(&job.dir, new).context("taking a job back")?;
                    Err(error)
                }
            },
            Err(error) if is_taken(&error) => {
                fs::remove_dir_all(new).ok();
                Ok(Created::Existing(job))
            }
            Err(error) => {
                Err(error).with_context(|| format!("renaming {} into place", new.display()))
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

    fn job(&self, id: RequestId) -> Job {
        Job::in_directory(&self.jobs, id)
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
    )
}

#[cfg(test)]
mod tests {
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
