//! A connection to the broker for one command, and queues of our own on it. Knows several URLs and
//! tries them in turn; does not know what the messages mean.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::RememberedNodes;
use super::expected_nodes::ExpectedNodes;
use broker::{Broker, Publisher, Routing, Subscription, Url, error_chain};
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
    pub async fn subscribe(&self, keys: &[String]) -> Result<Subscription> {
        let queue = format!("ur.client.{}", uuid::Uuid::new_v4());
        self.broker.subscribe(&queue, keys).await
    }

    /// Publishes, and says whether a queue is bound to that key.
    pub async fn send(
        &self,
        key: &RoutingKey,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Routing> {
        let receipt = self.publisher.publish(&key.to_string(), body).await?;
        receipt.routing().await
    }

    /// For publishing many messages at a time.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Those that answered the last time.
    pub(super) fn expected_nodes(&self) -> ExpectedNodes {
        ExpectedNodes::of(&self.urls)
    }

    /// What is remembered of its nodes.
    pub fn remembered_nodes(&self) -> RememberedNodes {
        RememberedNodes::of(&self.urls)
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

/// The first of `urls` that lets us.
async fn open(urls: &[Url]) -> Result<(Broker, Publisher)> {
    let mut failures = Vec::new();
    for url in urls {
        match Broker::connect(url, "ur").await {
            Ok(broker) => {
                let publisher = broker.publisher().await?;
                return Ok((broker, publisher));
            }
            Err(error) => failures.push(error_chain(&error)),
        }
    }
    bail!("{}", failures.join("; "))
}
