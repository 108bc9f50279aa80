//! A client that wants certainty, as docs/protocol.md describes it: it sends a request until it is
//! known to be accepted, asks what became of it until it is answered, and outlives its broker.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::{Broker, Delivery, Publisher, Routing, Subscription, Url};
use fastrand::Rng;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use protocol::{Progress, RoutingKey};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::clock::{Clock, SETTLE, between};
use super::node::Node;
use super::request::{Kind, Request};

/// Beyond this many open requests no new ones are made.
const MAX_OPEN: usize = 200;
/// Messages on their way to the broker at a time: a broker that blocks publishers keeps them all.
const MAX_ON_THE_WAY: usize = 200;

/// What the sender needs to know of a node.
struct Address {
    name: String,
    evidence: PathBuf,
    agents: Arc<AtomicU32>,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) twice_at_once: u32,
    pub(crate) ten_times_at_once: u32,
    pub(crate) again_after_end: u32,
    pub(crate) again_after_restart: u32,
    pub(crate) status: u32,
    pub(crate) cancel: u32,
    pub(crate) unroutable: u32,
    pub(crate) sessions: u32,
    /// From the last fault to the last answer.
    pub(crate) seconds_to_settle: u32,
}

pub(crate) struct Sender {
    url: String,
    nodes: Vec<Address>,
    rng: Rng,
    pub(crate) requests: Vec<Request>,
    by_id: HashMap<String, usize>,
    next_new: Instant,
    /// From when to when, for each connection.
    listened: Vec<(Timestamp, Timestamp)>,
    pub(crate) tally: Tally,
}

struct Client {
    deliveries: Subscription,
    publisher: Publisher,
    _broker: Broker,
}

