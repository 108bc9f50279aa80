//! A script that exits 113 asks for a reboot: after every reply is confirmed, or after five minutes.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::job::Job;

/// How long replies may keep the node from going down.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct Reboot {
    command: String,
    asked: Option<(Job, Instant)>,
}

impl Reboot {
    pub(super) fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            asked: None,
        }
    }

    pub(super) fn ask(&mut self, job: Job) {
        if self.asked.is_none() && !job.is_rebooting() {
            self.asked = Some((job, Instant::now()));
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Starts the reboot if it is time: nothing is left to answer, or patience is over.
    pub(super) fn go_if_due(&mut self, all_answered: bool) {
        let due = |since: &Instant| all_answered || since.elapsed() >= PATIENCE;
        let Some((job, _)) = self.asked.take_if(|(_, since)| due(since)) else {
            return;
        };
        // The mark first: a command that takes the agent down with it must not run again.
        if let Err(error) = job.mark_rebooting() {
            error!(request = %job.id, error = format!("{error:#}"), "cannot remember the reboot");
        }
        warn!(request = %job.id, command = self.command, all_answered, "rebooting");
        let started = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .spawn();
        if let Err(error) = started {
            error!(command = self.command, %error, "the reboot command did not start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Admission, Spool};
    use crate::protocol::{NodeId, Request, RequestId};

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_takes_keeps_the_node_up_for_five_minutes_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let (request, node) = (Request::script("exit 113"), NodeId::parse("n1").unwrap());
        let spool = Spool::open(dir.path()).unwrap();
        let Ok(Admission::New(job)) = spool.create(
            &RequestId::random(),
            &request,
            (&node, "k"),
            &request.encode(),
        ) else {
            panic!("not admitted");
        };
        let mut reboot = Reboot::new("true");
        reboot.ask(job.clone());
        tokio::time::advance(Duration::from_secs(299)).await;
        reboot.go_if_due(false);
        assert!(reboot.is_asked() && !job.is_rebooting());
        tokio::time::advance(Duration::from_secs(1)).await;
        reboot.go_if_due(false);
        assert!(!reboot.is_asked() && job.is_rebooting());
        reboot.ask(job);
        assert!(!reboot.is_asked(), "the same reboot is not asked for again");
    }
}
