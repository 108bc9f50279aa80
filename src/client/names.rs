//! Nodes as a person names them, and which of the nodes that answered they are.

use std::collections::{HashMap, HashSet};

use super::{Node, Target, Unselectable, duplicate_uuids};
use protocol::NodeId;

/// A node as a person names it: its UUID, its UUID-MAC, or its hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(pub String);

impl NodeName {
    fn is_uuid_and_mac_of(&self, node: &Node) -> bool {
        let Some(mac) = &node.mac else { return false };
        self.0.eq_ignore_ascii_case(&format!("{}-{mac}", node.id))
    }

    fn is_uuid_of(&self, node: &Node) -> bool {
        self.0.eq_ignore_ascii_case(node.id.as_str()) || self.is_uuid_and_mac_of(node)
    }

    /// A node chooses its host name. What looks like a UUID means the node of that UUID, and no other that calls
    /// itself so.
    fn is_hostname_of(&self, node: &Node) -> bool {
        let looks_like_uuid = |text: &str| uuid::Uuid::try_parse(text).is_ok();
        node.hostname == *self.0 && !self.0.get(..36).is_some_and(looks_like_uuid)
    }

    fn means(&self, node: &Node) -> bool {
        self.is_uuid_of(node) || self.is_hostname_of(node)
    }

    fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Those of `nodes` that it means: by UUID, and by host name only where there is none of that UUID.
    fn chosen<'a>(&self, nodes: &[&'a Node]) -> Vec<&'a Node> {
        let those = |is_meant: fn(&Self, &Node) -> bool| {
            let nodes = nodes.iter().copied();
            nodes
                .filter(|node| is_meant(self, node))
                .collect::<Vec<_>>()
        };
        match those(Self::is_uuid_of) {
            none if none.is_empty() => those(Self::is_hostname_of),
            some => some,
        }
    }
}

/// The [`NodeName::key`] of every name that may mean `node`: thousands of names are looked up, not compared.
fn keys_of(node: &Node) -> Vec<String> {
    let mut names = vec![node.hostname.to_string(), node.id.to_string()];
    let mac = node.mac.as_ref();
    names.extend(mac.map(|mac| format!("{}-{mac}", node.id)));
    let mut keys: Vec<String> = names.into_iter().map(|name| NodeName(name).key()).collect();
    keys.dedup();
    keys
}

/// Who has not answered yet, where that can be known.
#[derive(Debug)]
pub struct Wanted(Option<HashMap<String, Vec<NodeName>>>);

impl Wanted {
    /// Where no names say which nodes are to answer.
    pub fn unknown() -> Self {
        Self(None)
    }

    pub(super) fn named(names: &[NodeName]) -> Self {
        let mut missing: HashMap<String, Vec<NodeName>> = HashMap::new();
        for name in names {
            missing.entry(name.key()).or_default().push(name.clone());
        }
        Self(Some(missing))
    }

    /// It was named, and has not answered yet.
    pub(super) fn expects(&self, node: &Node) -> bool {
        let Some(missing) = &self.0 else {
            return false;
        };
        keys_of(node).iter().any(|key| missing.contains_key(key))
    }

    /// Crosses a node off, and says whether all that were named are there now, so that waiting for more
    /// is no use.
    pub fn answered(&mut self, node: &Node) -> bool {
        let Some(missing) = &mut self.0 else {
            return false;
        };
        for key in keys_of(node) {
            if let Some(names) = missing.get_mut(&key) {
                names.retain(|name| !name.means(node));
                if names.is_empty() {
                    missing.remove(&key);
                }
            }
        }
        missing.is_empty()
    }
}

/// The node of each name. Fails where a name means none or several, or two names mean one, or the machine that is
/// meant cannot be told from another of its UUID.
pub(super) fn resolve(names: &[NodeName], nodes: &[Node]) -> Result<Vec<Target>, Unselectable> {
    let wanted: HashSet<String> = names.iter().map(NodeName::key).collect();
    let mut by_key: HashMap<String, Vec<&Node>> = HashMap::new();
    for node in nodes {
        for key in keys_of(node) {
            if wanted.contains(&key) {
                by_key.entry(key).or_default().push(node);
            }
        }
    }
    let mut duplicates = duplicate_uuids(nodes);
    let mut targets = Vec::new();
    let mut missing = Vec::new();
    let mut names_of: HashMap<NodeId, &NodeName> = HashMap::new();
    for name in names {
        let meant = by_key
            .get(&name.key())
            .map_or(Vec::new(), |nodes| name.chosen(nodes));
        let Some(first) = meant.first() else {
            missing.push(name.0.clone());
            continue;
        };
        if meant.iter().any(|node| node.id != first.id) {
            let ids = meant.iter().map(|node| node.id.clone()).collect();
            return Err(Unselectable::Ambiguous(name.0.clone(), ids));
        }
        // Also two machines of one UUID, each with its MAC: their replies have the same key.
        if let Some(earlier) = names_of.insert(first.id.clone(), name) {
            return Err(Unselectable::Repeated(earlier.0.clone(), name.0.clone()));
        }
        let duplicate = duplicates.iter().position(|it| it.id == first.id);
        let is_one_machine = meant.iter().all(|node| node.mac == first.mac);
        targets.push(match duplicate {
            None if !name.is_uuid_and_mac_of(first) => Target::of(first),
            Some(i) if !is_one_machine || first.mac.is_none() => {
                return Err(Unselectable::DuplicateUuid(vec![duplicates.remove(i)]));
            }
            _ => Target::with_mac(first),
        });
    }
    if missing.is_empty() {
        return Ok(targets);
    }
    Err(Unselectable::Missing(missing))
}
