//! Who is there: one broadcast, and the sysinfo that every node answers with.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Client, Wanted, by_name};
use broker::{Delivery, Routing};
use protocol::{NodeId, RequestId, RoutingKey};

/// How long answers may still come after those that were wanted: long enough for a second machine
/// of the same UUID to show itself.
const AFTER_THE_LAST_WANTED: Duration = Duration::from_millis(250);

/// A node that answered, and what it said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub id: NodeId,
    /// Of the admin NIC. Tells two machines of one UUID apart.
    pub mac: Option<String>,
    /// The UUID if the node gave none.
    pub hostname: String,
    pub sysinfo: Value,
}

/// The NIC whose names contain "admin".
pub struct AdminNic<'a> {
    pub mac: Option<&'a str>,
    pub ip: Option<&'a str>,
}

impl Node {
    pub fn new(id: NodeId, sysinfo: Value) -> Self {
        let mut node = Self {
            hostname: id.to_string(),
            id,
            mac: None,
            sysinfo,
        };
        node.mac = node.admin_nic().mac.map(str::to_owned);
        if let Some(hostname) = node.text("Hostname").filter(|name| !name.is_empty()) {
            node.hostname = hostname.to_owned();
        }
        node
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.sysinfo.get(field).and_then(Value::as_str)
    }

    pub fn admin_nic(&self) -> AdminNic<'_> {
        let nics = self.sysinfo.get("Network Interfaces");
        let is_admin = |nic: &&Value| {
            let names = nic.get("NIC Names").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|name| name == "admin"))
        };
        let nic = nics
            .and_then(Value::as_object)
            .and_then(|nics| nics.values().find(is_admin));
        let text = |field| nic.and_then(|nic| nic.get(field)).and_then(Value::as_str);
        AdminNic {
            mac: text("MAC Address"),
            ip: text("ip4addr"),
        }
    }

    /// Booted as a headnode, by JavaScript's idea of truth, as sdc-oneachnode has it; but "false"
    /// in quotes is false.
    pub fn is_headnode(&self) -> bool {
        let parameters = self.sysinfo.get("Boot Parameters");
        match parameters.and_then(|parameters| parameters.get("headnode")) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty() && text != "false",
            Some(_) => true,
        }
    }

    fn machine(&self) -> (NodeId, Option<String>, String) {
        (self.id.clone(), self.mac.clone(), self.hostname.clone())
    }

    /// The version of ur-agent; a Node.js agent gives none.
    pub fn agent(&self) -> Option<&str> {
        self.sysinfo.get("Ur Agent")?.get("version")?.as_str()
    }
}

/// Several machines that answer to one UUID: whatever is sent to it, all of them run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateUuid {
    pub id: NodeId,
    /// MAC and hostname of each.
    pub machines: Vec<(Option<String>, String)>,
}

/// Every UUID that more than one of `nodes` has.
pub fn duplicate_uuids(nodes: &[Node]) -> Vec<DuplicateUuid> {
    let mut found: Vec<DuplicateUuid> = Vec::new();
    let mut place: HashMap<&NodeId, usize> = HashMap::new();
    for node in nodes {
        let i = *place.entry(&node.id).or_insert(found.len());
        if i == found.len() {
            found.push(DuplicateUuid {
                id: node.id.clone(),
                machines: Vec::new(),
            });
        }
        found[i]
            .machines
            .push((node.mac.clone(), node.hostname.clone()));
    }
    found.retain(|twins| twins.machines.len() > 1);
    found
}

/// Asks who is there. Ends when nothing new came for `quiet`, or shortly after all `wanted` were there.
/// Sorted by hostname; a machine that answers twice is there once.
pub async fn discover(client: &Client, quiet: Duration, mut wanted: Wanted) -> Result<Vec<Node>> {
    let request = RequestId::random().to_string();
    let answers = RoutingKey::ExecuteReply {
        node: "*".to_owned(),
        request: request.clone(),
    };
    let mut subscription = client.subscribe(&[answers.to_string()]).await?;
    let question = RoutingKey::Broadcast {
        what: "sysinfo".to_owned(),
        request,
    };
    let mut nodes: Vec<Node> = Vec::new();
    let mut known = HashSet::new();
    if client.send(&question, b"{}").await? == Routing::Unroutable {
        return Ok(nodes);
    }
    let mut until = Instant::now() + quiet;
    while let Ok(delivery) = timeout_at(until, subscription.receive()).await {
        let Some(node) = read(&delivery?) else {
            continue;
        };
        if !known.insert(node.machine()) {
            continue;
        }
        let patience = if wanted.answered(&node) {
            AFTER_THE_LAST_WANTED.min(quiet)
        } else {
            quiet
        };
        until = Instant::now() + patience;
        nodes.push(node);
    }
    nodes.sort_by(|a, b| {
        let machine = || (&a.id, &a.mac).cmp(&(&b.id, &b.mac));
        by_name(&a.hostname, &b.hostname).then_with(machine)
    });
    Ok(nodes)
}

/// The node is the one of the key: it is what we shall send to.
fn read(delivery: &Delivery) -> Option<Node> {
    let Ok(RoutingKey::ExecuteReply { node, .. }) = RoutingKey::parse(&delivery.routing_key) else {
        return None;
    };
    let sysinfo: Value = serde_json::from_slice(&delivery.body).ok()?;
    let id = NodeId::parse(&node).ok()?;
    sysinfo.is_object().then(|| Node::new(id, sysinfo))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn node(uuid: &str, mac: &str, hostname: &str) -> Node {
        let sysinfo = json!({
            "UUID": uuid,
            "Hostname": hostname,
            "Network Interfaces": {
                "eth0": {"MAC Address": "ff:ff:ff:ff:ff:ff", "NIC Names": ["external"]},
                "eth1": {"MAC Address": mac, "ip4addr": "10.0.0.7", "NIC Names": ["admin"]},
            },
        });
        Node::new(NodeId::parse(uuid).unwrap(), sysinfo)
    }

    #[test]
    fn a_node_has_the_mac_of_its_admin_nic() {
        let node = node("n1", "00:00:00:00:00:01", "node1");
        assert_eq!(node.mac.as_deref(), Some("00:00:00:00:00:01"));
        assert_eq!(node.admin_nic().ip, Some("10.0.0.7"));
        let bare = Node::new(NodeId::parse("n2").unwrap(), json!({}));
        assert_eq!((bare.mac.as_deref(), bare.hostname.as_str()), (None, "n2"));
    }

    #[test]
    fn a_headnode_is_what_was_booted_as_one() {
        let boot = |headnode: Value| {
            let sysinfo = json!({"Boot Parameters": {"headnode": headnode}});
            Node::new(NodeId::parse("n").unwrap(), sysinfo).is_headnode()
        };
        assert!(boot(json!("true")) && boot(json!(true)));
        assert!(!boot(json!("")) && !boot(json!("false")) && !boot(json!(false)));
        assert!(!node("n", "m", "h").is_headnode());
    }

    #[test]
    fn two_machines_of_one_uuid_are_twins() {
        let nodes = [
            node("n1", "00:00:00:00:00:01", "node1"),
            node("n2", "00:00:00:00:00:02", "node2"),
            node("n1", "00:00:00:00:00:03", "node3"),
        ];
        let found = duplicate_uuids(&nodes);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].machines[1].1, "node3");
    }
}
