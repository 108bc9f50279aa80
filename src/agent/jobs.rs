//! Jobs that the agent waits for: which run, which wait for their turn, which have ended. Their state is
//! on disk; here is only what the loop needs to be woken.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use anyhow::Result;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;
use tracing::{error, info, warn};

use job::{ExitWatch, Job, OutcomeRecord, Pids, Spool};
use protocol::{ErrorCode, NodeId, Outcome, Refusal, RequestId, State};

use super::follower::Follower;
use super::overdue::Overdue;
use super::reply::{OwedReply, ReplyTerms, undetermined};
use super::supervisors::Supervisors;

/// How often a supervisor is looked at whose end the kernel does not report, or that could not be looked at.
const POLL_SUPERVISOR: Duration = Duration::from_secs(1);

const KILLED: &str =
    "its supervisor did not end it for a minute after its time limit or a cancel; both were killed";

/// A job that has an outcome.
pub(super) struct FinishedJob {
    pub job: Job,
    /// `None` if it cannot be read.
    pub outcome: Option<OutcomeRecord>,
    /// Of one that ran: its last progress and output are still to be published.
    pub follower: Option<Follower>,
}

/// How a job ended, where its files do not say so.
struct Unwritten {
    job: Job,
    record: OutcomeRecord,
    is_replied: bool,
}

pub(super) struct Jobs {
    max_running: usize,
    supervisors: Supervisors,
    waiting: VecDeque<Job>,
    running: HashMap<RequestId, Follower>,
    /// One task for each that runs; it ends when the supervisor has.
    watched: JoinSet<Job>,
    /// Those whose first supervisor never began.
    tried_again: HashSet<RequestId>,
    overdue: Overdue,
    /// Ended, but the disk did not take it.
    unwritten: HashMap<RequestId, Unwritten>,
    finished: VecDeque<FinishedJob>,
}

impl Jobs {
    /// Takes over what an earlier agent left: adopts what runs, queues what waits, and answers for
    /// those whose supervisor died. What has ended is returned by [`Jobs::next_finished`] in turn.
    pub(super) fn recover(spool: &Spool, found: Vec<Job>, max_running: usize) -> Self {
        let mut jobs = Self {
            max_running,
            supervisors: Supervisors::new(spool.jobs_dir()),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            watched: JoinSet::new(),
            tried_again: HashSet::new(),
            overdue: Overdue::default(),
            unwritten: HashMap::new(),
            finished: VecDeque::new(),
        };
        for job in found {
            if let Err(error) = job.record() {
                let error = format!("{error:#}");
                error!(request = %job.id, error, "cannot read a job; its directory is left alone");
                continue;
            }
            match job.state() {
                State::Queued => jobs.waiting.push_back(job),
                State::Running => jobs.adopt(job),
                State::Ended => {
                    let outcome = job.outcome().ok().flatten();
                    jobs.push_finished(job, outcome);
                }
                _ => {}
            }
        }
        jobs
    }

    /// Starts a job that was just admitted, or queues it.
    pub(super) fn add(&mut self, job: Job, node: &NodeId, terms: ReplyTerms) -> State {
        if self.running.len() >= self.max_running || !self.waiting.is_empty() {
            self.waiting.push_back(job);
            return State::Queued;
        }
        let follower = Follower::new(&job, node.to_string(), terms);
        self.start(job, Some(follower));
        State::Accepted
    }

    /// The next job that has an outcome. Starts what waits, but not before every end has been heard
    /// of: it may have asked for a reboot.
    pub(super) async fn next_finished(&mut self) -> FinishedJob {
        loop {
            if self.finished.is_empty() && self.start_next() {
                // A fork server that hangs takes its time for each: the loop has its turn in between.
                yield_now().await;
                continue;
            }
            if let Some(finished) = self.finished.pop_front() {
                return finished;
            }
            let Some(joined) = self.watched.join_next().await else {
                return std::future::pending().await;
            };
            match joined {
                // One that was given up has been answered for.
                Ok(job) if self.running.contains_key(&job.id) => self.supervisor_gone(job),
                Ok(_) => {}
                Err(error) => error!(%error, "a watcher failed"),
            }
        }
    }

