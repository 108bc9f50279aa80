//! The run of a script: its output taken, its time limit kept, its end seen or brought about.

use std::io::PipeReader;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid};

use protocol::Outcome;

use super::cgroup::Cgroup;
use super::process::{self, Status};
use super::signals::Signals;
use super::start::Started;
use super::stream::CapturedStream;
use super::{Job, OutcomeRecord};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long a process may take to die of SIGKILL before the job is answered without it: it hangs
/// in the kernel, on a disk that does not answer.
const UNKILLABLE: Duration = Duration::from_secs(30);
/// How often descendants are looked for while a job is being stopped.
const POLL_DESCENDANTS: Duration = Duration::from_millis(50);
const PIECE: usize = 64 * 1024;
/// Bytes of one stream before the other, and the clock, have their turn.
const MAX_AT_ONCE: u64 = 1024 * 1024;

/// The job is being ended by us.
struct Stop {
    outcome: Outcome,
    /// When the next harder step is due.
    due: Instant,
    killed: bool,
}

pub(super) struct Run<'a> {
    job: &'a Job,
    cgroup: Option<Cgroup>,
    signals: Signals,
    script: u32,
    stdout: CapturedStream,
    stderr: CapturedStream,
    started_at: Timestamp,
    started: Instant,
    limit: Option<Instant>,
    stop: Option<Stop>,
    ended: Option<Status>,
    buffer: Vec<u8>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        job: &'a Job,
        timeout: Option<Duration>,
        cgroup: Option<Cgroup>,
        signals: Signals,
        started: Started,
    ) -> Self {
        let now = Instant::now();
        Self {
            job,
            cgroup,
            signals,
            script: started.script,
            stdout: started.stdout,
            stderr: started.stderr,
            started_at: Timestamp::now(),
            started: now,
            // A limit beyond what the clock can hold is no limit.
            limit: timeout.and_then(|limit| now.checked_add(limit)),
            stop: None,
            ended: None,
            // Not zeroed: pages that no output comes to are never touched.
            buffer: Vec::with_capacity(PIECE),
        }
    }

    pub(super) fn watch(&mut self) {
        // It may have been asked for between our look and our being able to hear the signal.
        if self.job.is_cancelled() {
            self.begin_stop(Outcome::Cancelled);
        }
        loop {
            self.wait();
            self.collect();
            if self.is_over() {
                return;
            }
            self.watch_the_clock();
        }
    }

    /// Sleeps until there is something to do. Where the kernel has no memory for that, for a moment: a script is not left
    /// alone.
    fn wait(&mut self) {
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(pipe) = &self.stdout.pipe {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        if let Some(pipe) = &self.stderr.pipe {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        let timeout = self.patience().map(|time| {
            Timespec::try_from(time.min(Duration::from_secs(3600))).expect("an hour fits")
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            std::thread::park_timeout(POLL_DESCENDANTS);
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Option<Duration> {
        match &self.stop {
            Some(_) => Some(POLL_DESCENDANTS),
            None => self
                .limit
                .map(|limit| limit.saturating_duration_since(Instant::now())),
        }
    }

    fn collect(&mut self) {
        while let Some(caught) = self.signals.next() {
            match caught.signal {
                libc::SIGCHLD => self.ended = process::reap(self.script).or(self.ended),
                _ => self.terminated(caught.is_cancel),
            }
        }
        self.stdout.drain(&mut self.buffer, MAX_AT_ONCE);
        self.stderr.drain(&mut self.buffer, MAX_AT_ONCE);
    }

    /// The file says it, too, except on a disk that did not take it.
    fn terminated(&mut self, is_cancel: bool) {
        if self.stop.is_some() || self.ended.is_some() {
            return;
        }
        match is_cancel || self.job.is_cancelled() {
            true => self.begin_stop(Outcome::Cancelled),
            // The machine is going down, or an operator sent us the signal that was meant for the
            // script: pass it on, and report what the script makes of it.
            false => process::signal(&self.processes(), Signal::TERM),
        }
    }

    /// A normal end leaves descendants alone; one that we bring about is over when all are gone.
    fn is_over(&mut self) -> bool {
        match &self.stop {
            None => self.ended.is_some(),
            Some(stop) => {
                let hangs = stop.killed && Instant::now() >= stop.due;
                hangs || (self.ended.is_some() && self.is_gone())
            }
        }
    }

    /// Whether nothing of the job is left. A subreaper that has no child has no descendant; a scan of /proc,
    /// which is not of one moment, may miss those whose parents end meanwhile.
    fn is_gone(&self) -> bool {
        let cgroup = self.cgroup.as_ref();
        process::is_childless() && cgroup.is_none_or(|cgroup| cgroup.processes().is_empty())
    }

    fn watch_the_clock(&mut self) {
        let now = Instant::now();
        match &self.stop {
            None if self.limit.is_some_and(|limit| now >= limit) => {
                self.begin_stop(Outcome::TimedOut);
            }
            Some(stop) if stop.killed => self.kill(),
            Some(stop) if now >= stop.due => {
                self.kill();
                if let Some(stop) = &mut self.stop {
                    stop.killed = true;
                    stop.due = now + UNKILLABLE;
                }
            }
            _ => {}
        }
    }

    fn begin_stop(&mut self, outcome: Outcome) {
        let processes = self.processes();
        process::signal(&processes, Signal::TERM);
        // One that is stopped would sleep through its grace period.
        process::signal(&processes, Signal::CONT);
        self.stop = Some(Stop {
            outcome,
            due: Instant::now() + GRACE,
            killed: false,
        });
    }

    fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        process::kill_all(|| self.processes());
    }

    /// All that the job has running now, the script itself included.
    fn processes(&self) -> Vec<Pid> {
        processes(getpid(), self.cgroup.as_ref())
    }

    /// How it ended, and the pipes that a descendant of the script still holds.
    pub(super) fn finish(mut self) -> (OutcomeRecord, [Option<PipeReader>; 2]) {
        self.ended = process::reap(self.script).or(self.ended);
        // What was written before the end is in the pipes; what a descendant writes later is not ours.
        self.stdout.finish(&mut self.buffer);
        self.stderr.finish(&mut self.buffer);
        let elapsed = self.started.elapsed();
        let record = OutcomeRecord {
            outcome: self.outcome(),
            ended_at: Timestamp::now(),
            started_at: Some(self.started_at),
            duration_ms: Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            usage: Some(process::children_usage()),
            stdout_bytes: self.stdout.writer.total(),
            stderr_bytes: self.stderr.writer.total(),
        };
        (record, [self.stdout.pipe, self.stderr.pipe])
    }

    fn outcome(&self) -> Outcome {
        match (&self.stop, self.ended) {
            (Some(stop), Some(_)) if self.is_gone() => stop.outcome.clone(),
            (Some(stop), _) => {
                let left = self.processes();
                let some: Vec<String> = left.iter().take(10).map(ToString::to_string).collect();
                Outcome::Undetermined {
                    message: format!(
                        "{}, but {UNKILLABLE:?} after SIGKILL {} of its processes are still there: {}",
                        stop.outcome,
                        left.len(),
                        some.join(" "),
                    ),
                }
            }
            (None, Some(Status::Exited(status))) => Outcome::Exited { status },
            (None, Some(Status::Signalled(signal))) => Outcome::Signalled { signal },
            (None, None) => unreachable!("over only when ended or stopped"),
        }
    }
}

/// All that runs beneath a supervisor, or in its job's cgroup.
pub(super) fn processes(supervisor: Pid, cgroup: Option<&Cgroup>) -> Vec<Pid> {
    let mut found = process::descendants(supervisor);
    found.extend(cgroup.into_iter().flat_map(Cgroup::processes));
    found.sort_by_key(|pid| pid.as_raw_nonzero());
    found.dedup();
    found
}
