//! The publishing half of a session: a task that hands messages to the broker and waits for the confirm
//! of each. A reply counts as delivered when the broker has confirmed it, and not before.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{info, warn};

use broker::{Acker, Broker, Publisher, Receipt, Routing, is_refusal, message_limit};
use job::Job;
use protocol::{NodeId, reply_key};

use super::reply::{MAX_BODY, OwedReply};

/// Messages that wait for their confirm at a time.
const MAX_UNCONFIRMED: usize = 256;
/// What is handed over cannot be overtaken any more, so it is little.
const QUEUE: usize = 4;
/// Results that the loop has not taken yet.
const RESULTS: usize = 256;

#[derive(Debug)]
pub(super) enum Outgoing {
    Ack(Acker),
    /// Published once; lost with the connection.
    Notice {
        key: String,
        body: Vec<u8>,
    },
    /// Published until some queue has taken it.
    Startup {
        key: String,
        body: Vec<u8>,
    },
    /// The job, not its bytes: they are read when their turn comes.
    Reply(Box<OwedReply>),
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
    Startup,
    Reply(Job),
}

type Confirm = BoxFuture<'static, (InFlight, Result<Routing>)>;

struct Worker {
    node: NodeId,
    broker: Broker,
    publisher: Publisher,
    unconfirmed: FuturesUnordered<Confirm>,
    /// Shrinks when the broker says that it takes less.
    max_body: usize,
    resend: Vec<Job>,
    sent: mpsc::Sender<Sent>,
}

/// Starts the task. It ends when the session drops its [`Outbox`], or the connection breaks.
pub(super) async fn open(broker: Broker, node: NodeId) -> Result<Outbox> {
    let publisher = broker.publisher().await?;
    let (to, from) = mpsc::channel(QUEUE);
    let (result, sent) = mpsc::channel(RESULTS);
    let worker = Worker {
        node,
        broker,
        publisher,
        unconfirmed: FuturesUnordered::new(),
        max_body: MAX_BODY,
        resend: Vec::new(),
        sent: result,
    };
    tokio::spawn(worker.run(from));
    Ok(Outbox { to, sent })
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
            Outgoing::Notice { key, body } if body.len() > self.max_body => {
                warn!(key, bytes = body.len(), "too long for the broker; left out");
                return Ok(());
            }
            Outgoing::Notice { key, body } => (InFlight::Notice, key, body),
            Outgoing::Startup { key, body } => (InFlight::Startup, key, body),
            Outgoing::Reply(owed) => {
                let key = reply_key(&self.node, owed.job.id.as_str()).to_string();
                let body = owed.body(self.max_body);
                (InFlight::Reply(owed.job), key, body)
            }
        };
        let receipt = self.publish(&key, &body).await?;
        let confirm = async move { (message, receipt.routing().await) };
        self.unconfirmed.push(Box::pin(confirm));
        Ok(())
    }

    async fn publish(&mut self, key: &str, body: &[u8]) -> Result<Receipt> {
        let published = self.publisher.publish(key, body).await;
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
            InFlight::Startup | InFlight::Notice => {}
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
