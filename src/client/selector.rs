//! Selection: which of the nodes that answered a command is for. Refuses whatever is not exactly what was
//! meant: nothing has been sent by then, and nothing is.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::names::{NodeName, Wanted, resolve};
use super::node::{DuplicateUuid, Node, duplicate_uuids};
use super::{BadFilter, Filter, Search};
use protocol::NodeId;

/// What was asked for.
#[derive(Debug)]
pub enum Selector {
    All,
    /// All but headnodes.
    Compute,
    Named(Vec<NodeName>),
    Where(Filter),
}

/// A node that something is to be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: NodeId,
    pub mac: Option<String>,
    pub hostname: String,
    /// The word for it in a routing key: its UUID, or UUID-MAC if it was named so.
    /// Runs recorded before its name was changed say `word`.
    #[serde(alias = "word")]
    pub routing_word: String,
    /// The version of ur-agent; a Node.js agent gives none.
    pub agent: Option<String>,
}

/// Why nothing can be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Unselectable {
    /// These were named and did not answer.
    Missing(Vec<String>),
    /// Of so many nodes that answered, none was asked for.
    NoNode { answered: usize },
    /// Two names for one node.
    Repeated(String, String),
    /// One hostname for several nodes.
    Ambiguous(String, Vec<NodeId>),
    /// One UUID for several machines.
    DuplicateUuid(Vec<DuplicateUuid>),
    /// The expression failed on this node.
    Filter { hostname: String, message: String },
}

impl Target {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            id: node.id.clone(),
            mac: node.mac.clone(),
            hostname: node.hostname.clone(),
            routing_word: node.id.to_string(),
            agent: node.agent.clone(),
        }
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

impl Selector {
    pub fn compile(expression: &str) -> Result<Self, BadFilter> {
        Filter::parse(expression).map(Self::Where)
    }

    /// Which nodes have to answer, where that can be known.
    pub fn wanted(&self) -> Wanted {
        match self {
            Self::Named(names) => Wanted::named(names),
            _ => Wanted::unknown(),
        }
    }

    /// What finds the nodes that it chooses from.
    pub fn search(&self, quiet: Option<Duration>) -> Search {
        Search {
            quiet,
            wanted: self.wanted(),
            keep_sysinfo: matches!(self, Self::Where(_)),
        }
    }

    /// The targets among `nodes`, in their order; by name in the order of the names.
    pub fn select(&self, nodes: &[Node]) -> Result<Vec<Target>, Unselectable> {
        let targets = match self {
            Self::All => nodes.iter().map(Target::of).collect(),
            Self::Compute => nodes
                .iter()
                .filter(|node| !node.is_headnode)
                .map(Target::of)
                .collect(),
            Self::Where(filter) => matching(filter, nodes)?
                .into_iter()
                .map(Target::of)
                .collect(),
            Self::Named(names) => resolve(names, nodes)?,
        };
        if targets.is_empty() {
            return Err(Unselectable::NoNode {
                answered: nodes.len(),
            });
        }
        let mut faults = duplicate_uuids(nodes);
        let words: HashSet<&str> = targets
            .iter()
            .map(|target| target.routing_word.as_str())
            .collect();
        faults.retain(|duplicate| words.contains(duplicate.id.as_str()));
        if !faults.is_empty() {
            return Err(Unselectable::DuplicateUuid(faults));
        }
        Ok(targets)
    }
}

/// The nodes that `filter` accepts, of those that were asked for all they say.
pub fn matching<'a>(filter: &Filter, nodes: &'a [Node]) -> Result<Vec<&'a Node>, Unselectable> {
    let mut found = Vec::new();
    for node in nodes {
        let sysinfo = node.sysinfo.as_deref().map_or("{}", RawValue::get);
        match filter.accepts(sysinfo.as_bytes()) {
            Ok(true) => found.push(node),
            Ok(false) => {}
            Err(message) => {
                return Err(Unselectable::Filter {
                    hostname: node.hostname.clone(),
                    message,
                });
            }
        }
    }
    Ok(found)
}

impl fmt::Display for Unselectable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(names) => write!(f, "not found: {}", names.join(", ")),
            Self::NoNode { answered: 0 } => f.write_str("no node answered"),
            Self::NoNode { answered } => write!(f, "{answered} nodes answered, none of them meant"),
            Self::Repeated(one, other) if one == other => write!(f, "{one} is named twice"),
            Self::Repeated(one, other) => write!(f, "{one} and {other} are the same node"),
            Self::Ambiguous(name, ids) => {
                write!(f, "{name} is the hostname of several nodes:")?;
                ids.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::DuplicateUuid(faults) => {
                for (i, duplicate) in faults.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{duplicate}")?;
                }
                f.write_str("\naddress one of them as UUID-MAC")
            }
            Self::Filter { hostname, message } => write!(
                f,
                "the expression fails on {hostname}: {message} (`?` makes jq go on)"
            ),
        }
    }
}

