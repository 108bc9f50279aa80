//! Publishing: every message mandatory and confirmed.

use std::time::Duration;

use anyhow::{Result, bail};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use protocol::{CONTENT_TYPE, EXCHANGE, MAX_KEY};

/// What the broker did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At least one queue has it.
    Taken,
    /// No queue is bound to its key: no receiver will ever see it.
    Unroutable,
    /// A queue that it was routed to did not take it (it is full); others may have it.
    Rejected,
}

/// A channel on which every message is confirmed; clones share it.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) channel: Channel,
}

impl Publisher {
    /// Hands a message to the broker, as `mandatory`. Waits while the broker blocks publishers.
    pub async fn publish(&self, key: &str, body: &[u8]) -> Result<Receipt> {
        self.publish_within(key, body, None).await
    }

    /// The same, for a message that the broker throws away if it has not handed it on by then. RabbitMQ
    /// knows no limit above 49 days.
    pub async fn publish_within(
        &self,
        key: &str,
        body: &[u8],
        limit: Option<Duration>,
    ) -> Result<Receipt> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut properties = BasicProperties::default().with_content_type(CONTENT_TYPE.into());
        if let Some(limit) = limit {
            let most = Duration::from_millis(u32::MAX.into());
            let milliseconds = limit.min(most).as_millis().to_string();
            properties = properties.with_expiration(milliseconds.into());
        }
        let confirm = self
            .channel
            .basic_publish(EXCHANGE.into(), short(key)?, options, body, properties)
            .await?;
        Ok(Receipt(confirm))
    }

    /// False once an error has closed the channel: another one has to be made.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }
}

/// A message on its way.
pub struct Receipt(PublisherConfirm);

impl Receipt {
    /// Waits for the broker's confirm.
    pub async fn routing(self) -> Result<Routing> {
        match self.0.await? {
            Confirmation::Ack(None) => Ok(Routing::Taken),
            Confirmation::Ack(Some(_returned)) => Ok(Routing::Unroutable),
            Confirmation::Nack(_) => Ok(Routing::Rejected),
            Confirmation::NotRequested => unreachable!("every publisher asks for confirms"),
        }
    }
}

/// A routing key as AMQP carries it.
pub(crate) fn short(key: &str) -> Result<ShortString> {
    if key.len() > MAX_KEY {
        bail!(
            "the routing key has {} bytes; AMQP allows {MAX_KEY}",
            key.len()
        );
    }
    Ok(key.into())
}
