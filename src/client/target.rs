//! A target, and what it is called: to people, to a shell, to the broker.

use serde::{Deserialize, Serialize};

use super::{Node, Plain};
use protocol::NodeId;

/// A node that something is to be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: NodeId,
    pub mac: Option<String>,
    pub hostname: Plain,
    /// The host name does not tell it from all other nodes.
    #[serde(default)]
    pub has_namesake: bool,
    /// The word for it in a routing key: its UUID, or UUID-MAC if it was named so.
    pub routing_word: String,
    /// The version of ur-agent; a Node.js agent gives none.
    pub agent: Option<Plain>,
}

impl Target {
    pub fn of(node: &Node) -> Self {
        Self {
            id: node.id.clone(),
            mac: node.mac.clone(),
            hostname: node.hostname.clone(),
            has_namesake: node.has_namesake,
            routing_word: node.id.to_string(),
            agent: node.agent.clone(),
        }
    }

    /// What it is called wherever people read it: its host name, with the UUID where that is not enough.
    pub fn name(&self) -> String {
        name(&self.hostname, &self.id, self.has_namesake)
    }

    /// The word by which a shell and `-n` take it, and which means no other node.
    pub fn node_set_name(&self) -> &str {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let hostname = &*self.hostname;
        if self.has_namesake || hostname.starts_with('-') || !hostname.chars().all(is_word) {
            return self.id.as_str();
        }
        hostname
    }

    /// The one machine, even if another has its UUID.
    pub(super) fn with_mac(node: &Node) -> Self {
        let mut target = Self::of(node);
        if let Some(mac) = &node.mac {
            target.routing_word = format!("{}-{mac}", node.id);
        }
        target
    }
}

/// A host name, with the UUID where that is not enough.
pub(super) fn name(hostname: &Plain, id: &NodeId, has_namesake: bool) -> String {
    if has_namesake {
        return format!("{hostname}({id})");
    }
    hostname.to_string()
}
