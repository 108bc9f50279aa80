//! Starts supervisors. One always waits for the next job, so that no script has to wait for a program
//! to be loaded.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use job::{ExitWatch, Job, NEXT};

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
    waiting: Option<Waiting>,
}

/// A supervisor without a job. Its end can be seen before it can begin.
struct Waiting {
    child: Child,
    exit: ExitWatch,
}

impl Supervisors {
    pub(super) fn new(jobs: &Path) -> Self {
        Self {
            jobs: jobs.to_owned(),
            waiting: Waiting::start(jobs).ok(),
        }
    }

    /// Gives the job to the supervisor that waits, or to a new one. If that fails, nothing was started.
    pub(super) fn start(&mut self, job: &Job) -> Result<ExitWatch> {
        let supervisor = match self.waiting.take().and_then(|waiting| waiting.take(job)) {
            Some(exit) => exit,
            None => Waiting::start(&self.jobs)?
                .take(job)
                .context("giving a supervisor its job: it died at once")?,
        };
        // If that fails, the next start tries again and says why.
        self.waiting = Waiting::start(&self.jobs).ok();
        Ok(supervisor)
    }
}

impl Waiting {
    fn start(jobs: &Path) -> Result<Self> {
        let mut next = command();
        next.args([NEXT.as_ref(), jobs.as_os_str()]);
        let child = next.stdin(Stdio::piped()).spawn();
        let mut child = child.context("starting a supervisor")?;
        match ExitWatch::of_child(child.id()) {
            Ok(exit) => Ok(Self { child, exit }),
            Err(error) => {
                // Without a word on its standard input it ends at once.
                drop(child.stdin.take());
                child.wait().ok();
                Err(error).context("watching a supervisor")
            }
        }
    }

    /// `None` if it is dead: whoever does not read our word cannot have begun.
    fn take(mut self, job: &Job) -> Option<ExitWatch> {
        let mut stdin = self.child.stdin.take()?;
        match writeln!(stdin, "{}", job.id) {
            Ok(()) => Some(self.exit),
            Err(_dead) => {
                self.child.wait().ok();
                None
            }
        }
    }
}