    /// Ends the job if it waits, tells its supervisor if it runs.
    pub(super) fn cancel(&mut self, job: &Job) -> Result<()> {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting == job) {
            self.waiting.remove(at);
            self.end_unstarted(job.clone(), Outcome::Cancelled);
            return Ok(());
        }
        self.overdue.cancelled(&job.id);
        job.cancel()
    }

    /// Calls supervisors that should have ended their jobs; gives up what does not even die.
    pub(super) fn call_overdue(&mut self) {
        for job in self.overdue.call() {
            self.end(
                job,
                undetermined("its supervisor hangs, and does not even die of SIGKILL"),
            );
        }
    }

    /// Tries again to write what the disk did not take.
    pub(super) fn write_unwritten(&mut self) {
        self.unwritten
            .retain(|_, unwritten| unwritten.job.write_outcome(&unwritten.record).is_err());
    }

    /// Refuses all that waits: the node is going down.
    pub(super) fn refuse_waiting(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            let message = "the node is rebooting; the request was still queued and was not started";
            let refusal = Refusal::new(ErrorCode::Refused, message);
            self.end_unstarted(job, Outcome::Refused(refusal));
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many wait before a job that waits. The latest is asked about most often.
    pub(super) fn before(&self, job: &Job) -> Option<usize> {
        self.waiting.iter().rposition(|waiting| waiting == job)
    }

    /// Those that run, then those that wait, and how many wait before each.
    pub(super) fn all(&self) -> impl Iterator<Item = (Job, Option<usize>)> {
        let running = self.running.values().map(|it| (it.job().clone(), None));
        running.chain(self.waiting.iter().cloned().zip((0..).map(Some)))
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn followers(&mut self) -> impl Iterator<Item = &mut Follower> {
        self.running.values_mut()
    }

    /// Those that may not be removed from the spool.
    pub(super) fn busy(&self) -> HashSet<RequestId> {
        let waiting = self.waiting.iter().map(|job| job.id.clone());
        waiting.chain(self.running.keys().cloned()).collect()
    }

    /// Starts one that waits, if there is one and room for it.
    fn start_next(&mut self) -> bool {
        if self.running.len() >= self.max_running {
            return false;
        }
        let next = self.waiting.pop_front();
        let is_next = next.is_some();
        next.into_iter().for_each(|job| self.start(job, None));
        is_next
    }

    /// Where no `follower` is given, what it needs is read from the directory.
    fn start(&mut self, job: Job, follower: Option<Follower>) {
        match self.supervisors.start(&job) {
            Ok(exit) => {
                info!(request = %job.id, "started");
                self.watch(job, exit, follower, Duration::ZERO);
            }
            Err(error) => {
                let message = format!("the node could not start it: {error:#}");
                let refusal = Refusal::new(ErrorCode::Busy, message);
                self.end_unstarted(job, Outcome::Refused(refusal));
            }
        }
    }

    /// Of a supervisor that was started so long ago.
    fn watch(&mut self, job: Job, exit: ExitWatch, follower: Option<Follower>, age: Duration) {
        self.insert(&job, follower, age);
        self.watched.spawn(async move {
            // SAFETY: `ExitWatch` owns its descriptor, opens no other and closes it when dropped.
            match unsafe { AsyncFd::register_with_interest(exit, Interest::READABLE) } {
                Ok(exit) => {
                    exit.readable()
                        .await
                        .map(|mut ready| ready.clear_ready())
                        .ok();
                }
                Err(error) => {
                    let (exit, error) = error.into_parts();
                    error!(request = %job.id, %error, "cannot watch a supervisor");
                    while !exit.has_ended() {
                        sleep(POLL_SUPERVISOR).await;
                    }
                }
            }
            job
        });
    }

    fn insert(&mut self, job: &Job, follower: Option<Follower>, age: Duration) {
        if self.running.contains_key(&job.id) {
            return;
        }
        let follower = follower.unwrap_or_else(|| Follower::read(job));
        let left = follower
            .terms
            .timeout
            .map(|limit| limit.saturating_sub(age));
        self.overdue.watch(job, left);
        self.running.insert(job.id.clone(), follower);
    }

    fn adopt(&mut self, job: Job) {
        match job.pids() {
            Ok(Some(pids)) => {
                self.watch_again(job, &pids, |jobs, job, _| jobs.supervisor_gone(job));
            }
            _ => self.supervisor_gone(job),
        }
    }

    /// Watches a supervisor that is there. One that cannot be looked at, for want of a descriptor, has not ended
    /// for that: it is looked at again.
    fn watch_again(&mut self, job: Job, pids: &Pids, gone: impl FnOnce(&mut Self, Job, &Pids)) {
        match pids.supervisor.watch() {
            Ok(Some(exit)) => self.watch(job, exit, None, pids.supervisor.age()),
            Ok(None) => gone(self, job, pids),
            Err(error) => {
                warn!(request = %job.id, %error, "cannot look at a supervisor yet");
                self.look_again(job, pids.supervisor.age());
            }
        }
    }

    fn look_again(&mut self, job: Job, age: Duration) {
        self.insert(&job, None, age);
        self.watched.spawn(async move {
            sleep(POLL_SUPERVISOR).await;
            job
        });
    }

    /// Its outcome is on disk; or another supervisor had been quicker; or it died in the middle.
    fn supervisor_gone(&mut self, job: Job) {
        match job.outcome() {
            Ok(Some(outcome)) => self.push_finished(job, Some(outcome)),
            Ok(None) => match job.pids() {
                Ok(Some(pids)) => self.watch_again(job, &pids, Self::left_no_outcome),
                Ok(None) => self.never_begun(job),
                Err(error) => self.left(job, undetermined(format!("{error:#}"))),
            },
            Err(error) if job::lacks_descriptors(&error) => {
                warn!(request = %job.id, error = format!("{error:#}"), "cannot look at an outcome yet");
                self.look_again(job, Duration::ZERO);
            }
            Err(error) => self.end(job, undetermined(format!("{error:#}"))),
        }
    }

    fn left_no_outcome(&mut self, job: Job, pids: &Pids) {
        let message = match self.overdue.is_killed(&job.id) {
            true => KILLED.to_owned(),
            false => pids.last_seen(),
        };
        self.left(job, undetermined(message));
    }

    fn left(&mut self, job: Job, otherwise: Outcome) {
        // Its last act may have come between our two looks.
        if let Ok(Some(outcome)) = job.outcome() {
            return self.push_finished(job, Some(outcome));
        }
        match job.unnamed_outcome() {
            Some(record) => self.end_as(job, record),
            None => self.end(job, otherwise),
        }
    }

    /// Without `pid` nothing was started, so another supervisor may try: this one may have been killed
    /// while it waited for a job. If that one cannot begin either, it is not by chance.
    fn never_begun(&mut self, job: Job) {
        if self.tried_again.insert(job.id.clone()) {
            return self.start(job, None);
        }
        let message = "its supervisor could not begin; the agent's log says why";
        let refusal = Refusal::new(ErrorCode::Storage, message);
        self.end_unstarted(job, Outcome::Refused(refusal));
    }

    /// Ends a job that has not been started, unless a supervisor of an earlier agent, which held its id,
    /// begins at this very moment: the right to start it is the agent's or the supervisor's.
    fn end_unstarted(&mut self, job: Job, outcome: Outcome) {
        match job.claim_unstarted() {
            Ok(true) => self.end(job, outcome),
            Ok(false) => {
                warn!(request = %job.id, "a supervisor of an earlier agent has it; it goes on");
                self.adopt(job);
            }
            Err(error) => {
                let message =
                    format!("the node's disk did not take its end ({outcome}): {error:#}");
                self.end(job, undetermined(message));
            }
        }
    }

    fn end(&mut self, job: Job, outcome: Outcome) {
        warn!(request = %job.id, outcome = outcome.state(), "ended by the agent");
        self.end_as(job, OutcomeRecord::unseen(outcome));
    }

    /// It is answered so even if the disk does not take it.
    fn end_as(&mut self, job: Job, record: OutcomeRecord) {
        if let Err(error) = job.write_outcome(&record) {
            error!(request = %job.id, error = format!("{error:#}"), "cannot write an outcome");
            let unwritten = Unwritten {
                job: job.clone(),
                record: record.clone(),
                is_replied: false,
            };
            self.unwritten.insert(job.id.clone(), unwritten);
        }
        self.push_finished(job, Some(record));
    }

    /// Whether the job has ended, also where its files cannot say so.
    pub(super) fn has_ended(&self, job: &Job) -> bool {
        self.unwritten.contains_key(&job.id) || matches!(job.state(), State::Ended | State::Replied)
    }

    /// The reply of a job that has ended.
    pub(super) fn owed(&self, job: Job) -> OwedReply {
        let known = self.unwritten.get(&job.id).map(|unwritten| {
            let terms = ReplyTerms::read(&job).unwrap_or_default();
            (unwritten.record.clone(), terms)
        });
        OwedReply { job, known }
    }

    /// Jobs that were not answered yet, and whose files do not say that they have ended.
    pub(super) fn open_unwritten(&self) -> impl Iterator<Item = Job> {
        let open = self
            .unwritten
            .values()
            .filter(|unwritten| !unwritten.is_replied);
        open.map(|unwritten| unwritten.job.clone())
    }

    pub(super) fn replied(&mut self, id: &RequestId) {
        if let Some(unwritten) = self.unwritten.get_mut(id) {
            unwritten.is_replied = true;
        }
    }

    fn push_finished(&mut self, job: Job, outcome: Option<OutcomeRecord>) {
        let follower = self.running.remove(&job.id);
        self.tried_again.remove(&job.id);
        self.overdue.forget(&job.id);
        self.finished.push_back(FinishedJob {
            job,
            outcome,
            follower,
        });
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
