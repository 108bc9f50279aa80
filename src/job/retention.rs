//! Retention of answered jobs: how long, how many, how large. A job that is removed may be run anew under
//! its id, so removal comes late, and never leaves half a directory in place.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Error, Result, bail};

use super::{Job, Spool, cgroup};
use protocol::RequestId;

/// Answered jobs are kept this long, so that a second delivery of one gets the same reply again; and as
/// long those whose reply was unroutable.
const KEEP_FOR: Duration = Duration::from_secs(3600);
/// … and so many of them at most, and so many bytes or a quarter of the disk, the oldest going first.
const KEEP_JOBS: usize = 1000;
const KEEP_BYTES: u64 = 256 * 1024 * 1024;

/// What a round of forgetting did.
#[derive(Debug, Default)]
pub struct Expired {
    /// Jobs that were removed although their reply had been unroutable to the last.
    pub unroutable: Vec<Job>,
    /// Jobs that should have been removed and could not be.
    pub kept: Vec<(Job, Error)>,
}

/// A job whose reply was published, whether or not the broker had a queue for it.
struct Settled {
    job: Job,
    is_unroutable: bool,
    /// By the wall clock: good enough for an order.
    marked_at: SystemTime,
}

impl Settled {
    fn of(job: Job) -> Option<Self> {
        let replied = super::modified(&job.path("replied"));
        let marked_at = replied.or_else(|| job.unroutable_since())?;
        Some(Self {
            job,
            is_unroutable: replied.is_none(),
            marked_at,
        })
    }
}

impl Spool {
    /// Removes jobs that are settled and too old or too many: those whose reply was taken, the oldest
    /// first, and only then those whose reply was unroutable. One whose reply has not been published yet
    /// is never removed.
    pub fn expire(&mut self, busy: &HashSet<RequestId>) -> Result<Expired> {
        let mut settled: Vec<Settled> = self
            .jobs()?
            .into_iter()
            .filter(|job| !busy.contains(&job.id))
            .filter_map(Settled::of)
            .collect();
        settled.sort_by_key(|settled| Reverse((settled.is_unroutable, settled.marked_at)));
        let ids: HashSet<&RequestId> = settled.iter().map(|settled| &settled.job.id).collect();
        self.settled.retain(|id, _| ids.contains(id));
        let (now, most_bytes) = (Instant::now(), self.most_bytes());
        let (mut kept, mut bytes, mut expired) = (0, 0, Expired::default());
        for Settled {
            job, is_unroutable, ..
        } in settled
        {
            let size = size(&job.dir);
            let since = *self.settled.entry(job.id.clone()).or_insert(now);
            // A large one that goes leaves its room to those that are older.
            if now - since <= KEEP_FOR && kept < KEEP_JOBS && bytes + size <= most_bytes {
                kept += 1;
                bytes += size;
                continue;
            }
            match self.remove(&job) {
                Ok(()) if is_unroutable => expired.unroutable.push(job),
                Ok(()) => {}
                Err(error) => expired.kept.push((job, error)),
            }
        }
        Ok(expired)
    }

    /// A small disk is not left full of what is over.
    fn most_bytes(&self) -> u64 {
        let quarter =
            rustix::fs::statvfs(self.jobs_dir()).map(|disk| disk.f_blocks * disk.f_frsize / 4);
        quarter.unwrap_or(u64::MAX).min(KEEP_BYTES)
    }

    /// Renamed away first: a directory that is half gone looks like a job in another state, and would be
    /// run again.
    fn remove(&self, job: &Job) -> Result<()> {
        let removing = || format!("removing {}", job.dir.display());
        if let Some(point) = mounted_beneath(&job.dir)? {
            bail!("{}: {point} is mounted there; unmount it", removing());
        }
        let gone = self.building.join(format!("{}.gone", job.id));
        fs::rename(&job.dir, &gone).with_context(removing)?;
        cgroup::forget(&job.id);
        fs::remove_dir_all(&gone).with_context(removing)
    }
}

/// What a script has mounted in its directory: removing that would empty another file system.
fn mounted_beneath(dir: &Path) -> Result<Option<String>> {
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    // As the kernel writes a path (proc(5)).
    let dir = dir.display().to_string();
    let dir = dir.replace('\\', "\\134").replace(' ', "\\040");
    let beneath = dir.replace('\t', "\\011").replace('\n', "\\012") + "/";
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let found = points.into_iter().find(|point| point.starts_with(&beneath));
    Ok(found.map(str::to_owned))
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
    use std::fs::File;

    use super::super::Created;
    use super::*;
    use protocol::{NodeId, Request};

    fn new_job(spool: &Spool, id: &str) -> Job {
        let (request, node) = (Request::script("true"), NodeId::parse("n1").unwrap());
        let id = RequestId::parse(id).unwrap();
        match spool.create(&id, (&node, "key"), &request.encode()) {
            Ok(Created::New(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    fn expire(spool: &mut Spool) -> Vec<Job> {
        let expired = spool.expire(&HashSet::new()).unwrap();
        assert!(expired.kept.is_empty(), "{expired:?}");
        expired.unroutable
    }

    fn left(spool: &Spool) -> HashSet<RequestId> {
        spool
            .jobs()
            .unwrap()
            .into_iter()
            .map(|job| job.id)
            .collect()
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
        let [old, young, unroutable, unanswered] =
            ["old", "young", "unroutable", "unanswered"].map(|id| new_job(&spool, id));
        old.mark_replied().unwrap();
        young.mark_replied().unwrap();
        unroutable.mark_unroutable().unwrap();
        for job in [&old, &unroutable, &unanswered] {
            settle(&mut spool, job, KEEP_FOR + Duration::from_secs(1));
        }
        assert_eq!(expire(&mut spool), [unroutable]);
        assert_eq!(left(&spool), HashSet::from([young.id, unanswered.id]));
        assert_eq!(fs::read_dir(&spool.building).unwrap().count(), 0);
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_makes_nothing_expire() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let job = new_job(&spool, "r1");
        job.mark_replied().unwrap();
        set_age(&job, "replied", 10 * KEEP_FOR);
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool), HashSet::from([job.id]));
    }

    #[test]
    fn where_there_are_too_many_those_that_were_heard_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let unroutable = new_job(&spool, "unroutable");
        unroutable.mark_unroutable().unwrap();
        set_age(&unroutable, "unroutable", KEEP_FOR / 2);
        for i in 0..KEEP_JOBS {
            let job = new_job(&spool, &format!("r{i}"));
            job.mark_replied().unwrap();
        }
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool).len(), KEEP_JOBS);
        assert!(spool.find(&unroutable.id).is_some());
    }

    #[test]
    fn a_job_that_is_too_large_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let [small, large] = ["small", "large"].map(|id| new_job(&spool, id));
        small.mark_replied().unwrap();
        set_age(&small, "replied", KEEP_FOR / 2);
        let file = File::create(large.path("image")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, KEEP_BYTES).unwrap();
        large.mark_replied().unwrap();
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool), HashSet::from([small.id]));
    }

    #[test]
    fn a_mount_in_a_job_is_seen_and_one_beside_it_is_not() {
        assert_eq!(mounted_beneath(Path::new("/no such job")).unwrap(), None);
        let found = mounted_beneath(Path::new("")).unwrap();
        assert!(found.is_some_and(|point| point.starts_with('/')));
    }
}
