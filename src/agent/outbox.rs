//! The publishing half of a session: a task that hands messages to the broker and waits for its
//! word on each. A reply counts as given when the broker has confirmed it, and not before.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use broker::{Acker, Broker, Publisher, Receipt, Routing, is_refusal, message_limit};
use job::Job;
use protocol::reply_key;

use super::reply::{self, MAX_BODY};

/// Messages that wait for their confirm at a time.
const UNCONFIRMED: usize = 256;
/// What is handed over cannot be overtaken any more, so it is little.
const QUEUE: usize = 4;
/// What became of messages, and nobody has looked at yet.
const REPORTS: usize = 256;

pub(super) enum Outgoing {
    Ack(Acker),
    /// Said once; lost with the connection.
    Event {
        key: String,
        body: Vec<u8>,
    },
    /// Said until somebody has heard it.
    Startup {
        key: String,
        body: Vec<u8>,
    },
    /// The job, not its bytes: they are read when their turn comes.
    Reply(Job),
}

/// What became of something that mattered.
pub(super) enum Sent {
    Reply(Job, Routing),
    Startup(Routing),
}

pub(super) struct Outbox {
    pub to: mpsc::Sender<Outgoing>,
    pub sent: mpsc::Receiver<Sent>,
}

enum Message {
    Event,
    Startup,
    Reply(Job),
}

type Confirm = BoxFuture<'static, (Message, Result<Routing>)>;

struct Worker {
    node: protocol::NodeId,
    broker: Broker,
    publisher: Publisher,
    unconfirmed: FuturesUnordered<Confirm>,
    /// Shrinks when the broker says that it takes less.
    max_body: usize,
    again: Vec<Job>,
    sent: mpsc::Sender<Sent>,
}

/// Starts the task. It ends when the session drops its [`Outbox`], or the connection breaks.
pub(super) async fn open(broker: Broker, node: protocol::NodeId) -> Result<Outbox> {
    let publisher = broker.publisher().await?;
    let (to, from) = mpsc::channel(QUEUE);
    let (report, sent) = mpsc::channel(REPORTS);
    let worker = Worker {
        node,
        broker,
        publisher,
        unconfirmed: FuturesUnordered::new(),
        max_body: MAX_BODY,
        again: Vec::new(),
        sent: report,
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
            info!(
                error = format!("{error:#}"),
                "the connection was gone before its end"
            );
        }
    }

    async fn work(&mut self, from: &mut mpsc::Receiver<Outgoing>) -> Result<()> {
        loop {
            while let Some(job) = self.again.pop() {
                self.send(Outgoing::Reply(job)).await?;
            }
            let room = self.unconfirmed.len() < UNCONFIRMED;
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
            Outgoing::Ack(acker) => {
                acker.ack().await?;
                return Ok(());
            }
            Outgoing::Event { key, body } => (Message::Event, key, body),
            Outgoing::Startup { key, body } => (Message::Startup, key, body),
            Outgoing::Reply(job) => {
                let key = reply_key(&self.node, job.id.as_str()).to_string();
                let body = reply::of(&job, self.max_body).unwrap_or_else(|error| {
                    error!(request = %job.id, error = format!("{error:#}"), "cannot read a job");
                    reply::unreadable(&error)
                });
                (Message::Reply(job), key, body)
            }
        };
        if body.len() > self.max_body && matches!(message, Message::Event) {
            warn!(key, bytes = body.len(), "too long for the broker; left out");
            return Ok(());
        }
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

    async fn confirmed(&mut self, message: Message, confirmed: Result<Routing>) -> Result<()> {
        let routing = match confirmed {
            Ok(routing) => routing,
            Err(error) => return self.refused(message, error).await,
        };
        let report = match message {
            Message::Event => return Ok(()),
            Message::Startup => Sent::Startup(routing),
            Message::Reply(job) => {
                if routing == Routing::Taken
                    && let Err(error) = job.mark_replied()
                {
                    warn!(request = %job.id, error = format!("{error:#}"), "replied, and may do so again");
                }
                Sent::Reply(job, routing)
            }
        };
        self.report(report).await
    }

    /// What the broker does not take (too long, not permitted) closes the channel, and what else was
    /// on it has to go again; the session goes on. Any other error ends it.
    async fn refused(&mut self, message: Message, error: anyhow::Error) -> Result<()> {
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
            Message::Reply(job) if limit.is_some() => self.again.push(job),
            Message::Reply(job) => self.report(Sent::Reply(job, Routing::Unroutable)).await?,
            Message::Startup | Message::Event => {}
        }
        Ok(())
    }

    async fn report(&mut self, sent: Sent) -> Result<()> {
        self.sent.send(sent).await.context("reporting")
    }
}
