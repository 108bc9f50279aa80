//! What follows the end of a job: its reply, for as long as it takes until somebody has it, and the
//! reboot that it may have asked for.

use tracing::{info, warn};

use broker::Routing;
use job::Job;
use protocol::State;

use super::jobs::Ended;
use super::outbox::{Outgoing, Sent};
use super::reboot;
use super::serve::Agent;

impl Agent {
    pub(super) fn answer_if_ended(&mut self, job: &Job) {
        if let State::Ended | State::Replied = job.state() {
            self.answer(job.clone());
        }
    }

    pub(super) fn answer(&mut self, job: Job) {
        self.answering.insert(job.id.clone());
        self.pending.push_back(Outgoing::Reply(job));
    }

    pub(super) fn ended(&mut self, Ended { job, follow }: Ended) {
        let outcome = job.outcome().ok().flatten().map(|end| end.outcome);
        let shown = outcome.as_ref().map(ToString::to_string);
        info!(request = %job.id, outcome = shown, "ended");
        let news = follow.map(|mut follow| follow.news(true));
        self.publish_news(news.unwrap_or_default());
        if outcome.as_ref().is_some_and(reboot::asks) {
            self.reboot.ask(job.clone());
            self.jobs.refuse_waiting();
        }
        self.answer(job);
    }

    pub(super) fn sent(&mut self, sent: Sent) {
        match sent {
            Sent::Startup(Routing::Taken) => {
                if let Err(error) = self.startup.taken() {
                    warn!(
                        error = format!("{error:#}"),
                        "announced, and may be so again"
                    );
                }
            }
            Sent::Startup(Routing::Unroutable | Routing::Rejected) => {
                info!("nobody listens for ur.startup yet; it is kept and sent again");
            }
            Sent::Reply(job, routing) => {
                self.answering.remove(&job.id);
                match routing {
                    Routing::Taken => {
                        info!(request = %job.id, "replied");
                        self.jobs.forget_unwritten(&job);
                        self.unheard.forget(&job.id);
                    }
                    Routing::Unroutable | Routing::Rejected => self.unheard(&job),
                }
            }
        }
        self.reboot.go_if_due(self.is_all_answered());
    }

    fn unheard(&mut self, job: &Job) {
        if let Err(error) = job.mark_unroutable() {
            warn!(request = %job.id, error = format!("{error:#}"), "cannot mark a job");
        }
        let again_in = self.unheard.put(job.clone());
        info!(request = %job.id, ?again_in, "nobody took the reply; it is kept and offered again");
    }

    pub(super) fn is_all_answered(&self) -> bool {
        self.answering.is_empty() && self.unheard.is_empty() && self.jobs.running() == 0
    }

    /// Everything that has ended and is not known to have been taken. This scan is the outbox.
    pub(super) fn offer_replies(&mut self) {
        match self.spool.jobs() {
            Ok(jobs) => {
                let open = |job: &Job| job.state() == State::Ended;
                let unwritten = self.jobs.unwritten().cloned();
                let new: Vec<Job> = jobs
                    .into_iter()
                    .filter(open)
                    .chain(unwritten)
                    .filter(|job| !self.answering.contains(&job.id))
                    .collect();
                new.into_iter().for_each(|job| self.answer(job));
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot look for open replies"),
        }
    }
}
