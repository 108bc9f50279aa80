//! A session with the broker: the loop, and what is done about each event.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc::error::SendError;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tracing::{error, info, warn};

use broker::{ConnectionEvent, Delivery, Subscription, clock, is_refusal};
use job::{Job, Spool};
use protocol::{Ack, Ping, Progress, RoutingKey, State};

use super::admit::{Admission, Gate, Refused};
use super::announce::{self, Startup};
use super::args::AgentArgs;
use super::jobs::{Ended, Jobs};
use super::locate::Found;
use super::outbox::{self, Outbox, Outgoing, Sent};
use super::reboot::Reboot;
use super::sysinfo::{self, Sysinfo};
use super::unheard::Unheard;
use super::{reply, session};

/// How often running jobs are looked at for progress and output.
const LOOK: Duration = Duration::from_millis(200);
/// How often sysinfo is collected anew and old jobs expire.
const ROUND: Duration = Duration::from_secs(60);
/// How often systemd hears from us; a third of the unit's `WatchdogSec`.
const ALIVE: Duration = Duration::from_secs(20);
/// Beyond this many messages on their way, output waits in its files.
const MOST_PENDING: usize = 1000;

pub(super) struct Agent {
    args: Arc<AgentArgs>,
    pub(super) spool: Spool,
    pub(super) jobs: Jobs,
    pub(super) sysinfo: Sysinfo,
    found: Option<Found>,
    pub(super) reboot: Reboot,
    pub(super) startup: Startup,
    /// Messages that the outbox has no room for yet. What must not be lost is also on disk.
    pub(super) pending: VecDeque<Outgoing>,
    /// Jobs whose replies are on their way.
    pub(super) answering: HashSet<protocol::RequestId>,
    pub(super) unheard: Unheard,
    refused: Refused,
    collecting: JoinSet<Sysinfo>,
}

pub(super) struct Session {
    deliveries: Subscription,
    outbox: Outbox,
    events: Box<dyn Stream<Item = ConnectionEvent> + Send + Unpin>,
}

/// Why a session is over.
pub(super) struct Over(pub(super) Error);

