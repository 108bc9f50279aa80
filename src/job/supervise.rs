//! The supervisor of one job: spawn → capture → time limit or cancel → outcome.
//!
//! A process of its own with one thread, so that the agent can crash, be upgraded or lose its
//! broker while a disk erase runs. It is told nothing but the job's directory.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpid, set_child_subreaper, setsid};
use signal_hook::consts::{SIGCHLD, SIGTERM};
use signal_hook::low_level::pipe;

use protocol::{Outcome, Request};

use super::cgroup::Cgroup;
use super::process::{self, Status};
use super::start::{self, Started};
use super::stream::{Stream, swallow};
use super::{Job, OutcomeRecord, Pids, ProcessRef, store};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long a process may take to die of SIGKILL before the job is answered without it: it hangs
/// in the kernel, on a disk that does not answer.
const UNKILLABLE: Duration = Duration::from_secs(30);
/// How often descendants are looked for while a job is being stopped.
const LOOK: Duration = Duration::from_millis(50);
const PIECE: usize = 64 * 1024;
/// Bytes of one stream before the other, and the clock, have their turn.
const MAX_AT_ONCE: u64 = 1024 * 1024;

/// The flag of a supervisor that waits.
pub const NEXT: &str = "--next";

/// Waits for the id of a job in the directory `jobs`, on standard input, and runs that. The end of the
/// input means that there will be none.
pub fn supervise_next(jobs: &Path) -> Result<()> {
    let mut id = String::new();
    match std::io::stdin()
        .read_line(&mut id)
        .context("waiting for a job")?
    {
        0 => Ok(()),
        _ => supervise(&Job::at(&jobs.join(id.trim_end()))?),
    }
}

/// Runs the job to its end and writes its outcome. Does nothing if another supervisor has the job.
pub fn supervise(job: &Job) -> Result<()> {
    let protocol::Message::Run(request) = job.message()? else {
        anyhow::bail!("{} is no request to run", job.id);
    };
    let pids = Pids {
        supervisor: ProcessRef::of(std::process::id())?,
        script: None,
        started_at: Timestamp::now(),
    };
    // A session of our own: the end of an agent makes its children's process groups orphans, and the
    // kernel sends SIGHUP to those that have a stopped member. It fails for a group leader, which was
    // started by hand.
    setsid().ok();
    // Before our pid is there to be read: an agent that reads it may send us a signal.
    let signals = Signals::register()?;
    // From here on the job counts as started, whatever happens to us.
    if !store::claim_json(&job.path("pid"), &pids)? {
        return Ok(());
    }
    // An agent that came after the one that started us has taken the job for one that waits, and ended
    // it. It looks for `pid` after that, as we look for its outcome after ours.
    if job.outcome()?.is_some() {
        return Ok(());
    }
    if job.is_cancelled() {
        return job.write_outcome(&OutcomeRecord::unseen(Outcome::Cancelled));
    }
    // Orphans of the script become our children, not init's, and so cannot slip away.
    set_child_subreaper(Some(getpid()))?;
    let cgroup = Cgroup::create(&job.id);
    match start::start(job, &request, cgroup.as_ref()) {
        Err(refusal) => job.write_outcome(&OutcomeRecord::unseen(Outcome::Refused(refusal))),
        Ok(started) => {
            note_script(job, pids, started.script);
            let mut run = Run::new(job, &request, cgroup, signals, started);
            run.watch()?;
            run.finish()
        }
    }
}

/// For people and for the agent's messages. A script that is gone already has no start time, and a
/// disk that is full must not end the script.
fn note_script(job: &Job, mut pids: Pids, script: u32) {
    if let Ok(script) = ProcessRef::of(script) {
        pids.script = Some(script);
        store::write_json(&job.path("pid"), &pids).ok();
    }
}

/// Signals as readable descriptors, so that one poll waits for everything.
struct Signals {
    child: UnixStream,
    terminate: UnixStream,
}

impl Signals {
    fn register() -> Result<Self> {
        let readable = |signal| -> Result<UnixStream> {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            pipe::register(signal, write)?;
            Ok(read)
        };
        Ok(Self {
            child: readable(SIGCHLD)?,
            terminate: readable(SIGTERM)?,
        })
    }
}

/// The job is being ended by us.
struct Stop {
    outcome: Outcome,
    /// When the next harder step is due.
    due: Instant,
    killed: bool,
}

struct Run<'a> {
    job: &'a Job,
    cgroup: Option<Cgroup>,
    signals: Signals,
    script: u32,
    stdout: Stream,
    stderr: Stream,
    started_at: Timestamp,
    started: Instant,
    limit: Option<Instant>,
    stop: Option<Stop>,
    ended: Option<Status>,
    buffer: Vec<u8>,
}

