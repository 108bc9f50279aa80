//! Claims: several answers under one UUID, and under one host name. Anyone who may publish can answer in another
//! node's name; but what is sent to a UUID and a MAC together has a queue only where an agent made one, and the
//! broker tells whether there is.

use std::collections::{HashMap, HashSet};
use std::fmt;

use anyhow::Result;
use futures_util::future::try_join_all;

use super::names::NameIndex;
use super::plan::STATUS_REQUEST;
use super::{Client, Node, Plain};
use broker::Routing;
use protocol::{NodeId, RequestId, RoutingKey};

/// Several machines that answer to one UUID: whatever is sent to it, all of them run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateUuid {
    pub id: NodeId,
    /// MAC and hostname of each.
    pub machines: Vec<(Option<String>, Plain)>,
}

/// Every UUID that more than one machine of `nodes` has. Answers with one MAC are of one machine, whatever host
/// names they give.
pub fn duplicate_uuids(nodes: &[Node]) -> Vec<DuplicateUuid> {
    let mut machines: HashMap<&NodeId, Vec<(Option<String>, Plain)>> = HashMap::new();
    for node in nodes {
        let known = machines.entry(&node.id).or_default();
        if !known
            .iter()
            .any(|(mac, _)| mac.is_some() && *mac == node.mac)
        {
            known.push((node.mac.clone(), node.hostname.clone()));
        }
    }
    let in_order = nodes.iter().filter_map(|node| {
        let machines = machines.remove(&node.id)?;
        let id = node.id.clone();
        (machines.len() > 1).then_some(DuplicateUuid { id, machines })
    });
    in_order.collect()
}

/// Marks the nodes whose host names do not tell them from all others.
pub(super) fn mark_namesakes(nodes: &mut [Node]) {
    let directory = NameIndex::of(nodes);
    let marks: Vec<bool> = nodes
        .iter()
        .map(|node| directory.has_namesake(node))
        .collect();
    for (node, has_namesake) in nodes.iter_mut().zip(marks) {
        node.has_namesake = has_namesake;
    }
}

/// Parts the answers under disputed UUIDs from those behind which no agent listens. A UUID for which none listens
/// at all stays in dispute.
pub(super) async fn drop_false_claims(
    client: &Client,
    nodes: Vec<Node>,
) -> Result<(Vec<Node>, Vec<Node>)> {
    let disputed = duplicate_uuids(&nodes).into_iter();
    let disputed: HashSet<NodeId> = disputed.map(|duplicate| duplicate.id).collect();
    let (claims, mut founded): (Vec<Node>, Vec<Node>) = nodes
        .into_iter()
        .partition(|node| disputed.contains(&node.id));
    let asked = claims.iter().map(|claim| has_listener(client, claim));
    let listens = try_join_all(asked).await?;
    let heard = claims.iter().zip(&listens).filter(|(_, listens)| **listens);
    let settled: HashSet<NodeId> = heard.map(|(claim, _)| claim.id.clone()).collect();
    let mut false_claims = Vec::new();
    for (claim, listens) in claims.into_iter().zip(listens) {
        if listens || !settled.contains(&claim.id) {
            founded.push(claim);
        } else {
            false_claims.push(claim);
        }
    }
    Ok((founded, false_claims))
}

/// Asks for the status of a request that never was: it starts nothing.
async fn has_listener(client: &Client, claim: &Node) -> Result<bool> {
    let Some(mac) = &claim.mac else {
        return Ok(false);
    };
    let key = RoutingKey::Execute {
        node: format!("{}-{mac}", claim.id),
        request: RequestId::random().to_string(),
    };
    Ok(client.send(&key, STATUS_REQUEST).await? != Routing::Unroutable)
}

impl fmt::Display for DuplicateUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} machines have the UUID {}:",
            self.machines.len(),
            self.id
        )?;
        for (mac, hostname) in &self.machines {
            let mac = mac.as_deref().unwrap_or("without an admin MAC");
            write!(f, " {hostname} ({mac})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn two_machines_of_one_uuid_are_duplicates_and_one_with_two_names_is_not() {
        let mut nodes = vec![
            node("n1", "00:00:00:00:00:01", "node1"),
            node("n2", "00:00:00:00:00:02", "node2"),
            node("n2", "00:00:00:00:00:02", "liar"),
        ];
        assert_eq!(duplicate_uuids(&nodes), []);
        nodes.push(node("n1", "00:00:00:00:00:03", "node3"));
        let found = duplicate_uuids(&nodes);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].machines[1].1, *"node3");
    }

    #[test]
    fn a_host_name_of_two_nodes_and_one_that_is_anothers_uuid_are_marked() {
        let mut nodes = vec![
            node("u1", "m1", "node1"),
            node("u2", "m2", "node1"),
            node("u3", "m3", "u4"),
            node("u4", "m4", "node4"),
        ];
        mark_namesakes(&mut nodes);
        let marked: Vec<bool> = nodes.iter().map(|node| node.has_namesake).collect();
        assert_eq!(marked, [true, true, true, false]);
    }
}
