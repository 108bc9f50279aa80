//! Is the agent of a node alive, and how far away is it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::{Client, Target};
use broker::{Delivery, Routing};
use protocol::{NodeId, Ping, RoutingKey};

/// What a node made of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pong {
    After(Duration),
    NotConnected,
    NoAnswer,
}

/// Pings every target once and waits for all, at most for `wait`; in the order of `targets`.
pub async fn ping(client: &Client, targets: &[Target], wait: Duration) -> Result<Vec<Pong>> {
    let client_id = format!("{:08x}", fastrand::u32(..));
    let acks = RoutingKey::Ack {
        client: client_id.clone(),
        node: "*".to_owned(),
    };
    let mut subscription = client.subscribe(&[acks.to_string()]).await?;
    let (client_id, id) = (client_id, serde_json::Value::from(1));
    let body = serde_json::to_vec(&Ping { client_id, id })?;

    let started = Instant::now();
    let mut leaving: FuturesUnordered<_> = targets
        .iter()
        .enumerate()
        .map(|(i, target)| {
            let node = target.id.to_string();
            let body = &body;
            async move { (i, client.send(&RoutingKey::Ping { node }, body).await) }
        })
        .collect();
    let place: HashMap<&NodeId, usize> = targets.iter().map(|t| &t.id).zip(0..).collect();
    let mut pongs = vec![None; targets.len()];
    while pongs.iter().any(Option::is_none) {
        select! {
            () = sleep_until(started + wait) => break,
            Some((i, routing)) = leaving.next() => if routing? == Routing::Unroutable {
                pongs[i] = Some(Pong::NotConnected);
            },
            delivery = subscription.receive() => {
                let sender = sender(&delivery?);
                if let Some(&i) = sender.and_then(|id| place.get(&id)) {
                    pongs[i].get_or_insert(Pong::After(started.elapsed()));
                }
            }
        }
    }
    Ok(pongs
        .into_iter()
        .map(|pong| pong.unwrap_or(Pong::NoAnswer))
        .collect())
}

fn sender(delivery: &Delivery) -> Option<NodeId> {
    match RoutingKey::parse(&delivery.routing_key) {
        Ok(RoutingKey::Ack { node, .. }) => NodeId::parse(&node).ok(),
        _ => None,
    }
}
