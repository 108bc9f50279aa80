//! The publishing half of a session: a task that hands messages to the broker and waits for the confirm
//! of each. A reply counts as delivered when the broker has confirmed it, and not before. Bodies that may be
//! long are made here, one at a time: what waits is small.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use broker::{Acker, Broker, Publisher, Receipt, Routing, is_refusal, message_limit};
use job::Job;
use protocol::{NodeId, RoutingKey, reply_key};

use super::job_list::Listing;
use super::reply::{self, MAX_BODY, OwedReply};

/// Messages that wait for their confirm at a time.
const MAX_UNCONFIRMED: usize = 256;
/// What is handed over cannot be overtaken any more, so it is little.
const QUEUE: usize = 4;
/// Results that the loop has not taken yet.
const RESULTS: usize = 256;
/// The wait before an answer that no queue took is offered again; it doubles with each offer. Triton's clients ask before their bindings are in force, which takes the broker some milliseconds.
const FIRST_AGAIN: Duration = Duration::from_millis(5);
/// How often: in all for two and a half seconds.
const MAX_OFFERS: u32 = 10;
/// Answers that wait to be offered. With more the latest are given up.
const MAX_LATER: usize = 1000;

#[derive(Debug)]
pub(super) enum Outgoing {
    Ack(Acker),
    /// Published once; lost with the connection.
    Notice {
        key: String,
        body: Vec<u8>,
    },
    /// To a client that may not have its queue bound yet. Lost with the connection, too.
    Answer(ClientAnswer),
    /// The status of a job, read when it is published, and how many jobs wait before it.
    Status(Job, Option<usize>),
    /// The list of jobs, made when it is published.
    Jobs(Listing),
    /// Published until some queue has taken it.
    Startup {
        key: String,
        body: Vec<u8>,
    },
    /// The job, not its bytes: they are read when their turn comes.
    Reply(Box<OwedReply>),
}

/// A body that answers a broadcast, a ping or a bad request. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ClientAnswer {
    pub key: String,
    pub body: Arc<[u8]>,
    pub not_before: Option<Instant>,
    /// How often no queue took it.
    offers: u32,
}

impl ClientAnswer {
    pub(super) fn new(key: String, body: impl Into<Arc<[u8]>>) -> Self {
        Self {
            key,
            body: body.into(),
            not_before: None,
            offers: 0,
        }
    }

    /// The same, to be offered once more; not for ever.
    fn again(mut self) -> Option<Self> {
        let delay = FIRST_AGAIN * 2_u32.pow(self.offers);
        self.offers += 1;
        self.not_before = Some(Instant::now() + delay);
        (self.offers < MAX_OFFERS).then_some(self)
    }
}

/// What the broker did with a message that must not be lost.
#[derive(Debug)]
pub(super) enum Sent {
    Reply(Job, Routing),
    Startup(Routing),
}

pub(super) struct Outbox {
    pub to: mpsc::Sender<Outgoing>,
    pub sent: mpsc::Receiver<Sent>,
}

/// A message that waits for its confirm.
enum InFlight {
    Notice,
    Answer(ClientAnswer),
    Startup,
    Reply(Job),
}

#[derive(Clone)]
enum Body {
    Own(Arc<Vec<u8>>),
    Shared(Arc<[u8]>),
}

