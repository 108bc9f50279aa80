//! Ping: whether the agents of nodes are alive, and how far away they are.

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

/// Pings that the broker has not confirmed yet.
const UNCONFIRMED: usize = 256;

/// What a node made of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pong {
    After(Duration),
    NotConnected,
    NoAnswer,
}

/// Pings every target once and waits for all, until nothing has come from any of them for `wait`: thousands of
/// answers take their time. In the order of `targets`.
pub async fn ping(client: &Client, targets: &[Target], wait: Duration) -> Result<Vec<Pong>> {
    let client_id = format!("{:08x}", fastrand::u32(..));
    let acks = RoutingKey::Ack {
        client: client_id.clone(),
        node: "*".to_owned(),
    };
    let mut subscription = client.subscribe(&[acks.to_string()]).await?;
    let (client_id, id) = (client_id, serde_json::Value::from(1));
    let body = serde_json::to_vec(&Ping { client_id, id })?;

    let mut pings = Pings::of(targets);
    let mut publishing = FuturesUnordered::new();
    let mut latest = Instant::now();
    while pings.unanswered > 0 {
        while publishing.len() < UNCONFIRMED
            && let Some((i, node)) = pings.next(Instant::now())
        {
            let (key, body) = (RoutingKey::Ping { node }, body.clone());
            publishing.push(async move { (i, client.send(&key, body).await) });
        }
        let is_news = select! {
            () = sleep_until(latest + wait) => break,
            Some((i, routing)) = publishing.next() => {
                if routing? == Routing::Unroutable {
                    pings.answered(i, Pong::NotConnected);
                }
                true
            }
            delivery = subscription.receive() => pings.acked(&delivery?, Instant::now()),
        };
        // Answers that no ping asked for do not put off the end: they may never stop.
        if is_news {
            latest = Instant::now();
        }
    }
    let pongs = pings.pongs.into_iter();
    Ok(pongs.map(|pong| pong.unwrap_or(Pong::NoAnswer)).collect())
}

struct Pings<'a> {
    targets: &'a [Target],
    by_id: HashMap<&'a NodeId, usize>,
    /// When each was published, as far as they were.
    published: Vec<Instant>,
    pongs: Vec<Option<Pong>>,
    unanswered: usize,
}

impl<'a> Pings<'a> {
    fn of(targets: &'a [Target]) -> Self {
        Self {
            targets,
            by_id: targets.iter().map(|target| &target.id).zip(0..).collect(),
            published: Vec::new(),
            pongs: vec![None; targets.len()],
            unanswered: targets.len(),
        }
    }

    /// The node that is to be sent to next.
    fn next(&mut self, now: Instant) -> Option<(usize, String)> {
        let i = self.published.len();
        let node = self.targets.get(i)?.id.to_string();
        self.published.push(now);
        Some((i, node))
    }

    /// Whether it is the first answer of a target.
    fn acked(&mut self, delivery: &Delivery, now: Instant) -> bool {
        let Ok(RoutingKey::Ack { node, .. }) = RoutingKey::parse(&delivery.routing_key) else {
            return false;
        };
        let i = NodeId::parse(&node).ok();
        let i = i.and_then(|id| self.by_id.get(&id)).copied();
        let published = i.and_then(|i| Some((i, *self.published.get(i)?)));
        published.is_some_and(|(i, at)| self.answered(i, Pong::After(now - at)))
    }

    /// The first answer counts.
    fn answered(&mut self, i: usize, pong: Pong) -> bool {
        let is_first = self.pongs[i].is_none();
        if is_first {
            self.pongs[i] = Some(pong);
            self.unanswered -= 1;
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selector;
    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn the_first_answer_of_a_node_counts_and_from_when_it_was_pinged() {
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        let targets = Selector::All.select(&nodes).unwrap().targets;
        let (mut pings, now) = (Pings::of(&targets), Instant::now());
        let ms = Duration::from_millis;
        let ack = |id: &str| Delivery::unacked(&format!("ur.ackc0ffee.{id}"), b"{}");
        assert_eq!(pings.next(now), Some((0, "u1".to_owned())));
        assert!(!pings.acked(&ack("u2"), now), "it was not pinged yet");
        assert_eq!(pings.next(now + ms(10)), Some((1, "u2".to_owned())));
        assert_eq!(pings.next(now), None);
        assert!(pings.acked(&ack("u2"), now + ms(15)));
        assert!(!pings.acked(&ack("u2"), now + ms(20)));
        assert!(!pings.acked(&ack("u3"), now));
        pings.answered(0, Pong::NotConnected);
        assert_eq!(pings.unanswered, 0);
        let expected = [Pong::NotConnected, Pong::After(ms(5))];
        assert_eq!(pings.pongs, expected.map(Some));
    }
}
