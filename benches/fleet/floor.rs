//! The floor: a bare client that publishes and consumes what `ur` does, knows how many answers there will
//! be, and looks into none of them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use broker::{Broker, Publisher, Receipt, Subscription, Url};
use futures_util::future::try_join;
use protocol::{Ping, Request, RequestId};

use crate::fake_nodes::uuid;

const PATIENCE: Duration = Duration::from_secs(120);
/// Messages between two looks at what came.
const BATCH: usize = 64;

/// A connection of its own for each measurement, as each `ur` makes one.
struct Client {
    publisher: Publisher,
    subscription: Subscription,
    broker: Broker,
}

impl Client {
    async fn connect(url: &Url, keys: &[String]) -> Result<Self> {
        let broker = Broker::connect(url, "floor").await?;
        let queue = format!("ur.client.{}", RequestId::random());
        Ok(Self {
            publisher: broker.publisher().await?,
            subscription: broker.subscribe(&queue, keys).await?,
            broker,
        })
    }

    /// Publishes `body` to each key, and returns when so many answers came whose key begins so.
    async fn exchange(
        &mut self,
        keys: &[String],
        body: &[u8],
        wanted: (&str, usize),
    ) -> Result<()> {
        let publisher = &self.publisher;
        let publish = async move {
            let mut receipts: Vec<Receipt> = Vec::new();
            for keys in keys.chunks(BATCH) {
                for key in keys {
                    receipts.push(publisher.publish(key, body.to_vec()).await?);
                }
                tokio::task::yield_now().await;
            }
            for receipt in receipts {
                receipt.routing().await?;
            }
            Ok(())
        };
        let consume = consume(&mut self.subscription, wanted);
        try_join(publish, consume).await.map(|_| ())
    }
}

async fn consume(
    subscription: &mut Subscription,
    (prefix, mut missing): (&str, usize),
) -> Result<()> {
    while missing > 0 {
        let next = tokio::time::timeout(PATIENCE, subscription.receive()).await;
        let delivery = next.with_context(|| format!("{missing} answers did not come"))??;
        missing -= usize::from(delivery.routing_key.starts_with(prefix));
    }
    Ok(())
}

/// Broadcasts, and takes the sysinfo of `nodes`. Seconds, the connection included.
pub(crate) async fn discover(url: &Url, nodes: usize) -> Result<f64> {
    let started = Instant::now();
    let request = RequestId::random();
    let answers = format!("ur.execute-reply.*.{request}");
    let mut client = Client::connect(url, &[answers]).await?;
    let question = format!("ur.broadcast.sysinfo.{request}");
    client
        .exchange(&[question], b"{}", ("ur.execute-reply.", nodes))
        .await?;
    let took = started.elapsed().as_secs_f64();
    client.broker.close().await?;
    Ok(took)
}

/// Sends a request to each of `nodes`, and takes what they say of it. When the last reply came.
pub(crate) async fn execute(url: &Url, nodes: usize) -> Result<f64> {
    let request = RequestId::random();
    let answers = [
        format!("ur.execute-reply.*.{request}"),
        format!("ur.execute-progress.*.{request}"),
    ];
    let mut client = Client::connect(url, &answers).await?;
    let keys: Vec<String> = (0..nodes)
        .map(|i| format!("ur.execute.{}.{request}", uuid(i)))
        .collect();
    let body = Request::script("hostname").encode();
    client
        .exchange(&keys, &body, ("ur.execute-reply.", nodes))
        .await?;
    let ended = now()?;
    client.broker.close().await?;
    Ok(ended)
}

/// Pings each of `nodes`. When the last ack came.
pub(crate) async fn ping(url: &Url, nodes: usize) -> Result<f64> {
    let client_id = format!("{:08x}", fastrand::u32(..));
    let prefix = format!("ur.ack{client_id}.");
    let mut client = Client::connect(url, &[format!("{prefix}*")]).await?;
    let keys: Vec<String> = (0..nodes).map(|i| format!("ur.ping.{}", uuid(i))).collect();
    let id = serde_json::Value::from(1);
    let body = serde_json::to_vec(&Ping { client_id, id })?;
    client.exchange(&keys, &body, (&prefix, nodes)).await?;
    let ended = now()?;
    client.broker.close().await?;
    Ok(ended)
}

/// Seconds since 1970: the fake nodes are another process.
pub(crate) fn now() -> Result<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(now.as_secs_f64())
}
