//! The sender of the measured requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::{Broker, Publisher, Subscription, Url};
use futures_util::StreamExt;
use protocol::Request;

use super::node::Node;
use super::{SCRIPT, Times, sorted};

pub(crate) struct Client {
    broker: Broker,
    publisher: Publisher,
    replies: Subscription,
}

pub(crate) struct Run {
    pub(crate) times: Times,
    pub(crate) per_second: f64,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let url: Url = url.parse()?;
        let broker = Broker::connect(&url, "bench").await?;
        let keys = ["ur.execute-reply.*.*", "ur.startup.*", "bench.*"].map(str::to_owned);
        let replies = broker.subscribe("ur.client.bench", &keys).await?;
        Ok(Self {
            publisher: broker.publisher().await?,
            broker,
            replies,
        })
    }

    /// Publish, deliver to an echo consumer, publish again, deliver to us: what a request and its
    /// reply cost the broker.
    pub(crate) async fn round_trips(&mut self, count: usize) -> Result<Times> {
        let mut echo = self
            .broker
            .subscribe("ur.client.echo", &["echo.*".to_owned()])
            .await?;
        let answer = self.broker.publisher().await?;
        let echoing = tokio::spawn(async move {
            while let Some(Ok(delivery)) = echo.next().await {
                delivery.ack().await?;
                drop(answer.publish("bench.echo", delivery.body).await?);
            }
            anyhow::Ok(())
        });
        let mut times = Vec::new();
        for _ in 0..count {
            let start = Instant::now();
            let receipt = self.publisher.publish("echo.x", SCRIPT.as_bytes()).await?;
            self.next().await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            receipt.routing().await?;
        }
        echoing.abort();
        Ok(sorted(times))
    }

    pub(crate) async fn startup(&mut self, node: &Node) -> Result<Duration> {
        let wanted = format!("ur.startup.{}", node.uuid);
        while self.next().await? != wanted {}
        Ok(node.started.elapsed())
    }

    /// `total` requests, so many at a time; each reply makes room for the next.
    pub(crate) async fn run(&mut self, node: &Node, total: usize, in_flight: usize) -> Result<Run> {
        let body = Request::script(SCRIPT).encode();
        let mut sent = HashMap::new();
        let (mut times, mut count) = (Vec::new(), 0);
        let begin = Instant::now();
        while times.len() < total {
            while count < total && sent.len() < in_flight {
                let id = protocol::RequestId::random().to_string();
                sent.insert(id.clone(), Instant::now());
                let key = format!("ur.execute.{}.{id}", node.uuid);
                drop(self.publisher.publish(&key, body.clone()).await?);
                count += 1;
            }
            let key = self.next().await?;
            let id = key.rsplit('.').next().unwrap_or_default();
            if let Some(start) = sent.remove(id) {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(Run {
            per_second: total as f64 / begin.elapsed().as_secs_f64(),
            times: sorted(times),
        })
    }

    async fn next(&mut self) -> Result<String> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.replies.next());
        let delivery = next.await.context("nothing came for 30 s")?;
        let delivery = delivery.context("the queue is gone")??;
        delivery.ack().await?;
        Ok(delivery.routing_key)
    }
}
