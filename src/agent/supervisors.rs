//! The start of supervisors: by the fork server for the agent, by executing this program for `exec`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tracing::warn;

use job::fork_server::{self, ForkServer};
use job::{ExitWatch, Job};

/// systemd's words to us are not for scripts, and neither are passwords.
const NOT_FOR_SCRIPTS: [&str; 9] = [
    "UR_AMQP_URL",
    "UR_AMQP_URL_FILE",
    "CREDENTIALS_DIRECTORY",
    "AMQP_PASSWORD",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
];

/// The supervisor of one job, to be executed.
pub(super) fn of(job: &Job) -> Command {
    let mut command = command();
    command.arg(job.dir()).stdin(Stdio::null());
    command
}

/// The same binary, even if its file was replaced by an upgrade meanwhile.
fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ur-agent").arg("supervise");
    for name in NOT_FOR_SCRIPTS {
        command.env_remove(name);
    }
    command.stdout(Stdio::null());
    command
}

/// Supervisors for the jobs of one directory.
pub(super) struct Supervisors {
    jobs: PathBuf,
    /// `None` where it could not be started; the next job tries again, and says why.
    server: Option<ForkServer>,
}

impl Supervisors {
    pub(super) fn new(jobs: &Path) -> Self {
        let mut supervisors = Self {
            jobs: jobs.to_owned(),
            server: None,
        };
        if let Err(error) = supervisors.start_server() {
            warn!(error = format!("{error:#}"), "no fork server yet");
        }
        supervisors
    }

    /// Starts the job's supervisor. If that fails, a supervisor may have begun all the same, in the moment
    /// in which its server died: the job's `pid` tells.
    pub(super) fn start(&mut self, job: &Job) -> Result<ExitWatch> {
        if let Some(server) = &self.server {
            match server.fork(&job.id) {
                Ok(forked) => return forked.context("forking a supervisor"),
                Err(error) => warn!(pid = server.pid(), %error, "the fork server is replaced"),
            }
        }
        let server = self.start_server()?;
        server
            .fork(&job.id)
            .context("asking the fork server")?
            .context("forking a supervisor")
    }

    fn start_server(&mut self) -> Result<&ForkServer> {
        // The old one's end is waited for.
        self.server = None;
        let mut command = command();
        command
            .arg(fork_server::FLAG)
            .arg(&self.jobs)
            .arg(fork_server::ROOM);
        let server = ForkServer::start(command).context("starting the fork server")?;
        Ok(self.server.insert(server))
    }
}
