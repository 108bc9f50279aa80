//! The publishing half of a session: a task that hands messages to the broker and waits for its
//! word on each. A reply counts as given when the broker has confirmed it, and not before.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::Acker;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::broker::{Broker, Publisher, Routing, message_limit};
use crate::job::Job;
use crate::protocol::reply_key;

use super::reply::{self, MAX_BODY};

/// Messages that wait for their confirm at a time.
const UNCONFIRMED: usize = 256;
const QUEUE: usize = 256;

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
    node: crate::protocol::NodeId,
    broker: Broker,
    publisher: Publisher,
    unconfirmed: FuturesUnordered<Confirm>,
    /// Shrinks when the broker says that it takes less.
    max_body: usize,
    again: Vec<Job>,
    sent: mpsc::Sender<Sent>,
}

/// Starts the task. It ends when the session drops its [`Outbox`], or the connection breaks.
pub(super) async fn open(broker: Broker, node: crate::protocol::NodeId) -> Result<Outbox> {
    let publisher = broker.publisher().await?;
    let (to, from) = mpsc::channel(QUEUE);
    let (report, sent) = mpsc::channel(QUEUE);
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
                acker
                    .ack(lapin::options::BasicAckOptions::default())
                    .await?;
                return Ok(());
            }
            Outgoing::Event { key, body } => (Message::Event, key, body),
            Outgoing::Startup { key, body } => (Message::Startup, key, body),
            Outgoing::Reply(job) => match reply::of(&job, self.max_body) {
                Ok(body) => {
                    let key = reply_key(&self.node, job.id.as_str()).to_string();
                    (Message::Reply(job), key, body)
                }
                Err(error) => {
                    error!(request = %job.id, error = format!("{error:#}"), "cannot read a job");
                    return Ok(());
                }
            },
        };
        match self.publisher.publish(&key, &body).await {
            Ok(receipt) => {
                let confirm = async move { (message, receipt.routing().await) };
                self.unconfirmed.push(Box::pin(confirm));
                Ok(())
            }
            Err(error) => self.confirmed(message, Err(error)).await,
        }
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
                if routing == Routing::Taken {
                    job.mark_replied()?;
                }
                Sent::Reply(job, routing)
            }
        };
        self.sent.send(report).await.context("reporting")
    }

    /// A message that is too long for the broker closes the channel, and what else was on it has to
    /// go again. Anything else ends the session.
    async fn refused(&mut self, message: Message, error: anyhow::Error) -> Result<()> {
        let Some(limit) = message_limit(&error) else {
            return Err(error);
        };
        if limit < self.max_body {
            warn!(limit, "the broker takes shorter messages only");
            self.max_body = limit;
            self.publisher = self.broker.publisher().await?;
        }
        if let Message::Reply(job) = message {
            self.again.push(job);
        }
        Ok(())
    }
}