impl<'a> Run<'a> {
    fn new(
        job: &'a Job,
        request: &Request,
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
            stdout: Stream {
                pipe: Some(started.stdout),
                writer: started.stdout_writer,
            },
            stderr: Stream {
                pipe: Some(started.stderr),
                writer: started.stderr_writer,
            },
            started_at: Timestamp::now(),
            started: now,
            // A limit beyond what the clock can hold is no limit.
            limit: request.timeout.and_then(|limit| now.checked_add(limit)),
            stop: None,
            ended: None,
            buffer: vec![0; PIECE],
        }
    }

    fn watch(&mut self) -> Result<()> {
        // It may have been asked for between our look and our being able to hear the signal.
        if self.job.is_cancelled() {
            self.begin_stop(Outcome::Cancelled);
        }
        loop {
            self.wait()?;
            self.collect();
            if self.is_over() {
                return Ok(());
            }
            self.watch_the_clock();
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> Result<()> {
        let mut fds = vec![
            PollFd::new(&self.signals.child, PollFlags::IN),
            PollFd::new(&self.signals.terminate, PollFlags::IN),
        ];
        if let Some(pipe) = &self.stdout.pipe {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        if let Some(pipe) = &self.stderr.pipe {
            fds.push(PollFd::new(pipe, PollFlags::IN));
        }
        let timeout = self.patience().map(|time| {
            Timespec::try_from(time.min(Duration::from_secs(3600))).expect("an hour fits")
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for the script"),
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Option<Duration> {
        match &self.stop {
            Some(_) => Some(LOOK),
            None => self
                .limit
                .map(|limit| limit.saturating_duration_since(Instant::now())),
        }
    }

    fn collect(&mut self) {
        if drained(&mut self.signals.child) {
            self.ended = process::reap(self.script).or(self.ended);
        }
        if drained(&mut self.signals.terminate) && self.stop.is_none() && self.ended.is_none() {
            match self.job.is_cancelled() {
                true => self.begin_stop(Outcome::Cancelled),
                // The machine is going down, or an operator sent us the signal that was meant for the
                // script: pass it on, and report what the script makes of it.
                false => process::signal(&self.processes(), Signal::TERM),
            }
        }
        self.stdout.drain(&mut self.buffer, MAX_AT_ONCE);
        self.stderr.drain(&mut self.buffer, MAX_AT_ONCE);
    }

    /// A normal end leaves descendants alone; one that we bring about is over when all are gone.
    fn is_over(&mut self) -> bool {
        match &self.stop {
            None => self.ended.is_some(),
            Some(stop) => {
                let hangs = stop.killed && Instant::now() >= stop.due;
                hangs || (self.ended.is_some() && self.processes().is_empty())
            }
        }
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

    /// Stops everything before it kills anything, as often as it takes to find nothing new: what is
    /// stopped cannot fork, so a fork bomb does not outrun this.
    fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        let mut seen = 0;
        loop {
            let processes = self.processes();
            process::signal(&processes, Signal::STOP);
            if processes.len() <= seen {
                process::signal(&processes, Signal::KILL);
                return;
            }
            seen = processes.len();
        }
    }

    /// All that the job has running now, the script itself included.
    fn processes(&self) -> Vec<Pid> {
        let mut found = process::descendants(getpid());
        if let Some(cgroup) = &self.cgroup {
            found.extend(cgroup.processes());
        }
        found.sort_by_key(|pid| pid.as_raw_nonzero());
        found.dedup();
        found
    }

    fn finish(mut self) -> Result<()> {
        self.ended = process::reap(self.script).or(self.ended);
        // What was written before the end is in the pipes; what a descendant writes later is not ours.
        self.stdout.finish(&mut self.buffer);
        self.stderr.finish(&mut self.buffer);
        let elapsed = self.started.elapsed();
        let end = OutcomeRecord {
            outcome: self.outcome(),
            ended_at: Timestamp::now(),
            started_at: Some(self.started_at),
            duration_ms: Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            usage: Some(process::children_usage()),
            stdout_bytes: self.stdout.writer.total(),
            stderr_bytes: self.stderr.writer.total(),
        };
        write_until_it_is_there(self.job, &end)?;
        if self.stdout.pipe.is_some() || self.stderr.pipe.is_some() {
            // A daemon that the script left holds its output open, and would die of SIGPIPE. Our files are
            // not held open with it: their space is to be free when the job is forgotten.
            let (stdout, stderr) = (self.stdout.pipe.take(), self.stderr.pipe.take());
            drop((self.stdout, self.stderr));
            process::leave_behind(move || swallow([stdout, stderr]));
        }
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        match (&self.stop, self.ended) {
            (Some(stop), Some(_)) if self.processes().is_empty() => stop.outcome.clone(),
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

/// Whether anything came. The bytes themselves mean nothing.
fn drained(signal: &mut UnixStream) -> bool {
    let mut came = false;
    while signal.read(&mut [0; 64]).is_ok_and(|n| n > 0) {
        came = true;
    }
    came
}

/// A full disk delays an outcome; it never loses one.
fn write_until_it_is_there(job: &Job, end: &OutcomeRecord) -> Result<()> {
    while let Err(error) = job.write_outcome(end) {
        if !job.dir().exists() {
            return Err(error);
        }
        let second = Timespec::try_from(Duration::from_secs(1)).expect("a second fits");
        poll(&mut [], Some(&second)).ok();
    }
    Ok(())
}
