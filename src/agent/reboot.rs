//! Reboots that scripts ask for by exiting 113: after every reply is confirmed, or after five minutes.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;
use tracing::{error, warn};

use job::{Job, OutcomeRecord, boot_id};
use protocol::{Outcome, REBOOT_STATUS, State};

/// How long replies may keep the node from going down.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct Reboot {
    command: String,
    stage: Stage,
}

enum Stage {
    /// No script asked.
    Up,
    Asked(Job, Instant),
    /// The command has been started. A node that is still up after as long again stays up.
    Going(Instant),
}

impl Reboot {
    pub(super) fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            stage: Stage::Up,
        }
    }

    /// An earlier agent may have answered a job that asked, and ended before it was time.
    pub(super) fn recover(&mut self, found: &[Job]) {
        let answered = found.iter().filter(|job| job.state() == State::Replied);
        for job in answered {
            let outcome = job.outcome().ok().flatten();
            if outcome.as_ref().is_some_and(asks) {
                self.ask(job.clone());
            }
        }
    }

    /// One that was asked for before the last boot has happened, and is not asked for again.
    pub(super) fn ask(&mut self, job: Job) {
        let ran_in = job
            .pids()
            .ok()
            .flatten()
            .map(|pids| pids.supervisor.boot_id);
        let has_happened = ran_in.is_some_and(|boot| boot != boot_id());
        if matches!(self.stage, Stage::Up) && !job.is_rebooting() && !has_happened {
            self.stage = Stage::Asked(job, Instant::now());
        }
    }

    /// Whether the node is going down: it takes nothing new.
    pub(super) fn is_asked(&self) -> bool {
        match self.stage {
            Stage::Up => false,
            Stage::Asked(..) => true,
            Stage::Going(since) => since.elapsed() < PATIENCE,
        }
    }

    /// Starts the reboot if it is time: nothing is left to answer, or patience is over.
    pub(super) fn go_if_due(&mut self, all_answered: bool) {
        let Stage::Asked(job, since) = &self.stage else {
            if !self.is_asked() {
                self.stage = Stage::Up;
            }
            return;
        };
        if !all_answered && since.elapsed() < PATIENCE {
            return;
        }
        // The mark first: a command that takes the agent down with it must not run again.
        if let Err(error) = job.mark_rebooting() {
            error!(request = %job.id, error = format!("{error:#}"), "cannot remember the reboot");
        }
        warn!(request = %job.id, command = self.command, all_answered, "rebooting");
        let started = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .spawn();
        self.stage = match started {
            Ok(_child) => Stage::Going(Instant::now()),
            Err(error) => {
                error!(command = self.command, %error, "the reboot command did not start");
                Stage::Up
            }
        };
    }
}

/// Whether the script exited 113.
pub(super) fn asks(record: &OutcomeRecord) -> bool {
    let asked = Outcome::Exited {
        status: REBOOT_STATUS,
    };
    record.outcome == asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, Request, RequestId};

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_not_taken_keeps_the_node_up_for_five_minutes_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let (request, node) = (Request::script("exit 113"), NodeId::parse("n1").unwrap());
        let spool = Spool::open(dir.path()).unwrap();
        let Ok(Created::New(job)) =
            spool.create(&RequestId::random(), (&node, "k"), &request.encode())
        else {
            panic!("not admitted");
        };
        let mut reboot = Reboot::new("true");
        reboot.ask(job.clone());
        tokio::time::advance(Duration::from_secs(299)).await;
        reboot.go_if_due(false);
        assert!(reboot.is_asked() && !job.is_rebooting());
        tokio::time::advance(Duration::from_secs(1)).await;
        reboot.go_if_due(false);
        assert!(reboot.is_asked(), "the node is going down");
        assert!(job.is_rebooting());
        tokio::time::advance(PATIENCE).await;
        reboot.go_if_due(true);
        reboot.ask(job);
        assert!(!reboot.is_asked(), "the same reboot is not asked for again");
    }
}
