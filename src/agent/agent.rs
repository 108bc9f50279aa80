//! The agent's state, and what it does about each event: admit, start, reply, announce.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::Stream;
use tokio::task::JoinSet;
use tokio::time::interval;
use tracing::{error, info, warn};

use broker::{ConnectionEvent, Delivery, Routing};
use job::{Job, Spool};
use protocol::State;

use super::admit::RecentRefusals;
use super::announce::{self, Startup};
use super::args::AgentArgs;
use super::askers::{Asker, Askers};
use super::connect;
use super::heap;
use super::jobs::{FinishedJob, Jobs};
use super::locate::BrokerUrls;
use super::outbox::{self, Outgoing, Sent};
use super::reboot::{self, Reboot};
use super::replies::Replies;
use super::reply::OwedReply;
use super::session::{Session, WATCHDOG, notify_watchdog};
use super::sysinfo::{self, Sysinfo};

pub(super) struct Agent {
    args: Arc<AgentArgs>,
    pub(super) spool: Spool,
    pub(super) jobs: Jobs,
    pub(super) sysinfo: Sysinfo,
    found: Option<BrokerUrls>,
    pub(super) reboot: Reboot,
    startup: Startup,
    pub(super) replies: Replies,
    pub(super) refusals: RecentRefusals,
    pub(super) askers: Askers,
    pub(super) collecting: JoinSet<Sysinfo>,
}

impl Agent {
    pub(super) fn new(
        args: Arc<AgentArgs>,
        spool: Spool,
        jobs: Jobs,
        sysinfo: Sysinfo,
        reboot: Reboot,
    ) -> Self {
        Self {
            startup: Startup::new(spool.state_dir()),
            args,
            spool,
            jobs,
            sysinfo,
            found: None,
            reboot,
            replies: Replies::default(),
            refusals: RecentRefusals::default(),
            askers: Askers::default(),
            collecting: JoinSet::new(),
        }
    }

