//! Ping: whether the agents of nodes are alive, and how far away they are.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::ask_each::Asked;
use super::{Client, Target};
use broker::Delivery;
use protocol::{NodeId, Ping, RoutingKey};

/// What a node made of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pong {
    After(Duration),
    NotConnected,
    NoAnswer,
}

/// Pings every target once and waits for all, until nothing has come from any of them for `wait`. In the order of
/// `targets`.
pub async fn ping(client: &Client, targets: &[Target], wait: Duration) -> Result<Vec<Pong>> {
    let client_id = format!("{:08x}", fastrand::u32(..));
    let acks = RoutingKey::Ack {
        client: client_id.clone(),
        node: "*".to_owned(),
    };
    let mut subscription = client.subscribe(&[acks.to_string()]).await?;
    let (client_id, id) = (client_id, serde_json::Value::from(1));
    let body = serde_json::to_vec(&Ping { client_id, id })?;

    let ask = |i: usize| {
        let key = RoutingKey::Ping {
            node: targets[i].id.to_string(),
        };
        let body = body.clone();
        async move { client.send(&key, body).await }
    };
    let received =
        |asked: &mut Asked<'_, Pong>, delivery: &Delivery| acked(asked, delivery, Instant::now());
    let without = (Pong::NotConnected, Pong::NoAnswer);
    Asked::of(targets, |_| None)
        .ask((&mut subscription, wait), ask, without, received)
        .await
}

/// Whether it is the first answer of a target.
fn acked(asked: &mut Asked<'_, Pong>, delivery: &Delivery, now: Instant) -> bool {
    let Ok(RoutingKey::Ack { node, .. }) = RoutingKey::parse(&delivery.routing_key) else {
        return false;
    };
    let pinged = NodeId::parse(&node).ok().and_then(|id| asked.asked(&id));
    pinged.is_some_and(|(i, at)| asked.answered(i, Pong::After(now - at)))
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
        let mut pings: Asked<'_, Pong> = Asked::of(&targets, |_| None);
        let now = Instant::now();
        let ms = Duration::from_millis;
        let ack = |id: &str| Delivery::unacked(&format!("ur.ackc0ffee.{id}"), b"{}");
        assert_eq!(pings.next(now), Some(0));
        assert!(!acked(&mut pings, &ack("u2"), now), "it was not pinged yet");
        assert_eq!(pings.next(now + ms(10)), Some(1));
        assert_eq!(pings.next(now), None);
        assert!(acked(&mut pings, &ack("u2"), now + ms(15)));
        assert!(!acked(&mut pings, &ack("u2"), now + ms(20)));
        assert!(!acked(&mut pings, &ack("u3"), now));
        pings.answered(0, Pong::NotConnected);
        assert_eq!(pings.left, 0);
        let expected = [Pong::NotConnected, Pong::After(ms(5))];
        assert_eq!(pings.answers, expected.map(Some));
    }
}
