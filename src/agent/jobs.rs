//! Jobs that the agent waits for: which run, which wait for their turn, which have ended. Their state is
//! on disk; here is only what the loop needs to be woken.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use anyhow::Result;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, info, warn};

use job::{ExitWatch, Job, OutcomeRecord, Spool};
use protocol::{ErrorCode, NodeId, Outcome, Refusal, RequestId, State};

use super::follower::Follower;
use super::reply::{ReplyTerms, undetermined};
use super::supervisors::Supervisors;

/// How often a supervisor is looked at whose end the kernel does not report.
const POLL_SUPERVISOR: Duration = Duration::from_secs(1);

/// A job that has an outcome.
pub(super) struct FinishedJob {
    pub job: Job,
    /// `None` if the disk did not take it.
    pub outcome: Option<OutcomeRecord>,
    /// Of one that ran: its last progress and output are still to be published.
    pub follower: Option<Follower>,
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
    /// Ended, but the disk did not take it.
    unwritten: Vec<Job>,
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
            unwritten: Vec::new(),
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
            if self.finished.is_empty() {
                self.fill();
            }
            if let Some(finished) = self.finished.pop_front() {
                return finished;
            }
            let Some(joined) = self.watched.join_next().await else {
                return std::future::pending().await;
            };
            match joined {
                Ok(job) => self.supervisor_gone(job),
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
        job.cancel()
    }

    /// Refuses all that waits: the node is going down.
    pub(super) fn refuse_waiting(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            let message = "the node reboots before its turn came; it was not started";
            let refusal = Refusal::new(ErrorCode::Refused, message);
            self.end_unstarted(job, Outcome::Refused(refusal));
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
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

    fn fill(&mut self) {
        while self.running.len() < self.max_running {
            let Some(job) = self.waiting.pop_front() else {
                return;
            };
            self.start(job, None);
        }
    }

    /// Where no `follower` is given, what it needs is read from the directory.
    fn start(&mut self, job: Job, follower: Option<Follower>) {
        match self.supervisors.start(&job) {
            Ok(exit) => {
                info!(request = %job.id, "started");
                self.watch(job, exit, follower);
            }
            Err(error) => {
                let message = format!("the node could not start it: {error:#}");
                let refusal = Refusal::new(ErrorCode::Busy, message);
                self.end_unstarted(job, Outcome::Refused(refusal));
            }
        }
    }

    fn watch(&mut self, job: Job, exit: ExitWatch, follower: Option<Follower>) {
        let follower = follower.unwrap_or_else(|| Follower::read(&job));
        self.running.insert(job.id.clone(), follower);
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

    fn adopt(&mut self, job: Job) {
        let pids = job.pids().ok().flatten();
        match pids.as_ref().and_then(|pids| pids.supervisor.watch()) {
            Some(exit) => self.watch(job, exit, None),
            None => self.supervisor_gone(job),
        }
    }

    /// Its outcome is on disk; or another supervisor had been quicker; or it died in the middle.
    fn supervisor_gone(&mut self, job: Job) {
        match job.outcome() {
            Ok(Some(outcome)) => self.push_finished(job, Some(outcome)),
            Ok(None) => match job.pids() {
                Ok(Some(pids)) => match pids.supervisor.watch() {
                    Some(exit) => self.watch(job, exit, None),
                    // Its last act may have come between our two looks.
                    None => match job.outcome() {
                        Ok(Some(outcome)) => self.push_finished(job, Some(outcome)),
                        _ => self.end(job, undetermined(last_seen(&pids))),
                    },
                },
                Ok(None) => self.never_begun(job),
                Err(error) => self.end(job, undetermined(format!("{error:#}"))),
            },
            Err(error) => self.end(job, undetermined(format!("{error:#}"))),
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
    /// begins at this very moment: each looks for the other's file after it has written its own.
    fn end_unstarted(&mut self, job: Job, outcome: Outcome) {
        let written = self.write_outcome(&job, outcome);
        match job.pids() {
            Ok(None) => self.push_finished(job, written),
            Ok(Some(_)) | Err(_) => {
                warn!(request = %job.id, "a supervisor of an earlier agent has it; it goes on");
                if written.is_some()
                    && let Err(error) = job.remove_outcome()
                {
                    error!(request = %job.id, error = format!("{error:#}"), "cannot take an outcome back");
                }
                self.adopt(job);
            }
        }
    }

    fn end(&mut self, job: Job, outcome: Outcome) {
        let written = self.write_outcome(&job, outcome);
        self.push_finished(job, written);
    }

    /// Returns what is on disk now, if it got there.
    fn write_outcome(&mut self, job: &Job, outcome: Outcome) -> Option<OutcomeRecord> {
        warn!(request = %job.id, outcome = outcome.state(), "ended by the agent");
        let record = OutcomeRecord::unseen(outcome);
        if let Err(error) = job.write_outcome(&record) {
            // Answered as undetermined all the same: a reply does not need the file.
            error!(request = %job.id, error = format!("{error:#}"), "cannot write an outcome");
            self.unwritten.push(job.clone());
            return None;
        }
        Some(record)
    }

    /// Jobs that are over, and whose files do not say so.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Job> {
        self.unwritten.iter()
    }

    pub(super) fn forget_unwritten(&mut self, job: &Job) {
        self.unwritten.retain(|unwritten| unwritten != job);
    }

    fn push_finished(&mut self, job: Job, outcome: Option<OutcomeRecord>) {
        let follower = self.running.remove(&job.id);
        self.tried_again.remove(&job.id);
        self.finished.push_back(FinishedJob {
            job,
            outcome,
            follower,
        });
    }
}

fn last_seen(pids: &job::Pids) -> String {
    let supervisor = pids.supervisor.pid;
    let script = match &pids.script {
        Some(script) if script.is_alive() => {
            format!("the script (pid {}) still runs, unwatched", script.pid)
        }
        Some(script) => format!("the script (pid {}) is gone", script.pid),
        None => "whether the script was started is not known".to_owned(),
    };
    format!("its supervisor (pid {supervisor}) died and left no outcome; {script}")
}
