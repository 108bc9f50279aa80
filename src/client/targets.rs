//! Makes targets of the nodes that a selector has chosen: one for each UUID, and none where two machines answer to one
//! UUID and the selector does not say which of them is meant.

use std::collections::{HashMap, HashSet};

use super::evaluate::UnknownKey;
use super::{DuplicateUuid, Node, NodeName, Selected, Target, Unselectable, duplicate_uuids};
use protocol::NodeId;

/// A node by its place, and how it was named. Without a name, a rule means it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) node: usize,
    pub(super) name: Option<&'a NodeName>,
}

#[derive(Debug, Default)]
pub(super) struct Meant<'a> {
    pub(super) chosen: Vec<Choice<'a>>,
    /// Names under which no node answered.
    pub(super) not_found: Vec<String>,
    /// Parts of what was typed that mean no node at all.
    pub(super) nobody: Vec<String>,
    /// Nodes of which an expression could not say whether they are meant.
    pub(super) unjudged: Vec<usize>,
    pub(super) left_out: Vec<Unselectable>,
    /// Keys that no node has.
    pub(super) unknown: Vec<UnknownKey>,
}

impl Meant<'_> {
    pub(super) fn of(nodes: impl Iterator<Item = usize>) -> Self {
        Self {
            chosen: nodes.map(|node| Choice { node, name: None }).collect(),
            ..Self::default()
        }
    }

    /// What is written means somebody.
    pub(super) fn or_else_not_found(mut self, written: &str) -> Self {
        if self.chosen.is_empty() {
            self.not_found.push(written.to_owned());
            self.nobody.push(written.to_owned());
        }
        self
    }

    fn nodes(&self) -> HashSet<usize> {
        self.chosen.iter().map(|choice| choice.node).collect()
    }
}

impl<'a> Meant<'a> {
    pub(super) fn add(&mut self, other: Meant<'a>) {
        self.chosen.extend(other.chosen);
        self.not_found.extend(other.not_found);
        self.nobody.extend(other.nobody);
        self.unjudged.extend(other.unjudged);
        self.left_out.extend(other.left_out);
        self.unknown.extend(other.unknown);
    }

    pub(super) fn narrow(&mut self, other: Meant<'a>) {
        let (these, those) = (self.nodes(), other.nodes());
        self.chosen.retain(|choice| those.contains(&choice.node));
        let others = Meant {
            // A name says more of what is meant than a rule.
            chosen: other
                .chosen
                .into_iter()
                .filter(|it| these.contains(&it.node))
                .collect(),
            ..other
        };
        self.add(others);
    }

    /// A node that may be excluded is, whatever else was said under its UUID.
    pub(super) fn remove(&mut self, other: &Meant<'_>, nodes: &[Node]) {
        let those = other
            .nodes()
            .into_iter()
            .chain(other.unjudged.iter().copied());
        let those: HashSet<&NodeId> = those.map(|i| &nodes[i].id).collect();
        self.chosen
            .retain(|choice| !those.contains(&nodes[choice.node].id));
    }
}

/// Fails where a name means several nodes, or a machine that cannot be told from another of its UUID.
pub(super) fn targets(meant: Meant<'_>, nodes: &[Node]) -> Result<Selected, Unselectable> {
    let mut duplicates: HashMap<NodeId, DuplicateUuid> = HashMap::new();
    for duplicate in duplicate_uuids(nodes) {
        duplicates.insert(duplicate.id.clone(), duplicate);
    }
    let mut by_name: HashMap<&NodeName, Vec<&Node>> = HashMap::new();
    for choice in &meant.chosen {
        if let Some(name) = choice.name {
            by_name.entry(name).or_default().push(&nodes[choice.node]);
        }
    }
    let mut named: HashMap<&NodeId, (&NodeName, Target)> = HashMap::new();
    for choice in &meant.chosen {
        let (Some(name), node) = (choice.name, &nodes[choice.node]) else {
            continue;
        };
        let target = target_of(name, &by_name[name], &duplicates)?;
        match named.get(&node.id) {
            Some((earlier, it)) if it.mac != target.mac => {
                return Err(Unselectable::Repeated(earlier.0.clone(), name.0.clone()));
            }
            Some(_) => {}
            None => drop(named.insert(&node.id, (name, target))),
        }
    }
    let whole = whole_uuids(&meant, nodes);
    let (mut seen, mut selected) = (HashSet::new(), Selected::default());
    let mut faults = Vec::new();
    for choice in &meant.chosen {
        let node = &nodes[choice.node];
        if !seen.insert(&node.id) {
            continue;
        }
        if let Some((_, target)) = named.remove(&node.id) {
            selected.targets.push(target);
        } else if let Some(fault) = duplicates.remove(&node.id) {
            faults.push(fault);
        } else if whole.contains(&node.id) {
            selected.targets.push(Target::of(node));
        }
    }
    selected.left_out = meant.left_out;
    if selected.targets.is_empty() {
        return Err(match (meant.unknown, faults) {
            (unknown, _) if !unknown.is_empty() => Unselectable::UnknownKeys {
                keys: unknown,
                some_match: false,
            },
            (_, faults) if !faults.is_empty() => Unselectable::DuplicateUuid(faults),
            _ => Unselectable::NoNode {
                answered: nodes.len(),
            },
        });
    }
    let faults = faults.into_iter();
    selected
        .left_out
        .extend(faults.map(|it| Unselectable::DuplicateUuid(vec![it])));
    Ok(selected)
}

/// The one node of a name.
fn target_of(
    name: &NodeName,
    meant: &[&Node],
    duplicates: &HashMap<NodeId, DuplicateUuid>,
) -> Result<Target, Unselectable> {
    let first = meant[0];
    if meant.iter().any(|node| node.id != first.id) {
        let mut ids = HashSet::new();
        let nodes = meant.iter().filter(|node| ids.insert(&node.id));
        let nodes = nodes.map(|node| (node.hostname.to_string(), node.id.clone()));
        return Err(Unselectable::Ambiguous(name.0.clone(), nodes.collect()));
    }
    let is_one_machine = meant.iter().all(|node| node.mac == first.mac);
    match duplicates.get(&first.id) {
        None if !name.is_uuid_and_mac_of(first) => Ok(Target::of(first)),
        Some(fault) if !is_one_machine || first.mac.is_none() => {
            Err(Unselectable::DuplicateUuid(vec![fault.clone()]))
        }
        _ => Ok(Target::with_mac(first)),
    }
}

/// The UUIDs of which all is chosen that was said under them: another answer may be of one that lies.
fn whole_uuids<'n>(meant: &Meant<'_>, nodes: &'n [Node]) -> HashSet<&'n NodeId> {
    let mut answers: HashMap<&NodeId, usize> = HashMap::new();
    for node in nodes {
        *answers.entry(&node.id).or_default() += 1;
    }
    for i in meant.nodes() {
        answers.entry(&nodes[i].id).and_modify(|left| *left -= 1);
    }
    let whole = answers.into_iter().filter(|(_, left)| *left == 0);
    whole.map(|(id, _)| id).collect()
}
