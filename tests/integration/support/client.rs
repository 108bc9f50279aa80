//! A headnode as a test plays it: raw bodies out, and all that the node says in.

use std::collections::VecDeque;
use std::time::Duration;

use broker::{Broker, Publisher, Routing, Subscription};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use super::PATIENCE;

/// A message that the node sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) key: String,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body that is JSON")
    }
}

/// Plain calls outside, an AMQP connection inside.
pub(crate) struct Client {
    not_taken: VecDeque<Received>,
    deliveries: Subscription,
    publisher: Publisher,
    broker: Broker,
    runtime: Runtime,
}

impl Client {
    /// Listens to everything that the node may say.
    pub(crate) fn connect(url: &str, node: &str) -> Self {
        let keys = [
            format!("ur.*.{node}"),
            format!("ur.sysinfo.{node}.*"),
            format!("ur.execute-reply.{node}.*"),
            format!("ur.execute-progress.{node}.*"),
            format!("ur.execute-output.{node}.*"),
        ];
        Self::listening(url, &keys)
    }

    pub(crate) fn listening(url: &str, keys: &[String]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let url = url.parse().expect("a broker's URL");
        let connected = async {
            let broker = Broker::connect(&url, "ur test").await?;
            let queue = format!("ur.test.{}", uuid::Uuid::new_v4());
            let deliveries = broker.subscribe(&queue, keys).await?;
            let publisher = broker.publisher().await?;
            anyhow::Ok((broker, deliveries, publisher))
        };
        let (broker, deliveries, publisher) = runtime.block_on(connected).expect("a broker");
        Self {
            not_taken: VecDeque::new(),
            deliveries,
            publisher,
            broker,
            runtime,
        }
    }

    /// Listens to something else from now on.
    pub(crate) fn listen(&mut self, key: &str) {
        let queue = format!("ur.test.{}", uuid::Uuid::new_v4());
        let keys = [key.to_owned()];
        let subscribed = self.broker.subscribe(&queue, &keys);
        self.deliveries = self.runtime.block_on(subscribed).expect("a queue");
    }

    /// Asks and listens at once, as urclient does: the question may be answered before the queue is bound.
    pub(crate) fn ask_and_listen(&mut self, (key, body): (&str, &[u8]), answer: &str) {
        let queue = format!("ur.test.{}", uuid::Uuid::new_v4());
        let keys = [answer.to_owned()];
        let asked = self.publisher.publish(key, body.to_vec());
        let both = futures_util::future::try_join(self.broker.subscribe(&queue, &keys), asked);
        (self.deliveries, _) = self
            .runtime
            .block_on(both)
            .expect("an answer of the broker");
    }

    pub(crate) fn publish(&self, key: &str, body: &[u8]) -> Routing {
        let sent = async {
            self.publisher
                .publish(key, body.to_vec())
                .await?
                .routing()
                .await
        };
        self.runtime.block_on(sent).expect("publishing")
    }

    /// The first message that is wanted and was not taken yet.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        match self.take(PATIENCE, wanted) {
            Some(message) => message,
            None => panic!("waited in vain for {what}; there was {:#?}", self.keys()),
        }
    }

    /// The same, for what may never come.
    pub(crate) fn take(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Received) -> bool,
    ) -> Option<Received> {
        if let Some(at) = self.not_taken.iter().position(&wanted) {
            return self.not_taken.remove(at);
        }
        let deadline = Instant::now() + patience;
        loop {
            let message = self.receive(deadline)?;
            if wanted(&message) {
                return Some(message);
            }
            self.not_taken.push_back(message);
        }
    }

    fn receive(&mut self, deadline: Instant) -> Option<Received> {
        let deliveries = &mut self.deliveries;
        let received = async {
            let delivery = timeout_at(deadline, deliveries.next()).await.ok()?;
            let delivery = delivery.expect("the connection stays").expect("a delivery");
            delivery.ack().await.expect("acking");
            Some(Received {
                content_type: delivery.content_type().map(str::to_owned),
                key: delivery.routing_key,
                body: delivery.body,
            })
        };
        self.runtime.block_on(received)
    }

    /// Drops what was received and not taken.
    pub(crate) fn forget(&mut self) {
        self.not_taken.clear();
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.not_taken.iter().map(|message| message.key.as_str());
        keys.collect()
    }
}
