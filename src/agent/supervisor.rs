//! Starts supervisors. One always waits for the next job, so that no script has to wait for a program
//! to be loaded.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::job::{Exit, Job, NEXT};

/// systemd's words to us are not for scripts, and neither are passwords.
const NOT_FOR_SCRIPTS: [&str; 7] = [
    "UR_AMQP_URL",
    "AMQP_PASSWORD",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
];

/// The supervisor of one job, to be started.
pub(super) fn of(job: &Job) -> Command {
    let mut command = command();
    command.arg(job.dir());
    command
}

/// The same binary, even if its file was replaced by an upgrade meanwhile.
fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ur-agent").arg("supervise");
    for name in NOT_FOR_SCRIPTS {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Supervisors for the jobs of one directory.
pub(super) struct Supervisors {
    jobs: PathBuf,
    waiting: Option<Child>,
}

impl Supervisors {
    pub(super) fn new(jobs: &Path) -> Self {
        let mut supervisors = Self {
            jobs: jobs.to_owned(),
            waiting: None,
        };
        supervisors.prepare();
        supervisors
    }

    /// Gives the job to the supervisor that waits, or starts one for it.
    pub(super) fn start(&mut self, job: &Job) -> Result<Exit> {
        let supervisor = match self.waiting.take().and_then(|child| given(child, job)) {
            Some(supervisor) => supervisor,
            None => of(job).spawn().context("starting a supervisor")?,
        };
        let exit = Exit::of_child(supervisor.id()).context("watching a supervisor");
        self.prepare();
        exit
    }

    /// If that fails, the next start tries again and says why.
    fn prepare(&mut self) {
        let mut next = command();
        next.args([NEXT.as_ref(), self.jobs.as_os_str()]);
        self.waiting = next.stdin(Stdio::piped()).spawn().ok();
    }
}

/// `None` if it is dead: whoever does not read our word cannot have begun.
fn given(mut supervisor: Child, job: &Job) -> Option<Child> {
    let mut stdin = supervisor.stdin.take()?;
    match writeln!(stdin, "{}", job.id) {
        Ok(()) => Some(supervisor),
        Err(_dead) => {
            supervisor.wait().ok();
            None
        }
    }
}
