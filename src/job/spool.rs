//! The directory of jobs: create, list, expire.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::protocol::{ErrorCode, NodeId, Program, Refusal, Request, RequestId};

use super::record::FORMAT;
use super::{Job, Record, lock, store};

/// Answered jobs are kept this long, so that a second delivery of one gets the same reply again; and as
/// long those whose reply was offered and nobody listened to.
const KEEP_FOR: Duration = Duration::from_secs(3600);
/// … and so many of them at most, and so many bytes or a quarter of the disk, the oldest going first.
const KEEP_JOBS: usize = 1000;
const KEEP_BYTES: u64 = 256 * 1024 * 1024;
/// Kept free for `outcome.json`: it has some 300, and a message.
const OUTCOME_BYTES: usize = 4096;

/// `<state-dir>`, held by one agent at a time.
pub struct Spool {
    state_dir: PathBuf,
    jobs: PathBuf,
    building: PathBuf,
    /// Since when jobs are known to be settled. By a clock that nobody can set: a node's time is often
    /// corrected after its boot, by years.
    settled: HashMap<RequestId, Instant>,
    _lock: File,
}

/// What became of a request that wanted to be a job.
#[derive(Debug)]
pub enum Admission {
    /// It is on disk now, and was not before.
    New(Job),
    /// Its id was used before; nothing was changed.
    Known(Job),
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
        match fs::remove_dir_all(&building) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("clearing {}", building.display()));
            }
            _ => private(&building)?,
        }
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

    /// Makes a request a job: built beside, flushed, renamed into place. The rename is the commit
    /// and the de-duplication.
    ///
    /// Refuses with code `storage` if the disk does not take it; nothing is left behind then.
    pub fn create(
        &self,
        id: &RequestId,
        request: &Request,
        origin: (&NodeId, &str),
        body: &[u8],
    ) -> Result<Admission, Refusal> {
        let job = self.job(id.clone());
        if job.dir.is_dir() {
            return Ok(Admission::Known(job));
        }
        let new = self.building.join(id.as_str());
        self.build(&new, request, origin, body)
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

    fn build(
        &self,
        new: &Path,
        request: &Request,
        (node, routing_key): (&NodeId, &str),
        body: &[u8],
    ) -> Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(new)
            .with_context(|| format!("making {}", new.display()))?;
        let record = Record {
            format: FORMAT,
            node: node.clone(),
            routing_key: routing_key.to_owned(),
            received_at: Timestamp::now(),
            message: RawValue::from_string(String::from_utf8(body.to_vec())?)?,
        };
        let record = serde_json::to_vec(&record)?;
        store::create(&new.join("request.json"), &record, 0o600)?;
        if let Program::Script(text) = &request.program {
            store::create(&new.join("script"), text.as_bytes(), 0o700)?;
        }
        if let Some(text) = &request.stdin {
            store::create(&new.join("stdin"), text.as_bytes(), 0o600)?;
        }
        store::create(&new.join("outcome.room"), &[0; OUTCOME_BYTES], 0o600)?;
        store::sync_dir(new)
    }

    fn commit(&self, new: &Path, job: Job) -> Result<Admission> {
        match fs::rename(new, &job.dir) {
            Ok(()) => match store::sync_dir(&self.jobs) {
                Ok(()) => Ok(Admission::New(job)),
                Err(error) => {
                    // It is about to be refused, and must not be started by the next agent.
                    fs::rename(&job.dir, new).context("taking a job back")?;
                    Err(error)
                }
            },
            Err(error) if is_taken(&error) => {
                fs::remove_dir_all(new).ok();
                Ok(Admission::Known(job))
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

    /// Removes jobs that are settled and too old or too many: those whose reply was taken, the oldest
    /// first, and only then those whose reply nobody listened to. One that has not been offered to
    /// anybody yet is never removed. Returns the unheard ones that went.
    pub fn expire(&mut self, busy: &HashSet<RequestId>) -> Result<Vec<Job>> {
        let mut settled: Vec<Settled> = self
            .jobs()?
            .into_iter()
            .filter(|job| !busy.contains(&job.id))
            .filter_map(Settled::of)
            .collect();
        settled.sort_by_key(|settled| Reverse((settled.is_unheard, settled.marked_at)));
        let ids: HashSet<&RequestId> = settled.iter().map(|settled| &settled.job.id).collect();
        self.settled.retain(|id, _| ids.contains(id));
        let (now, most_bytes) = (Instant::now(), self.most_bytes());
        let (mut kept, mut bytes, mut unheard) = (0, 0, Vec::new());
        for Settled {
            job, is_unheard, ..
        } in settled
        {
            bytes += size(&job.dir);
            let since = *self.settled.entry(job.id.clone()).or_insert(now);
            if now - since <= KEEP_FOR && kept < KEEP_JOBS && bytes <= most_bytes {
                kept += 1;
                continue;
            }
            fs::remove_dir_all(&job.dir)
                .with_context(|| format!("removing {}", job.dir.display()))?;
            if is_unheard {
                unheard.push(job);
            }
        }
        Ok(unheard)
    }

    /// A small disk is not left full of what is over.
    fn most_bytes(&self) -> u64 {
        let quarter = rustix::fs::statvfs(&self.jobs).map(|disk| disk.f_blocks * disk.f_frsize / 4);
        quarter.unwrap_or(u64::MAX).min(KEEP_BYTES)
    }

    fn job(&self, id: RequestId) -> Job {
        let dir = self.jobs.join(id.as_str());
        Job { id, dir }
    }
}

/// A job that has been answered as well as could be.
struct Settled {
    job: Job,
    /// Nobody listened.
    is_unheard: bool,
    /// By the wall clock: good enough for an order.
    marked_at: SystemTime,
}

impl Settled {
    fn of(job: Job) -> Option<Self> {
        let replied = super::modified(&job.path("replied"));
        let marked_at = replied.or_else(|| super::modified(&job.path("unheard")))?;
        Some(Self {
            job,
            is_unheard: replied.is_none(),
            marked_at,
        })
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
    )
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.blocks() * 512)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::End;
    use crate::protocol::{Outcome, State};

    fn admit(spool: &Spool, id: &str) -> Admission {
        let request = Request::script("true");
        let node = NodeId::parse("n1").unwrap();
        let id = RequestId::parse(id).unwrap();
        let body = request.encode();
        spool.create(&id, &request, (&node, "key"), &body).unwrap()
    }

    fn new_job(spool: &Spool, id: &str) -> Job {
        match admit(spool, id) {
            Admission::New(job) => job,
            Admission::Known(_) => panic!("{id} was known"),
        }
    }

    #[test]
    fn a_second_request_of_an_id_finds_the_first_ones_job_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r1");
        job.write_end(&End::unseen(Outcome::Cancelled)).unwrap();
        assert!(matches!(admit(&spool, "r1"), Admission::Known(known) if known == job));
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

    fn set_age(job: &Job, file: &str, age: Duration) {
        let file = File::options().write(true).open(job.path(file)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    fn settle(spool: &mut Spool, job: &Job, age: Duration) {
        let since = Instant::now().checked_sub(age).unwrap();
        spool.settled.insert(job.id.clone(), since);
    }

    #[test]
    fn what_was_heard_or_offered_in_vain_expires_and_what_was_never_offered_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let [old, young, unheard, unanswered] =
            ["old", "young", "unheard", "unanswered"].map(|id| new_job(&spool, id));
        old.mark_replied().unwrap();
        young.mark_replied().unwrap();
        unheard.mark_unheard().unwrap();
        for job in [&old, &unheard, &unanswered] {
            settle(&mut spool, job, KEEP_FOR + Duration::from_secs(1));
        }
        assert_eq!(spool.expire(&HashSet::new()).unwrap(), [unheard]);
        let left: HashSet<RequestId> = spool
            .jobs()
            .unwrap()
            .into_iter()
            .map(|job| job.id)
            .collect();
        assert_eq!(left, HashSet::from([young.id, unanswered.id]));
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_makes_nothing_expire() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r1");
        job.mark_replied().unwrap();
        set_age(&job, "replied", 10 * KEEP_FOR);
        assert_eq!(spool.expire(&HashSet::new()).unwrap(), []);
        assert_eq!(spool.jobs().unwrap(), [job]);
    }

    #[test]
    fn where_there_are_too_many_those_that_were_heard_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let unheard = new_job(&spool, "unheard");
        unheard.mark_unheard().unwrap();
        set_age(&unheard, "unheard", KEEP_FOR / 2);
        for i in 0..KEEP_JOBS {
            let job = new_job(&spool, &format!("r{i}"));
            job.mark_replied().unwrap();
        }
        assert_eq!(spool.expire(&HashSet::new()).unwrap(), []);
        assert_eq!(spool.jobs().unwrap().len(), KEEP_JOBS);
        assert!(spool.find(&unheard.id).is_some());
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
