//! Handles deliveries in batches: the new jobs of messages that came together are committed together, with shared
//! flushes, and each message is acked once its job is on disk.

use std::time::Duration;

use tracing::{info, warn};

use broker::{Acker, Delivery, clock};
use job::{Job, NewJob};
use protocol::{Progress, RoutingKey, SysinfoRequest};

use super::admit::{AcceptedTerms, Admission, AdmissionControl};
use super::agent::Agent;
use super::announce;
use super::askers::Asker;
use super::follower::Follower;
use super::job_list::Listing;
use super::outbox::Outgoing;

/// How old sysinfo may be that answers a broadcast which does not say.
const MAX_AGE: Duration = Duration::from_secs(5);

/// A delivery that is to become a job.
struct Uncommitted {
    delivery: Delivery,
    new: NewJob,
    wanted: AcceptedTerms,
}

impl Agent {
    /// In the order in which they came.
    pub(super) fn delivered(&mut self, deliveries: Vec<Delivery>) {
        let mut uncommitted: Vec<Uncommitted> = Vec::new();
        for delivery in deliveries {
            // A copy, a cancel or a status is to find the job.
            let is_about =
                |one: &Uncommitted| delivery.routing_key.ends_with(one.new.id().as_str());
            if uncommitted.iter().any(is_about) {
                self.commit(std::mem::take(&mut uncommitted));
            }
            let mut control = self.control(uncommitted.len());
            match control.admit(&delivery.routing_key, &delivery.body) {
                Admission::New(new, wanted) => uncommitted.push(Uncommitted {
                    delivery,
                    new,
                    wanted,
                }),
                admission => {
                    self.commit(std::mem::take(&mut uncommitted));
                    self.admitted(delivery.acker, admission);
                }
            }
        }
        self.commit(uncommitted);
    }

    /// While so many jobs wait to be committed.
    fn control(&mut self, uncommitted: usize) -> AdmissionControl<'_> {
        AdmissionControl {
            node: &self.sysinfo.node,
            spool: &self.spool,
            waiting: self.jobs.waiting() + uncommitted,
            rebooting: self.reboot.is_asked(),
            now: &clock::synchronized_now,
            refusals: &mut self.refusals,
        }
    }

    fn commit(&mut self, uncommitted: Vec<Uncommitted>) {
        let (new, rest): (Vec<_>, Vec<_>) = uncommitted
            .into_iter()
            .map(|one| (one.new, (one.delivery, one.wanted)))
            .unzip();
        for (created, (delivery, wanted)) in self.spool.commit(new).into_iter().zip(rest) {
            let message = (delivery.routing_key.as_str(), delivery.body.as_slice());
            let admission = self.control(0).committed(created, message, wanted);
            self.admitted(delivery.acker, admission);
        }
    }

    fn admitted(&mut self, acker: Acker, admission: Admission) {
        // By now it is safe on disk, or will be answered in this session.
        self.replies.enqueue(Outgoing::Ack(acker));
        match admission {
            Admission::New(new, _) => unreachable!("{} is not committed", new.id()),
            Admission::Start(job, terms) => {
                let state = self.jobs.add(job.clone(), &self.sysinfo.node, terms);
                let before = self.jobs.before(&job);
                let progress = Progress {
                    before,
                    ..Progress::now(state)
                };
                self.tell_progress(&job, &progress);
            }
            Admission::Known(job) => self.known(&job),
            Admission::Follow(job) => {
                let followers = self.jobs.followers();
                let ours = followers.filter(|it| it.job().id == job.id);
                ours.for_each(Follower::stream);
                self.known(&job);
            }
            Admission::Cancel(job) => self.cancel(&job),
            Admission::List(key) => {
                let listing = Listing::of(&self.jobs, key);
                self.replies.enqueue(Outgoing::Jobs(listing));
            }
            Admission::Refuse(key, reply) => {
                let error = reply.error.as_ref();
                let (code, reason) = error.map(|e| (e.code.to_string(), &e.message)).unzip();
                warn!(key = key.to_string(), code, reason, "refused");
                self.replies.enqueue(announce::answer(&key, &reply));
            }
            Admission::Sysinfo(key, asked) => self.asked_for_sysinfo(&key, &asked),
            Admission::Ping(ping) => {
                let pong = announce::pong(&self.sysinfo, ping);
                self.replies.enqueue_urgent(pong);
            }
            Admission::Ignore(reason) => warn!(reason, "ignored a message"),
        }
    }

    fn cancel(&mut self, job: &Job) {
        info!(request = %job.id, "cancel asked for");
        if self.jobs.has_ended(job) {
            self.reply_if_ended(job);
        } else if let Err(error) = self.jobs.cancel(job) {
            warn!(request = %job.id, error = format!("{error:#}"), "cannot cancel");
        }
    }

    fn known(&mut self, job: &Job) {
        let before = self.jobs.before(job);
        self.replies.enqueue(Outgoing::Status(job.clone(), before));
        self.reply_if_ended(job);
    }

    /// A broadcast is answered by what is known, if that is young enough; else it is collected anew.
    fn asked_for_sysinfo(&mut self, key: &RoutingKey, asked: &SysinfoRequest) {
        if !self.sysinfo.is_named_by(&asked.names) {
            return;
        }
        let max_age = asked.max_age();
        let asker = Asker::new(key, max_age);
        let is_fresh = self.sysinfo.collected_at.elapsed() <= max_age.unwrap_or(MAX_AGE);
        let answered = match is_fresh {
            true => Err(asker),
            false => self.askers.add(asker),
        };
        match answered {
            Err(asker) => self.replies.enqueue(asker.answer(&self.sysinfo)),
            Ok(()) => self.collect(),
        }
    }

    fn tell_progress(&mut self, job: &Job, progress: &Progress) {
        let key = RoutingKey::Progress {
            node: self.sysinfo.node.to_string(),
            request: job.id.to_string(),
        };
        self.replies.enqueue(announce::notice(&key, progress));
    }
}
