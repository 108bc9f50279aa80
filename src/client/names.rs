//! Nodes as a person names them, and which of the nodes that answered they are.

use std::collections::{HashMap, HashSet};

use super::{Node, Target};
use protocol::{MIN_BEGINNING, beginnings, looks_like_uuid, said_names, uuid_names};
use task::near;

/// Names that a question to their nodes alone has.
const MAX_ASKED: usize = 1000;

/// A node as a person names it: by host name, short name, UUID, UUID-MAC, the beginning of its UUID, MAC or IP address,
/// or as `ur` prints it, `name(UUID)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeName(pub String);

impl NodeName {
    /// That means it, whatever others call themselves.
    pub(super) fn of_target(target: &Target) -> Self {
        Self(match target.routing_word == target.id.as_str() {
            true => format!("{}({})", target.hostname, target.id),
            false => target.routing_word.clone(),
        })
    }

    pub(super) fn is_uuid_and_mac_of(&self, node: &Node) -> bool {
        let Some(mac) = &node.mac else { return false };
        self.0.eq_ignore_ascii_case(&format!("{}-{mac}", node.id))
    }

    /// The UUID of a name as `ur` prints it.
    fn uuid_beside(&self) -> Option<&str> {
        let (_, uuid) = self.0.strip_suffix(')')?.rsplit_once('(')?;
        Some(uuid)
    }

    /// Nobody else can have it: the node's UUID, alone or with its MAC.
    pub(super) fn is_uuid_of(&self, node: &Node) -> bool {
        uuid_keys(node).contains(&self.key())
    }

    /// It is one of the node's names, and not only the beginning of its UUID.
    pub(super) fn is_whole_name_of(&self, node: &Node) -> bool {
        self.is_uuid_of(node) || said_keys(node).contains(&self.key())
    }

    /// By which names are compared: the case of letters does not matter.
    pub(super) fn key(&self) -> String {
        self.uuid_beside().unwrap_or(&self.0).to_lowercase()
    }

    /// It means the node of that UUID, and no other that calls itself so.
    fn is_uuid(&self) -> bool {
        self.uuid_beside().is_some() || looks_like_uuid(&self.0)
    }
}

/// The names of a node's UUID, which no other node can have.
fn uuid_keys(node: &Node) -> Vec<String> {
    uuid_names(&node.id, node.mac.as_deref())
}

/// The names of a node as it says them.
fn said_keys(node: &Node) -> Vec<String> {
    said_names(&node.hostname, node.mac.as_deref(), node.ip.as_deref())
}

/// Who has not answered yet, where that can be known.
#[derive(Clone, Debug)]
pub struct WantedNames(Option<HashSet<String>>);

impl WantedNames {
    /// Where no names say which nodes are to answer.
    pub fn unknown() -> Self {
        Self(None)
    }

    pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a NodeName>) -> Self {
        Self(Some(names.into_iter().map(NodeName::key).collect()))
    }

    /// The names of those that alone need to be asked. None where all are.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.0.iter().filter(|names| names.len() <= MAX_ASKED);
        names.flatten().cloned().collect()
    }

    /// It was named, and has not answered yet.
    pub(super) fn expects(&self, node: &Node) -> bool {
        let Some(missing) = &self.0 else {
            return false;
        };
        let mut keys = uuid_keys(node).into_iter().chain(said_keys(node));
        keys.any(|key| missing.contains(&key))
            || beginnings(&node.id).any(|key| missing.contains(&key))
    }

    /// Crosses a node off, and says whether all that were named are there now, so that waiting for more
    /// is no use.
    pub fn answered(&mut self, node: &Node) -> bool {
        let Some(missing) = &mut self.0 else {
            return false;
        };
        let keys = uuid_keys(node).into_iter().chain(said_keys(node));
        for key in keys.chain(beginnings(&node.id)) {
            missing.remove(&key);
        }
        missing.is_empty()
    }
}

/// The names of the nodes that answered: thousands are looked up, not compared.
pub(super) struct NameIndex<'a> {
    nodes: &'a [Node],
    by_uuid: HashMap<String, Vec<usize>>,
    by_said: HashMap<String, Vec<usize>>,
    /// Sorted.
    uuids: Vec<(String, usize)>,
}

impl<'a> NameIndex<'a> {
    pub(super) fn of(nodes: &'a [Node]) -> Self {
        let mut directory = Self {
            nodes,
            by_uuid: HashMap::new(),
            by_said: HashMap::new(),
            uuids: Vec::new(),
        };
        for (i, node) in nodes.iter().enumerate() {
            for key in uuid_keys(node) {
                directory.by_uuid.entry(key).or_default().push(i);
            }
            for key in said_keys(node) {
                directory.by_said.entry(key).or_default().push(i);
            }
            directory.uuids.push((node.id.as_str().to_lowercase(), i));
        }
        directory.uuids.sort();
        directory
    }

    /// The nodes that `name` means: by UUID, and by what they say only where there is none of that UUID. More than
    /// one is a question to the operator.
    pub(super) fn meant(&self, name: &NodeName) -> Vec<usize> {
        let key = name.key();
        if let Some(nodes) = self.by_uuid.get(&key) {
            return nodes.clone();
        }
        if name.is_uuid() {
            return Vec::new();
        }
        let mut meant = self.by_said.get(&key).cloned().unwrap_or_default();
        if key.len() >= MIN_BEGINNING {
            meant.extend(self.beginning_with(&key));
            meant.sort_unstable();
            meant.dedup();
        }
        meant
    }

    /// Those whose host name it is.
    pub(super) fn of_host(&self, name: &NodeName) -> Vec<usize> {
        let key = name.key();
        if name.is_uuid() {
            return Vec::new();
        }
        let said = self.by_said.get(&key).into_iter().flatten().copied();
        let is_host = |i: &usize| said_names(&self.nodes[*i].hostname, None, None).contains(&key);
        said.filter(is_host).collect()
    }

    fn beginning_with(&self, key: &str) -> impl Iterator<Item = usize> {
        let first = self.uuids.partition_point(|(uuid, _)| uuid.as_str() < key);
        let rest = self.uuids.get(first..).unwrap_or_default().iter();
        rest.take_while(move |(uuid, _)| uuid.starts_with(key))
            .map(|(_, i)| *i)
    }

    /// Whether a node's host name may be taken for another node.
    pub(super) fn has_namesake(&self, node: &Node) -> bool {
        let name = NodeName(node.hostname.to_string());
        let key = name.key();
        let owners = self.by_uuid.get(&key).into_iter().flatten();
        let mut others = owners.copied().chain(self.meant(&name));
        others.any(|i| self.nodes[i].id != node.id)
    }

    /// Host names that look like the one that is missing.
    pub(super) fn near(&self, name: &NodeName) -> Vec<String> {
        let shorts = self.nodes.iter().filter_map(|node| {
            let short = node.hostname.split('.').next();
            short.filter(|_| !name.0.contains('.'))
        });
        let names = self.nodes.iter().map(|node| &*node.hostname);
        near(&name.0, names.chain(shorts))
    }
}
