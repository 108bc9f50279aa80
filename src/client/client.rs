//! A connection to the broker for one command, and queues of our own on it. Knows several URLs and
//! tries them in turn; does not know what the messages mean.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use lapin::options::BasicAckOptions;
use lapin::{Acker, Consumer};

use broker::{Broker, Publisher, Routing, Url};
use protocol::RoutingKey;

pub struct Client {
    urls: Vec<Url>,
    broker: Broker,
    publisher: Publisher,
}

impl Client {
    /// Connects to the first of `urls` that lets us.
    pub async fn connect(urls: Vec<Url>) -> Result<Self> {
        let (broker, publisher) = open(&urls).await?;
        Ok(Self {
            urls,
            broker,
            publisher,
        })
    }

    /// Throws the connection away, and with it every queue, and makes a new one.
    pub async fn reconnect(&mut self) -> Result<()> {
        (self.broker, self.publisher) = open(&self.urls).await?;
        Ok(())
    }

    /// A new queue for what is published with `keys` from now on.
    pub async fn listen(&self, keys: &[String]) -> Result<Inbox> {
        let queue = format!("ur.client.{}", uuid::Uuid::new_v4());
        Ok(Inbox {
            consumer: self.broker.listen(&queue, keys).await?,
            unacked: None,
        })
    }

    /// Publishes, and says whether anybody listens to that key.
    pub async fn send(&self, key: &RoutingKey, body: &[u8]) -> Result<Routing> {
        let receipt = self.publisher.publish(&key.to_string(), body).await?;
        receipt.routing().await
    }

    /// For publishing many messages at a time.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Our address on the network of the broker.
    pub fn address(&self) -> IpAddr {
        self.broker.local_address
    }

    /// Says goodbye. Whether it is heard changes nothing: all that was to be known is known.
    pub async fn close(self) {
        drop(self.broker.close().await);
    }
}

async fn open(urls: &[Url]) -> Result<(Broker, Publisher)> {
    let mut failures = Vec::new();
    for url in urls {
        match Broker::connect(url, "ur").await {
            Ok(broker) => {
                let publisher = broker.publisher().await?;
                return Ok((broker, publisher));
            }
            Err(error) => failures.push(told(&error)),
        }
    }
    bail!("{}", failures.join("; "))
}

/// An error and its causes as one text. lapin's errors have their cause in their own text and name
/// it as a cause besides.
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// A message that came, its meaning still unread.
pub struct Letter {
    pub key: String,
    pub body: Vec<u8>,
}

/// A queue of our own.
pub struct Inbox {
    consumer: Consumer,
    unacked: Option<Acker>,
}

impl Inbox {
    /// The next message; fails when the connection has ended. Nothing is lost when a `select!`
    /// drops this future: a message is acknowledged by the call after the one that returned it.
    pub async fn next(&mut self) -> Result<Letter> {
        if let Some(acker) = &self.unacked {
            acker.ack(BasicAckOptions::default()).await?;
            self.unacked = None;
        }
        let delivery = self.consumer.next().await;
        let delivery = delivery.context("the broker ended our queue")??;
        self.unacked = Some(delivery.acker);
        Ok(Letter {
            key: delivery.routing_key.to_string(),
            body: delivery.data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_told_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = anyhow::Error::from(lapin::Error::from(refused)).context("connecting");
        assert_eq!(told(&error), "connecting: IO error: connection refused");
        assert_eq!(told(&anyhow!("b").context("a")), "a: b");
    }
}
