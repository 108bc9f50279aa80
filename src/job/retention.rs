//! Retention of answered jobs: how long, how many, how large. A job that is removed may be run anew under
//! its id, so removal comes late, and never leaves half a directory in place.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Error, Result};

use super::removal::{self, Round};
use super::{Job, Spool, cgroup};
use protocol::RequestId;

/// Answered jobs are kept this long, so that a second delivery of one gets the same reply again; and as
/// long those whose reply was unroutable.
const KEEP_FOR: Duration = Duration::from_secs(3600);
/// … and so many of them at most, the oldest going first, and so many bytes or a quarter of the disk, the largest going
/// first.
const KEEP_JOBS: usize = 1000;
const KEEP_BYTES: u64 = 256 * 1024 * 1024;

/// What a round of forgetting did.
#[derive(Debug, Default)]
pub struct Expired {
    /// Jobs that were removed although their reply had been unroutable to the last.
    pub unroutable: Vec<Job>,
    /// Jobs that should have been removed and could not be.
    pub kept: Vec<(Job, Error)>,
    /// What is left of removed jobs and cannot be removed, such as what a script has mounted there. Told once.
    pub left: Vec<(PathBuf, io::Error)>,
}

/// What is known of jobs beside their files.
#[derive(Default)]
pub(super) struct Retention {
    /// Since when jobs are known to be settled. By the monotonic clock: a node's time is often corrected
    /// after its boot, by years.
    settled: HashMap<RequestId, Instant>,
    /// A removal that goes on in a thread of its own.
    round: Option<JoinHandle<Round>>,
    /// What the scripts of settled jobs have left in their directories.
    sizes: HashMap<RequestId, u64>,
    /// What was told to be left.
    told: HashSet<PathBuf>,
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
        self.retention.settled.retain(|id, _| ids.contains(id));
        let (now, mut room) = (Instant::now(), self.max_bytes());
        let mut expired = Expired {
            left: self.end_removal(),
            ..Expired::default()
        };
        let (mut kept, mut over) = (Vec::new(), Vec::new());
        for settled in settled {
            let since = *(self.retention.settled)
                .entry(settled.job.id.clone())
                .or_insert(now);
            if now - since <= KEEP_FOR && kept.len() < KEEP_JOBS {
                kept.push((size(&settled.job.dir), settled));
            } else {
                over.push(settled);
            }
        }
        over.extend(take_largest(&mut kept, room));
        room -= kept.iter().map(|(own, _)| own).sum::<u64>();
        for (_, Settled { job, .. }) in &kept {
            let work = self.retention.sizes.get(&job.id).copied().unwrap_or(0);
            // Its id stays known, however much its script has left.
            match room.checked_sub(work) {
                Some(left) => room = left,
                None => {
                    if let Err(error) = self.remove_work(job) {
                        expired.kept.push((job.clone(), error));
                    }
                }
            }
        }
        for Settled {
            job, is_unroutable, ..
        } in over
        {
            match self.remove(&job) {
                Ok(()) if is_unroutable => expired.unroutable.push(job),
                Ok(()) => {}
                Err(error) => expired.kept.push((job, error)),
            }
        }
        let kept = kept.into_iter().map(|(_, it)| it.job.id).collect();
        self.begin_removal(kept);
        Ok(expired)
    }

    /// A small disk is not left full of what is over.
    fn max_bytes(&self) -> u64 {
        let quarter =
            rustix::fs::statvfs(self.jobs_dir()).map(|disk| disk.f_blocks * disk.f_frsize / 4);
        quarter.unwrap_or(u64::MAX).min(KEEP_BYTES)
    }

    /// Renamed away first: a directory that is half gone looks like a job in another state, and would be
    /// run again. What its script left goes before it, so that it is no later job's.
    fn remove(&self, job: &Job) -> Result<()> {
        self.remove_work(job)?;
        let [jobs, _] = self.trees();
        removal::discard(&job.dir, &jobs)
            .with_context(|| format!("removing {}", job.dir.display()))?;
        cgroup::forget(&job.id);
        Ok(())
    }

    /// What the job's script has left.
    fn remove_work(&self, job: &Job) -> Result<()> {
        let [_, work] = self.trees();
        let tree = job.work_tree();
        match removal::discard(&tree, &work) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", tree.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was put away, and measures what these jobs have, in a thread; one at a time.
    pub(super) fn begin_removal(&mut self, jobs: Vec<RequestId>) {
        let trees = self.trees();
        let is_empty = |tree: &PathBuf| {
            fs::read_dir(removal::gone(tree)).is_ok_and(|mut names| names.next().is_none())
        };
        if self.retention.round.is_some() || (jobs.is_empty() && trees.iter().all(is_empty)) {
            return;
        }
        // Without a thread to spare: the next minute may have one.
        self.retention.round = removal::begin(trees, jobs).ok();
    }

    /// What a thread that has ended could not remove, if that is new.
    fn end_removal(&mut self) -> Vec<(PathBuf, io::Error)> {
        let retention = &mut self.retention;
        let Some(round) = retention.round.take_if(|round| round.is_finished()) else {
            return Vec::new();
        };
        let round = round.join().unwrap_or_default();
        retention.sizes = round.sizes;
        let mut left = round.left;
        left.retain(|(path, _)| retention.told.insert(path.clone()));
        left
    }
}

fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.blocks() * 512)
        .sum()
}

/// Takes out, of jobs and their bytes, the newest first, what is more than `max`: the largest, by powers of two, and of about
/// one size the oldest. So a file that is sent in pieces, each a job, pushes out no smaller job. Those whose reply was
/// unroutable go last.
fn take_largest(jobs: &mut Vec<(u64, Settled)>, max: u64) -> Vec<Settled> {
    let mut bytes: u64 = jobs.iter().map(|(own, _)| own).sum();
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&i| {
        let (own, settled) = &jobs[i];
        (settled.is_unroutable, Reverse((own.checked_ilog2(), i)))
    });
    let mut taken = HashSet::new();
    for i in order {
        if bytes <= max {
            break;
        }
        bytes -= jobs[i].0;
        taken.insert(i);
    }
    let parted = std::mem::take(jobs).into_iter().enumerate();
    let (over, kept): (Vec<_>, Vec<_>) = parted.partition(|(i, _)| taken.contains(i));
    jobs.extend(kept.into_iter().map(|(_, it)| it));
    over.into_iter().map(|(_, (_, settled))| settled).collect()
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

    /// Waits for the thread.
    fn finish_removal(spool: &mut Spool) {
        if let Some(round) = spool.retention.round.take() {
            let round = round.join().unwrap();
            assert!(round.left.is_empty(), "{:?}", round.left);
            spool.retention.sizes = round.sizes;
        }
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
        spool.retention.settled.insert(job.id.clone(), since);
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
        finish_removal(&mut spool);
        for tree in spool.trees() {
            assert_eq!(fs::read_dir(removal::gone(&tree)).unwrap().count(), 0);
        }
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
    fn a_script_that_left_too_much_takes_no_id_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        let [small, large] = ["small", "large"].map(|id| new_job(&spool, id));
        small.mark_replied().unwrap();
        set_age(&small, "replied", KEEP_FOR / 2);
        large.make_work_dir().unwrap();
        let below = large.work_dir().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let file = File::create(below.join("image")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, KEEP_BYTES).unwrap();
        large.mark_replied().unwrap();
        // What the script has left is not measured yet.
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool).len(), 2);
        finish_removal(&mut spool);
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool).len(), 2);
        finish_removal(&mut spool);
        assert!(!large.work_tree().exists());
        assert_eq!(expire(&mut spool), []);
        assert_eq!(left(&spool), HashSet::from([small.id, large.id]));
    }

    #[test]
    fn a_file_in_pieces_pushes_out_no_smaller_job_and_its_oldest_pieces_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let answered = |id: &str, own| {
            let job = new_job(&spool, id);
            job.mark_replied().unwrap();
            (own, Settled::of(job).unwrap())
        };
        // The newest first.
        let sizes = [("p3", 5000), ("p2", 6000), ("p1", 4500), ("earlier", 40)];
        let mut jobs: Vec<_> = sizes.map(|(id, own)| answered(id, own)).into();
        let over = take_largest(&mut jobs, 10_000);
        let ids = |jobs: &mut dyn Iterator<Item = &Settled>| -> Vec<String> {
            jobs.map(|it| it.job.id.to_string()).collect()
        };
        assert_eq!(ids(&mut over.iter()), ["p2", "p1"]);
        assert_eq!(ids(&mut jobs.iter().map(|(_, it)| it)), ["p3", "earlier"]);
        assert_eq!(take_largest(&mut jobs, 10_000).len(), 0);
    }
}