impl std::error::Error for Unselectable {}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::*;

    fn three() -> Vec<Node> {
        let mut nodes = vec![
            node("u1", "00:00:00:00:00:01", "node1"),
            node("u2", "00:00:00:00:00:0a", "node2"),
            node("u3", "00:00:00:00:00:03", "node3"),
        ];
        nodes[0].is_headnode = true;
        nodes
    }

    fn by_name(names: &[&str], nodes: &[Node]) -> Result<Vec<String>, Unselectable> {
        let names = names
            .iter()
            .map(|name| NodeName((*name).to_owned()))
            .collect();
        let targets = Selector::Named(names).select(nodes)?;
        Ok(targets
            .into_iter()
            .map(|target| target.routing_word)
            .collect())
    }

    fn words(selector: &Selector) -> Vec<String> {
        let targets = selector.select(&three()).unwrap();
        targets
            .into_iter()
            .map(|target| target.routing_word)
            .collect()
    }

    #[test]
    fn a_node_is_named_by_uuid_by_hostname_or_by_uuid_and_mac() {
        let found = by_name(&["node1", "U2-00:00:00:00:00:0A", "u3"], &three());
        assert_eq!(found.unwrap(), ["u1", "u2-00:00:00:00:00:0a", "u3"]);
    }

    #[test]
    fn waiting_ends_when_all_that_were_named_have_answered() {
        let names = ["node1", "U2-00:00:00:00:00:0A"].map(|name| NodeName(name.to_owned()));
        let mut wanted = Selector::Named(names.into()).wanted();
        let nodes = three();
        assert!(!wanted.answered(&nodes[2]) && !wanted.answered(&nodes[1]));
        assert!(wanted.answered(&nodes[0]) && wanted.answered(&nodes[2]));
        let mut all = Selector::All.wanted();
        assert!(!nodes.iter().any(|node| all.answered(node)));
    }

    #[test]
    fn every_missing_name_is_told() {
        let found = by_name(&["x", "node1", "y"], &three());
        assert_eq!(found.unwrap_err().to_string(), "not found: x, y");
    }

    #[test]
    fn a_node_with_two_names_is_refused() {
        let message = |names: &[&str]| by_name(names, &three()).unwrap_err().to_string();
        assert_eq!(message(&["node1", "u1"]), "node1 and u1 are the same node");
        assert_eq!(message(&["u1", "u1"]), "u1 is named twice");
    }

    #[test]
    fn a_hostname_of_two_nodes_is_refused() {
        let mut nodes = three();
        nodes.push(node("u4", "00:00:00:00:00:04", "node1"));
        let message = by_name(&["node1"], &nodes).unwrap_err().to_string();
        assert_eq!(message, "node1 is the hostname of several nodes: u1 u4");
    }

    #[test]
    fn twins_are_refused_unless_the_mac_says_which() {
        let mut nodes = three();
        nodes.push(node("u2", "00:00:00:00:00:09", "twin"));
        assert!(matches!(
            by_name(&["u2"], &nodes),
            Err(Unselectable::DuplicateUuid(_))
        ));
        assert!(matches!(
            Selector::All.select(&nodes),
            Err(Unselectable::DuplicateUuid(_))
        ));
        assert_eq!(by_name(&["node1"], &nodes).unwrap(), ["u1"]);
        let one = by_name(&["u2-00:00:00:00:00:09"], &nodes).unwrap();
        assert_eq!(one, ["u2-00:00:00:00:00:09"]);
        let both = ["u2-00:00:00:00:00:09", "u2-00:00:00:00:00:0a"];
        assert!(matches!(
            by_name(&both, &nodes),
            Err(Unselectable::Repeated(..))
        ));
    }

    #[test]
    fn all_compute_and_where_choose_by_what_a_node_says() {
        assert_eq!(words(&Selector::All), ["u1", "u2", "u3"]);
        assert_eq!(words(&Selector::Compute), ["u2", "u3"]);
        let expression = r#".Hostname | test("[13]$")"#;
        assert_eq!(words(&Selector::compile(expression).unwrap()), ["u1", "u3"]);
    }

    #[test]
    fn no_node_is_an_error() {
        let nobody = Selector::All.select(&[]).unwrap_err();
        assert_eq!(nobody.to_string(), "no node answered");
        let none = Selector::compile("false").unwrap().select(&three());
        assert_eq!(
            none.unwrap_err().to_string(),
            "3 nodes answered, none of them meant"
        );
        let fails = Selector::compile(".Hostname.x").unwrap().select(&three());
        assert!(matches!(fails, Err(Unselectable::Filter { .. })));
    }
}