    /// Waits for something else while jobs go on.
    pub(super) async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        let mut poll_jobs = interval(Duration::from_secs(1));
        let mut watchdog = interval(WATCHDOG);
        loop {
            tokio::select! {
                done = &mut other => return done,
                finished = self.jobs.next_finished() => self.finished(finished),
                _ = poll_jobs.tick() => self.poll_jobs(),
                _ = watchdog.tick() => notify_watchdog(),
            }
        }
    }

    /// A session that is ready: bound, listening, announced, and with every open reply queued.
    pub(super) async fn connect(
        &mut self,
    ) -> Result<
        Session<
            impl Stream<Item = Result<Delivery>> + Unpin + use<>,
            impl Stream<Item = ConnectionEvent> + Unpin + use<>,
        >,
    > {
        let args = Arc::clone(&self.args);
        let found = self.meanwhile(connect::find(&args)).await?;
        // Logged once, not at each of the thousand attempts of a long outage.
        if self.found.as_ref() != Some(&found) {
            info!(source = found.source, brokers = ?found.urls, "broker found");
            let plain = connect::plain(&found);
            if !plain.is_empty() {
                warn!(brokers = ?plain, "no TLS: the network can read passwords and scripts, and send its own");
            }
        }
        self.found = Some(found.clone());
        let broker = self.meanwhile(connect::connect(&found)).await?;
        let sysinfo = self.sysinfo.seen_from(broker.local_address);
        let broker = match &self.args.publish_exchange {
            Some(exchange) => {
                broker.publishing_to(&exchange.replace("{node}", &sysinfo.node.to_string()))
            }
            None => broker,
        };
        let connection = broker.events();
        let opened = async {
            // Side by side: it is round trips to the broker that a start waits for.
            let (deliveries, publisher, node_js) = tokio::join!(
                connect::subscribe(&broker, &sysinfo),
                broker.publisher(),
                connect::has_node_js_agent(&broker, &sysinfo),
            );
            let deliveries = deliveries?;
            let outbox = outbox::open(broker, publisher?, sysinfo.node.clone());
            anyhow::Ok((sysinfo.beside_node_js(node_js), deliveries, outbox))
        };
        let (sysinfo, deliveries, outbox) = self.meanwhile(opened).await?;
        if sysinfo.has_node_js() {
            error!("Triton's Node.js agent runs on this node, too: every request runs twice");
        }
        self.sysinfo = sysinfo;
        self.begin_session();
        Ok(Session {
            deliveries,
            connection,
            outbox,
        })
    }

    /// Announces the node, and queues every reply that is not known to have been taken.
    pub(super) fn begin_session(&mut self) {
        self.replies = Replies::default();
        if let Some(startup) = self.startup.message(&self.sysinfo) {
            self.replies.enqueue(startup);
        }
        self.replies.enqueue(announce::sysinfo(&self.sysinfo));
        self.enqueue_open_replies();
    }

    /// Whether running jobs, a reboot, unroutable replies or askers have to be looked at now and then.
    pub(super) fn is_busy(&self) -> bool {
        let waits = self.replies.has_unroutable() || !self.askers.is_empty();
        self.jobs.running() > 0 || self.reboot.is_asked() || waits
    }

    pub(super) fn answer(&mut self, askers: Vec<Asker>) {
        for asker in askers {
            self.replies.enqueue(asker.answer(&self.sysinfo));
        }
    }

    pub(super) fn collect(&mut self) {
        if self.collecting.is_empty() {
            let args = Arc::clone(&self.args);
            self.collecting
                .spawn(async move { sysinfo::collect(&args).await });
        }
    }

    pub(super) fn heartbeat(&mut self) {
        let jobs = self.jobs.running() + self.jobs.waiting();
        let heartbeat = announce::heartbeat(&self.sysinfo, jobs);
        self.replies.enqueue_urgent(heartbeat);
    }

    pub(super) fn poll_jobs(&mut self) {
        for follower in self.jobs.followers() {
            if self.replies.is_full() {
                break;
            }
            for (key, body) in follower.poll(false) {
                let key = key.to_string();
                self.replies.enqueue(Outgoing::Notice { key, body });
            }
        }
        self.jobs.call_overdue();
        self.replies.retry_due();
        let overdue = self.askers.take_overdue();
        self.answer(overdue);
        self.reboot.go_if_due(self.is_all_answered());
    }

    /// A job has an outcome: its last progress and output, its reply, and the reboot that it may ask for.
    pub(super) fn finished(&mut self, finished: FinishedJob) {
        let FinishedJob {
            job,
            outcome,
            follower,
        } = finished;
        let shown = outcome.as_ref().map(|record| record.outcome.to_string());
        info!(request = %job.id, outcome = shown, "ended");
        if outcome.as_ref().is_some_and(reboot::asks) {
            self.reboot.ask(job.clone());
            self.jobs.refuse_waiting();
        }
        let mut terms = None;
        if let Some(mut follower) = follower {
            for (key, body) in follower.poll(true) {
                let key = key.to_string();
                self.replies.enqueue(Outgoing::Notice { key, body });
            }
            terms = Some(follower.terms);
        }
        self.replies.enqueue_reply(OwedReply {
            job,
            known: outcome.zip(terms),
        });
    }

    pub(super) fn reply_if_ended(&mut self, job: &Job) {
        if self.jobs.has_ended(job) {
            let owed = self.jobs.owed(job.clone());
            self.replies.enqueue_reply(owed);
        }
    }

    pub(super) fn sent(&mut self, sent: Sent) {
        match sent {
            Sent::Startup(Routing::Taken) => {
                if let Err(error) = self.startup.taken() {
                    let error = format!("{error:#}");
                    warn!(
                        error,
                        "cannot record that ur.startup was taken; it may be sent again"
                    );
                }
            }
            Sent::Startup(Routing::Unroutable | Routing::Rejected) => {
                info!("ur.startup is unroutable; it is kept and sent again");
            }
            Sent::Reply(job, Routing::Taken) => {
                info!(request = %job.id, "replied");
                self.jobs.replied(&job.id);
                self.replies.taken(&job.id);
            }
            Sent::Reply(job, Routing::Unroutable | Routing::Rejected) => self.unroutable(job),
        }
        self.reboot.go_if_due(self.is_all_answered());
    }

    fn unroutable(&mut self, job: Job) {
        if let Err(error) = job.mark_unroutable() {
            warn!(request = %job.id, error = format!("{error:#}"), "cannot mark a job as unroutable");
        }
        let id = job.id.clone();
        let again_in = self.replies.unroutable(job);
        info!(request = %id, ?again_in, "the reply is unroutable; it is kept and sent again");
    }

    fn is_all_answered(&self) -> bool {
        !self.replies.has_pending_replies() && self.jobs.running() == 0
    }

    /// Everything that has ended and is not known to have been taken. This scan is the outbox.
    fn enqueue_open_replies(&mut self) {
        match self.spool.jobs() {
            Ok(jobs) => {
                let open = |job: &Job| job.state() == State::Ended;
                let open = jobs.into_iter().filter(open);
                for job in open.chain(self.jobs.open_unwritten()) {
                    if !self.replies.is_in_flight(&job.id) {
                        self.replies.enqueue_reply(self.jobs.owed(job));
                    }
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot look for open replies"),
        }
    }

    pub(super) fn housekeeping(&mut self) {
        self.jobs.write_unwritten();
        let mut busy = self.jobs.busy();
        busy.extend(self.replies.in_flight().cloned());
        match self.spool.expire(&busy) {
            Ok(expired) => {
                for job in expired.unroutable {
                    error!(request = %job.id, "removed a job whose reply was never taken");
                    self.replies.forget(&job.id);
                }
                for (job, error) in expired.kept {
                    warn!(request = %job.id, error = format!("{error:#}"), "cannot remove an old job");
                }
                for (path, error) in expired.left {
                    // A script chose its names.
                    warn!(?path, %error, "a removed job's directory is not empty: its script left something that cannot be removed");
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot remove old jobs"),
        }
        heap::return_free_pages();
        if let Some(startup) = self.startup.message(&self.sysinfo) {
            self.replies.enqueue(startup);
        }
        self.collect();
    }

    /// A node that became another one needs another queue: that takes a new session.
    pub(super) fn collected(&mut self, found: Sysinfo) -> Result<()> {
        let found = found.seen_like(&self.sysinfo);
        if found.is_stopgap_for(&self.sysinfo) {
            // As under a script that erases the disk with the programs. No sender would find the node again.
            warn!(warnings = ?found.warnings, "sysinfo failed; what is known of the node stays");
            let askers = self.askers.take_all();
            self.answer(askers);
            return Ok(());
        }
        let changed = found.facts != self.sysinfo.facts;
        let moved = (&found.node, &found.mac) != (&self.sysinfo.node, &self.sysinfo.mac);
        self.sysinfo = found;
        let askers = self.askers.take_all();
        self.answer(askers);
        if changed || !announce::is_set_up(&self.args.setup_file) {
            self.replies.enqueue(announce::sysinfo(&self.sysinfo));
        }
        match moved {
            true => Err(anyhow!("the node's UUID or admin NIC changed")),
            false => Ok(()),
        }
    }
}