impl Body {
    fn own(bytes: Vec<u8>) -> Self {
        Self::Own(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

type Confirm = BoxFuture<'static, (InFlight, Result<Routing>)>;
type Later = BoxFuture<'static, ClientAnswer>;

struct Worker {
    node: NodeId,
    broker: Broker,
    publisher: Publisher,
    unconfirmed: FuturesUnordered<Confirm>,
    /// Answers whose time has not come.
    later: FuturesUnordered<Later>,
    /// Shrinks when the broker says that it takes less.
    max_body: usize,
    resend: Vec<Job>,
    sent: mpsc::Sender<Sent>,
}

/// Starts the task. It ends when the session drops its [`Outbox`], or the connection breaks.
pub(super) fn open(broker: Broker, publisher: Publisher, node: NodeId) -> Outbox {
    let (to, from) = mpsc::channel(QUEUE);
    let (result, sent) = mpsc::channel(RESULTS);
    let worker = Worker {
        node,
        broker,
        publisher,
        unconfirmed: FuturesUnordered::new(),
        later: FuturesUnordered::new(),
        max_body: MAX_BODY,
        resend: Vec::new(),
        sent: result,
    };
    tokio::spawn(worker.run(from));
    Outbox { to, sent }
}

impl Worker {
    async fn run(mut self, mut from: mpsc::Receiver<Outgoing>) {
        if let Err(error) = self.work(&mut from).await {
            warn!(error = format!("{error:#}"), "publishing stopped");
        }
        if let Err(error) = self.broker.close().await {
            let error = format!("{error:#}");
            info!(error, "the connection broke before it was closed");
        }
    }

    async fn work(&mut self, from: &mut mpsc::Receiver<Outgoing>) -> Result<()> {
        loop {
            while let Some(job) = self.resend.pop() {
                self.send(Outgoing::Reply(Box::new(job.into()))).await?;
            }
            let room = self.unconfirmed.len() < MAX_UNCONFIRMED;
            tokio::select! {
                Some((message, confirmed)) = self.unconfirmed.next() => {
                    self.confirmed(message, confirmed).await?;
                }
                Some(answer) = self.later.next(), if room => {
                    self.send(Outgoing::Answer(answer)).await?;
                }
                outgoing = from.recv(), if room => match outgoing {
                    Some(outgoing) => self.send(outgoing).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        let (message, key, body) = match outgoing {
            Outgoing::Ack(acker) => return acker.ack().await,
            Outgoing::Answer(answer) if answer.not_before.is_some_and(|at| at > Instant::now()) => {
                self.put_off(answer);
                return Ok(());
            }
            Outgoing::Answer(answer) => {
                let (key, body) = (answer.key.clone(), Body::Shared(Arc::clone(&answer.body)));
                (InFlight::Answer(answer), key, body)
            }
            Outgoing::Notice { key, body } => (InFlight::Notice, key, Body::own(body)),
            Outgoing::Startup { key, body } => (InFlight::Startup, key, Body::own(body)),
            Outgoing::Status(job, before) => {
                let key = RoutingKey::Progress {
                    node: self.node.to_string(),
                    request: job.id.to_string(),
                };
                let body = serde_json::to_vec(&reply::status(&job, before))
                    .context("encoding a status")?;
                (InFlight::Notice, key.to_string(), Body::own(body))
            }
            Outgoing::Jobs(listing) => {
                let key = listing.key.to_string();
                (InFlight::Notice, key, Body::own(listing.body()))
            }
            Outgoing::Reply(owed) => {
                let key = reply_key(&self.node, owed.job.id.as_str()).to_string();
                let body = owed.body(self.max_body);
                (InFlight::Reply(owed.job), key, Body::own(body))
            }
        };
        let bytes = body.as_ref().len();
        if bytes > self.max_body && !matches!(message, InFlight::Reply(_)) {
            warn!(key, bytes, "too long for the broker; left out");
            return Ok(());
        }
        let receipt = self.publish(&key, body).await?;
        let confirm = async move { (message, receipt.routing().await) };
        self.unconfirmed.push(Box::pin(confirm));
        Ok(())
    }

    fn put_off(&mut self, answer: ClientAnswer) {
        if self.later.len() < MAX_LATER {
            self.later.push(Box::pin(async move {
                if let Some(at) = answer.not_before {
                    sleep_until(at).await;
                }
                answer
            }));
        }
    }

    async fn publish(&mut self, key: &str, body: Body) -> Result<Receipt> {
        let published = self.publisher.publish(key, body.clone()).await;
        if published.is_ok() || self.publisher.is_open() {
            return published;
        }
        // The broker has refused an earlier message, and its confirm will tell us so.
        self.publisher = self.broker.publisher().await?;
        self.publisher.publish(key, body).await
    }

    async fn confirmed(&mut self, message: InFlight, confirmed: Result<Routing>) -> Result<()> {
        let routing = match confirmed {
            Ok(routing) => routing,
            Err(error) => return self.refused(message, error).await,
        };
        let sent = match message {
            InFlight::Notice => return Ok(()),
            InFlight::Answer(answer) => {
                if routing == Routing::Unroutable
                    && let Some(again) = answer.again()
                {
                    self.put_off(again);
                }
                return Ok(());
            }
            InFlight::Startup => Sent::Startup(routing),
            InFlight::Reply(job) => {
                if routing == Routing::Taken {
                    mark_replied(&job);
                }
                Sent::Reply(job, routing)
            }
        };
        self.report(sent).await
    }

    /// What the broker does not take (too long, not permitted) closes the channel, and what else was
    /// on it has to go again; the session goes on. Any other error ends it.
    async fn refused(&mut self, message: InFlight, error: anyhow::Error) -> Result<()> {
        if !is_refusal(&error) {
            return Err(error);
        }
        warn!(error = format!("{error:#}"), "the broker refused a message");
        let limit = message_limit(&error);
        self.max_body = limit.unwrap_or(usize::MAX).min(self.max_body);
        if !self.publisher.is_open() {
            self.publisher = self.broker.publisher().await?;
        }
        match message {
            InFlight::Reply(job) if limit.is_some() => self.resend.push(job),
            InFlight::Reply(job) => self.report(Sent::Reply(job, Routing::Unroutable)).await?,
            InFlight::Startup | InFlight::Notice | InFlight::Answer(_) => {}
        }
        Ok(())
    }

    async fn report(&mut self, sent: Sent) -> Result<()> {
        self.sent.send(sent).await.context("reporting")
    }
}

fn mark_replied(job: &Job) {
    if let Err(error) = job.mark_replied() {
        let error = format!("{error:#}");
        warn!(request = %job.id, error, "cannot record that the reply was taken; it may be sent again");
    }
}
