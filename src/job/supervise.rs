//! The supervisor of one job: the right to start it → the script's [run](super::script_run) → its outcome.
//!
//! A process of its own with one thread, so that the agent can crash, be upgraded or lose its
//! broker while a disk erase runs. It is told nothing but the job's directory.

use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use rustix::event::{Timespec, poll};
use rustix::process::{getpid, set_child_subreaper, setsid};

use protocol::{Message, Outcome};

use super::cgroup::Cgroup;
use super::script_run::Run;
use super::signals::Signals;
use super::stream::swallow;
use super::{Job, OutcomeRecord, Pids, ProcessRef, atomic_file, process, start};

/// How often the outcome is written, a second apart, to a disk that is not full and does not take it.
const MAX_FAILURES: u32 = 3;

/// Runs the job to its end and writes its outcome. Does nothing if another supervisor has the job.
pub fn supervise(job: &Job) -> Result<()> {
    let (record, message) = job.request()?;
    let Message::Run(request) = message else {
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
    let signals = Signals::of(&[libc::SIGCHLD, libc::SIGTERM])?;
    // From here on the job counts as started, whatever happens to us.
    if !atomic_file::claim(&job.path("pid"), &serde_json::to_vec(&pids)?)? {
        return Ok(());
    }
    if job.is_cancelled() {
        return write_until_it_is_there(job, &OutcomeRecord::unseen(Outcome::Cancelled));
    }
    // Orphans of the script become our children, not init's, and so cannot slip away.
    set_child_subreaper(Some(getpid()))?;
    let cgroup = Cgroup::create(&job.id);
    let started = match start::start(job, &record, &request, cgroup.as_ref()) {
        Ok(started) => started,
        Err(refusal) => {
            let record = OutcomeRecord::unseen(Outcome::Refused(refusal));
            return write_until_it_is_there(job, &record);
        }
    };
    note_script(job, pids, started.script);
    let mut run = Run::new(job, request.timeout, cgroup, signals, started);
    run.watch();
    let (record, pipes) = run.finish();
    write_until_it_is_there(job, &record)?;
    // A daemon that the script left holds its output open, and would die of SIGPIPE. The job's files are
    // closed by now: their space is to be free when the job is forgotten.
    if pipes.iter().any(Option::is_some) {
        process::fork(|| {
            swallow(pipes);
            Ok(())
        })?;
    }
    Ok(())
}

/// For people and for the agent's messages, so it need not outlive a power cut. A script that is gone
/// already has no start time, and a disk that is full must not end the script.
fn note_script(job: &Job, mut pids: Pids, script: u32) {
    if let Ok(script) = ProcessRef::of(script) {
        pids.script = Some(script);
        atomic_file::replace_json(&job.path("pid"), &pids).ok();
    }
}

/// A full disk delays an outcome; it never loses one. A disk that does not take it for another reason will not
/// take it later: the job is then answered as one whose supervisor left no outcome.
fn write_until_it_is_there(job: &Job, record: &OutcomeRecord) -> Result<()> {
    let mut failures = 0;
    while let Err(error) = job.write_outcome(record) {
        failures += u32::from(!is_full(&error));
        if failures == MAX_FAILURES || !job.dir().exists() {
            return Err(error);
        }
        let second = Timespec::try_from(Duration::from_secs(1)).expect("a second fits");
        poll(&mut [], Some(&second)).ok();
    }
    Ok(())
}

/// Whether a file could not be opened for want of a descriptor, or of memory: there may be one in a moment.
pub fn lacks_descriptors(error: &anyhow::Error) -> bool {
    let errno = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    matches!(errno, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

fn is_full(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory
        ) || error.raw_os_error() == Some(libc::ENFILE)
    })
}