struct Outgoing {
    key: String,
    body: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(url: &str, nodes: &[Node], rng: Rng) -> Self {
        let address = |node: &Node| Address {
            name: node.name.clone(),
            evidence: node.evidence(),
            agents: Arc::clone(&node.agents),
        };
        Self {
            url: url.to_owned(),
            nodes: nodes.iter().map(address).collect(),
            rng,
            requests: Vec::new(),
            by_id: HashMap::new(),
            next_new: Instant::now(),
            listened: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Returns when the faults are over and everything is answered, or should have been.
    pub(crate) fn run(mut self, clock: &Clock) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .context("starting the sender's runtime")?
            .block_on(async {
                while !self.is_over(clock) {
                    // A broker that is away is the campaign's doing.
                    if let Ok(Ok(client)) = timeout(Duration::from_secs(10), self.connect()).await {
                        self.tally.sessions += 1;
                        self.listened.push((Timestamp::now(), Timestamp::now()));
                        self.session(client, clock).await;
                    }
                    sleep(Duration::from_millis(200)).await;
                }
            });
        let fair_for = clock.fair_for().unwrap_or_default();
        self.tally.seconds_to_settle = fair_for.as_secs().try_into().unwrap_or(u32::MAX);
        Ok(self)
    }

    async fn connect(&self) -> Result<Client> {
        let url: Url = self.url.parse()?;
        let broker = Broker::connect(&url, "ur chaos").await?;
        let keys = [
            "ur.execute-reply.*.*".to_owned(),
            "ur.execute-progress.*.*".to_owned(),
        ];
        let queue = format!("ur.chaos.{}", uuid::Uuid::new_v4());
        Ok(Client {
            deliveries: broker.subscribe(&queue, &keys).await?,
            publisher: broker.publisher().await?,
            _broker: broker,
        })
    }

    /// Until the connection breaks or the campaign is over.
    async fn session(&mut self, mut client: Client, clock: &Clock) {
        let mut tick = interval(Duration::from_millis(50));
        let mut on_the_way = JoinSet::new();
        while !self.is_over(clock) {
            tokio::select! {
                delivery = client.deliveries.next() => match delivery {
                    Some(Ok(delivery)) => {
                        if delivery.ack().await.is_err() {
                            return;
                        }
                        self.received(delivery);
                    }
                    _ => return,
                },
                Some(sent) = on_the_way.join_next() => match sent {
                    Ok(Ok(Routing::Taken)) => {}
                    Ok(Ok(Routing::Unroutable)) => self.tally.unroutable += 1,
                    _ => return,
                },
                _ = tick.tick() => {
                    if let Some((_, until)) = self.listened.last_mut() {
                        *until = Timestamp::now();
                    }
                    if on_the_way.len() < MAX_ON_THE_WAY {
                        for Outgoing { key, body } in self.due(clock) {
                            let publisher = client.publisher.clone();
                            on_the_way.spawn(async move { publisher.publish(&key, body).await?.routing().await });
                        }
                    }
                }
            }
        }
    }

    fn is_over(&self, clock: &Clock) -> bool {
        let is_done = |request: &Request| !request.is_open() && request.late_copies == 0;
        clock
            .fair_for()
            .is_some_and(|time| time > SETTLE || self.requests.iter().all(is_done))
    }

    fn received(&mut self, delivery: Delivery) {
        let key = RoutingKey::parse(&delivery.routing_key);
        let (id, is_reply) = match &key {
            Ok(RoutingKey::ExecuteReply { request, .. }) => (request, true),
            Ok(RoutingKey::Progress { request, .. }) => (request, false),
            _ => return,
        };
        let Some(at) = self.by_id.get(id).copied() else {
            return;
        };
        let lost = !is_reply && self.was_to_be_heard(&delivery.body);
        let request = &mut self.requests[at];
        if is_reply {
            let agents = self.nodes[request.node].agents.load(Ordering::Relaxed);
            let late = between(&mut self.rng, Duration::ZERO, Duration::from_secs(20));
            request.reply_came(delivery.body, agents, late);
        } else {
            request.accepted.get_or_insert(self.tally.sessions);
            request.is_lost |= lost && request.is_open();
        }
    }

    /// Whether a progress message says that the reply was taken while we listened, and went on
    /// listening for long enough to have it.
    fn was_to_be_heard(&self, progress: &[u8]) -> bool {
        let replied_at = serde_json::from_slice(progress)
            .ok()
            .and_then(|progress: Progress| progress.replied_at);
        replied_at.is_some_and(|when| {
            let heard = |(since, until): &(Timestamp, Timestamp)| {
                *since < when && until.duration_since(when) > SignedDuration::from_secs(5)
            };
            self.listened.iter().any(heard)
        })
    }

    /// What is to be sent now: new requests, and whatever an old one needs.
    fn due(&mut self, clock: &Clock) -> Vec<Outgoing> {
        let now = Instant::now();
        let mut due = Vec::new();
        if clock.is_foul() && now >= self.next_new {
            due.extend(self.new_requests());
        }
        for at in 0..self.requests.len() {
            if now >= self.requests[at].next {
                due.extend(self.look_after(at));
            }
        }
        due
    }

    fn new_requests(&mut self) -> Vec<Outgoing> {
        self.next_new = Instant::now()
            + between(
                &mut self.rng,
                Duration::from_millis(20),
                Duration::from_millis(250),
            );
        let open = self
            .requests
            .iter()
            .filter(|request| request.is_open())
            .count();
        if open >= MAX_OPEN {
            return Vec::new();
        }
        let how_many = if self.rng.u32(..40) == 0 { 20 } else { 1 };
        (0..how_many).flat_map(|_| self.new_request()).collect()
    }

    fn new_request(&mut self) -> Vec<Outgoing> {
        let (at, node) = (self.requests.len(), self.rng.usize(..self.nodes.len()));
        let mut request = Request::new(at, node, &self.nodes[node].evidence, &mut self.rng);
        request.next = Instant::now() + Duration::from_secs(2);
        request.agents_first = self.nodes[node].agents.load(Ordering::Relaxed);
        self.by_id.insert(request.id.clone(), at);
        self.requests.push(request);
        let copies = match self.rng.u32(..100) {
            0..8 => {
                self.tally.twice_at_once += 1;
                2
            }
            8..11 => {
                self.tally.ten_times_at_once += 1;
                10
            }
            _ => 1,
        };
        (0..copies).map(|_| self.copy(at)).collect()
    }

    fn look_after(&mut self, at: usize) -> Option<Outgoing> {
        let Request {
            accepted,
            patient,
            answered,
            late_copies,
            kind,
            agents_then,
            node,
            ..
        } = self.requests[at];
        let next = |seconds| Instant::now() + Duration::from_secs(seconds);
        if answered.is_some() {
            if late_copies == 0 {
                return None;
            }
            self.requests[at].late_copies -= 1;
            match self.nodes[node].agents.load(Ordering::Relaxed) == agents_then {
                true => self.tally.again_after_end += 1,
                false => self.tally.again_after_restart += 1,
            }
            return Some(self.copy(at));
        }
        let Some(session) = accepted else {
            self.requests[at].next = next(2);
            return Some(self.copy(at));
        };
        self.requests[at].next = next(3);
        if patient && session == self.tally.sessions && kind != Kind::Cancelled {
            return None;
        }
        match self.rng.u32(..3) {
            0 if kind != Kind::Cancelled => Some(self.copy(at)),
            1 if kind != Kind::Cancelled => {
                self.tally.status += 1;
                Some(self.message(at, "execute", br#"{"type":"status"}"#))
            }
            _ if kind == Kind::Cancelled => {
                self.tally.cancel += 1;
                Some(self.message(at, "cancel", b"{}"))
            }
            _ => None,
        }
    }

    fn copy(&mut self, at: usize) -> Outgoing {
        self.requests[at].copies += 1;
        let body = self.requests[at].body.clone();
        self.message(at, "execute", &body)
    }

    fn message(&self, at: usize, kind: &str, body: &[u8]) -> Outgoing {
        let request = &self.requests[at];
        let node = &self.nodes[request.node].name;
        Outgoing {
            key: format!("ur.{kind}.{node}.{}", request.id),
            body: body.to_vec(),
        }
    }
}
