//! Subscribing: an exclusive queue of our own as a stream of deliveries.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use futures_util::future::{try_join_all, try_join4};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use protocol::EXCHANGE;

use crate::gate::Gate;
use crate::publish::short;

/// Deliveries on their way to us at a time, whatever their size; `gate.rs` bounds their bytes. The agent acks each as soon
/// as it is safe on disk.
const PREFETCH: u16 = 256;

/// Messages as they come. Ends when the broker cancels the consumer; after an error nothing follows.
pub struct Subscription {
    consumer: Consumer,
    gate: Gate,
    /// Of the message that [`Subscription::receive`] returned last.
    latest: Option<lapin::Acker>,
    /// How many it has returned since it acked some.
    unacked: u16,
}

/// A message that came, its meaning still unread. The broker keeps it until it is acked, and hands it to
/// the next subscriber if the connection breaks before.
#[derive(Debug)]
pub struct Delivery {
    pub routing_key: String,
    pub body: Vec<u8>,
    pub acker: Acker,
    content_type: Option<ShortString>,
    expiration: Option<ShortString>,
}

/// The right to ack one delivery, once. Clones share it.
#[derive(Clone, Debug)]
pub struct Acker(lapin::Acker);

impl Subscription {
    /// Declares an exclusive queue that dies with the connection, binds it to `keys` and consumes from
    /// it. Returns when every binding is in force.
    ///
    /// The channel is this subscription's own: messages are acked by the number that they have there.
    pub(crate) async fn open(
        (channel, gate): (Channel, Gate),
        queue: &str,
        keys: &[String],
    ) -> Result<Self> {
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declare = async {
            channel
                .queue_declare(queue.into(), options, FieldTable::default())
                .await
                .with_context(|| format!("declaring queue {queue}"))
        };
        let binds = keys.iter().map(async |key| {
            channel
                .queue_bind(
                    queue.into(),
                    EXCHANGE.into(),
                    short(key)?,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .with_context(|| format!("binding {queue} to {key}"))
        });
        let limit = async {
            Ok(channel
                .basic_qos(PREFETCH, BasicQosOptions::default())
                .await?)
        };
        let consume = async {
            channel
                .basic_consume(
                    queue.into(),
                    ShortString::default(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await
                .with_context(|| format!("consuming from {queue}"))
        };
        // All at once and in this order: so the broker obeys, and each of its answers is a round trip away.
        let (_, _, (), consumer) = try_join4(declare, try_join_all(binds), limit, consume).await?;
        Ok(Self {
            consumer,
            gate,
            latest: None,
            unacked: 0,
        })
    }

    /// The next message, for a receiver that keeps nothing on disk; fails when the connection has ended.
    /// Nothing is lost when a `select!` drops this future: messages are acked, many at a time, by a later
    /// call than the one that returned them. But none stays unacked while none comes: RabbitMQ closes the channel of
    /// a consumer that leaves one unacked for half an hour.
    pub async fn receive(&mut self) -> Result<Delivery> {
        if self.unacked >= PREFETCH / 2 {
            self.ack_returned().await?;
        }
        let delivery = match self.next().now_or_never() {
            Some(delivery) => delivery,
            None => {
                self.ack_returned().await?;
                self.next().await
            }
        };
        let delivery = delivery.context("the broker ended our queue")??;
        self.latest = Some(delivery.acker.0.clone());
        self.unacked += 1;
        Ok(delivery)
    }

    async fn ack_returned(&mut self) -> Result<()> {
        if let Some(latest) = &self.latest {
            latest.ack(BasicAckOptions { multiple: true }).await?;
        }
        self.latest = None;
        self.unacked = 0;
        Ok(())
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let next = self.consumer.poll_next_unpin(cx);
        if next.is_pending() {
            self.gate.drained(cx.waker());
        }
        next.map(|item| item.map(|delivery| Ok(Delivery::of(delivery?))))
    }
}

impl Delivery {
    fn of(delivery: lapin::message::Delivery) -> Self {
        Self {
            routing_key: delivery.routing_key.to_string(),
            body: delivery.data,
            acker: Acker(delivery.acker),
            content_type: delivery.properties.content_type().clone(),
            expiration: delivery.properties.expiration().clone(),
        }
    }

    /// A delivery that no broker sent, for tests: [`Acker::is_used`] tells whether it was acked.
    pub fn unacked(routing_key: &str, body: &[u8]) -> Self {
        let (key, exchange) = (routing_key.into(), EXCHANGE.into());
        Self::of(lapin::message::Delivery::mock(
            1,
            exchange,
            key,
            false,
            body.to_vec(),
        ))
    }

    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_ref().map(ShortString::as_str)
    }

    /// Milliseconds, after which the broker would have thrown it away.
    pub fn expiration(&self) -> Option<&str> {
        self.expiration.as_ref().map(ShortString::as_str)
    }

    pub async fn ack(&self) -> Result<()> {
        self.acker.ack().await
    }
}

impl Acker {
    /// Tells the broker that the message is ours now. A second time does nothing.
    pub async fn ack(&self) -> Result<()> {
        self.0.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    /// Whether the message was acked, or cannot be any more.
    pub fn is_used(&self) -> bool {
        !self.0.usable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_delivery_made_for_a_test_remembers_that_it_was_acked() {
        let delivery = Delivery::unacked("ur.execute.n1.r1", b"{}");
        assert_eq!(delivery.body, b"{}");
        let acker = delivery.acker.clone();
        assert!(!acker.is_used());
        delivery.ack().await.unwrap();
        assert!(acker.is_used());
    }
}