enum Event {
    Delivery(Option<Result<Box<Delivery>>>),
    Ended(Ended),
    Sent(Option<Sent>),
    Connection(Option<ConnectionEvent>),
    Handed(Result<(), SendError<()>>),
    Collected(Sysinfo),
    Look,
    Round,
    Beat,
    Alive,
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
            pending: VecDeque::new(),
            answering: HashSet::new(),
            unheard: Unheard::default(),
            refused: Refused::default(),
            collecting: JoinSet::new(),
        }
    }

    /// Waits for something else while jobs go on.
    pub(super) async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        let mut look = interval(Duration::from_secs(1));
        let mut alive = interval(ALIVE);
        loop {
            tokio::select! {
                done = &mut other => return done,
                ended = self.jobs.next_ended() => self.ended(ended),
                _ = look.tick() => self.look(),
                _ = alive.tick() => tell_systemd(),
            }
        }
    }

    /// A session that is ready: bound, listening, announced, and with every open reply on its way.
    pub(super) async fn connect(&mut self) -> Result<Session> {
        let args = Arc::clone(&self.args);
        let found = self.meanwhile(session::find(&args)).await?;
        // Said once, not at each of the thousand attempts of a long outage.
        if self.found.as_ref() != Some(&found) {
            info!(source = found.source, brokers = ?found.urls, "broker found");
        }
        self.found = Some(found.clone());
        let broker = self.meanwhile(session::connect(&found)).await?;
        let sysinfo = self.sysinfo.seen_from(broker.local_address);
        let events = Box::new(broker.events());
        let opened = async {
            let deliveries = session::listen(&broker, &sysinfo).await?;
            let outbox = outbox::open(broker, sysinfo.node.clone()).await?;
            anyhow::Ok((deliveries, outbox))
        };
        let (deliveries, outbox) = self.meanwhile(opened).await?;
        self.sysinfo = sysinfo;
        self.pending.clear();
        self.answering.clear();
        self.unheard = Unheard::default();
        self.pending.extend(self.startup.message(&self.sysinfo));
        self.pending.push_back(announce::sysinfo(&self.sysinfo));
        self.offer_replies();
        Ok(Session {
            deliveries,
            outbox,
            events,
        })
    }

    pub(super) async fn serve(&mut self, mut session: Session) -> Over {
        let mut look = interval(LOOK);
        let mut round = interval(ROUND);
        round.reset();
        let mut alive = interval(ALIVE);
        let mut beat = Instant::now();
        loop {
            let busy =
                self.jobs.running() > 0 || self.reboot.is_asked() || !self.unheard.is_empty();
            let event = tokio::select! {
                delivery = session.deliveries.next() => {
                    Event::Delivery(delivery.map(|delivery| delivery.map(Box::new)))
                }
                permit = session.outbox.to.reserve(), if !self.pending.is_empty() => {
                    Event::Handed(permit.map(|permit| {
                        if let Some(message) = self.pending.pop_front() {
                            permit.send(message);
                        }
                    }))
                }
                sent = session.outbox.sent.recv() => Event::Sent(sent),
                ended = self.jobs.next_ended() => Event::Ended(ended),
                event = session.events.next() => Event::Connection(event),
                Some(Ok(sysinfo)) = self.collecting.join_next() => Event::Collected(sysinfo),
                _ = look.tick(), if busy => Event::Look,
                _ = round.tick() => Event::Round,
                () = sleep_until(beat) => Event::Beat,
                _ = alive.tick() => Event::Alive,
            };
            if let Event::Beat = event {
                beat = Instant::now() + announce::heartbeat_period();
            }
            if let Err(error) = self.handle(event) {
                return Over(error);
            }
        }
    }

    /// An error ends the session, never the agent.
    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Delivery(Some(delivery)) => self.delivered(*delivery?),
            Event::Delivery(None) => return Err(anyhow!("the broker cancelled our consumer")),
            Event::Handed(Err(_)) | Event::Sent(None) => return Err(anyhow!("publishing stopped")),
            Event::Handed(Ok(())) => {}
            Event::Ended(ended) => self.ended(ended),
            Event::Sent(Some(sent)) => self.sent(sent),
            Event::Connection(event) => connection(event)?,
            Event::Collected(sysinfo) => self.collected(sysinfo)?,
            Event::Look => self.look(),
            Event::Round => self.round(),
            Event::Beat => {
                let jobs = self.jobs.running() + self.jobs.waiting();
                self.say_first(announce::heartbeat(&self.sysinfo, jobs));
            }
            Event::Alive => tell_systemd(),
        }
        Ok(())
    }

    fn delivered(&mut self, delivery: Delivery) {
        let mut gate = Gate {
            node: &self.sysinfo.node,
            spool: &self.spool,
            waiting: self.jobs.waiting(),
            rebooting: self.reboot.is_asked(),
            now: clock::synchronized_now(),
            refused: &mut self.refused,
        };
        let admission = gate.admit(&delivery.routing_key, &delivery.body);
        // By now it is safe on disk, or will be answered in this session.
        self.pending.push_back(Outgoing::Ack(delivery.acker));
        match admission {
            Admission::Start(job) => {
                info!(request = %job.id, "admitted");
                let state = self.jobs.add(job.clone());
                self.tell_progress(&job, &Progress::now(state));
            }
            Admission::Known(job) => {
                self.tell_progress(&job, &reply::story(&job));
                self.answer_if_ended(&job);
            }
            Admission::Cancel(job) => self.cancel(&job),
            Admission::Refuse(key, reply) => {
                let error = reply.error.as_ref();
                let (code, reason) = error.map(|e| (e.code.to_string(), &e.message)).unzip();
                warn!(%key, code, reason, "refused");
                self.pending.push_back(announce::event(&key, &reply));
            }
            Admission::Sysinfo(key) => {
                self.pending
                    .push_back(announce::event(&key, &self.sysinfo.facts));
            }
            Admission::Ping(ping) => self.ping(ping),
            Admission::Ignore(reason) => warn!(reason, "ignored a message"),
        }
    }

    fn cancel(&mut self, job: &Job) {
        info!(request = %job.id, "cancel asked for");
        if let State::Ended | State::Replied = job.state() {
            self.answer_if_ended(job);
        } else if let Err(error) = self.jobs.cancel(job) {
            warn!(request = %job.id, error = format!("{error:#}"), "cannot cancel");
        }
    }

    fn ping(&mut self, ping: Ping) {
        let key = RoutingKey::Ack {
            client: ping.client_id,
            node: self.sysinfo.node.to_string(),
        };
        let ack = Ack {
            req_id: ping.id,
            timestamp: Timestamp::now(),
        };
        self.say_first(announce::event(&key, &ack));
    }

    /// That the node lives is not to be heard only after hundreds of megabytes of replies.
    fn say_first(&mut self, message: Outgoing) {
        let is_reply = |waiting: &Outgoing| matches!(waiting, Outgoing::Reply(_));
        let before = self.pending.iter().position(is_reply);
        let at = before.unwrap_or(self.pending.len());
        self.pending.insert(at, message);
    }

    fn tell_progress(&mut self, job: &Job, progress: &Progress) {
        let key = RoutingKey::Progress {
            node: self.sysinfo.node.to_string(),
            request: job.id.to_string(),
        };
        self.pending.push_back(announce::event(&key, progress));
    }

    fn look(&mut self) {
        if self.pending.len() < MOST_PENDING {
            let news = self
                .jobs
                .follow()
                .flat_map(|follow| follow.news(false))
                .collect();
            self.publish_news(news);
        }
        for job in self.unheard.take_due() {
            self.answer(job);
        }
        self.reboot.go_if_due(self.is_all_answered());
    }

    pub(super) fn publish_news(&mut self, news: Vec<(RoutingKey, Vec<u8>)>) {
        self.pending
            .extend(news.into_iter().map(|(key, body)| Outgoing::Event {
                key: key.to_string(),
                body,
            }));
    }

    fn round(&mut self) {
        let mut busy = self.jobs.busy();
        busy.extend(self.answering.iter().cloned());
        match self.spool.expire(&busy) {
            Ok(expired) => {
                for job in expired.unroutable {
                    error!(request = %job.id, "forgotten: nobody took its reply in all the time it was kept");
                    self.unheard.forget(&job.id);
                }
                for (job, error) in expired.kept {
                    warn!(request = %job.id, error = format!("{error:#}"), "cannot remove an old job");
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot remove old jobs"),
        }
        self.pending.extend(self.startup.message(&self.sysinfo));
        if self.collecting.is_empty() {
            let args = Arc::clone(&self.args);
            self.collecting
                .spawn(async move { sysinfo::collect(&args).await });
        }
    }

    /// A node that became another one needs another queue: that takes a new session.
    fn collected(&mut self, found: Sysinfo) -> Result<()> {
        let found = found.seen_like(&self.sysinfo);
        if found.is_stopgap_for(&self.sysinfo) {
            // As under a script that erases the disk with the programs. Nobody would find the node again.
            warn!(warnings = ?found.warnings, "sysinfo failed; what is known of the node stays");
            return Ok(());
        }
        let changed = found.facts != self.sysinfo.facts;
        let moved = (&found.node, &found.mac) != (&self.sysinfo.node, &self.sysinfo.mac);
        self.sysinfo = found;
        if changed || !announce::is_set_up(&self.args.setup_file) {
            self.pending.push_back(announce::sysinfo(&self.sysinfo));
        }
        match moved {
            true => Err(anyhow!("the node's UUID or admin NIC changed")),
            false => Ok(()),
        }
    }
}

fn connection(event: Option<ConnectionEvent>) -> Result<()> {
    match event {
        Some(ConnectionEvent::Blocked(reason)) => {
            warn!(reason, "publishers are blocked by the broker; replies wait");
        }
        Some(ConnectionEvent::Unblocked) => info!("publishers may go on"),
        Some(ConnectionEvent::Failed(error)) => {
            // That closes a channel only; whoever uses the channel hears of it, too.
            if !is_refusal(&error) {
                return Err(error);
            }
        }
        None => return Err(anyhow!("the connection is closed")),
    }
    Ok(())
}

fn tell_systemd() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
        warn!(%error, "cannot tell systemd that we live");
    }
}
