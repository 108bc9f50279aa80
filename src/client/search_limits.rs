//! Limits of a search: how many answers, how many bytes, how long. Answers come from strangers: one that never stops, or
//! says a million things, is to cost neither memory nor the place of others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, Plain};
use protocol::NodeId;

/// Bytes of one answer. A big machine's has some ten thousand.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;
/// Nodes that are taken in besides those that are known or named.
const MAX_NODES: usize = 20_000;
/// Bytes of all that nodes said of themselves, where that is kept.
const MAX_KEPT: usize = 256 * 1024 * 1024;
/// Answers under one UUID: that several give it is a fault, and more of them tell no more.
const MAX_CLAIMS: usize = 4;
/// How long a search takes at the most, and how much longer for each answer.
const LONGEST: Duration = Duration::from_secs(10);
const LONGER_BY: Duration = Duration::from_millis(2);

pub(super) struct SearchLimits {
    pub(super) began: Instant,
    pub(super) nodes: Vec<Node>,
    machines: HashSet<(NodeId, Option<String>, Plain)>,
    claims: HashMap<NodeId, usize>,
    kept: usize,
    too_long: usize,
    too_many: usize,
}

impl SearchLimits {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            nodes: Vec::new(),
            machines: HashSet::new(),
            claims: HashMap::new(),
            kept: 0,
            too_long: 0,
            too_many: 0,
        }
    }

    /// Whether an answer of so many bytes is read at all.
    pub(super) fn reads(&mut self, bytes: usize) -> bool {
        let reads = bytes <= MAX_ANSWER;
        self.too_long += usize::from(!reads);
        reads
    }

    /// Takes a node in that is new. One that is `expected` has its place.
    pub(super) fn take(&mut self, node: &Node, expected: bool) -> bool {
        let machine = (node.id.clone(), node.mac.clone(), node.hostname.clone());
        if self.machines.contains(&machine) {
            return false;
        }
        let claims = self.claims.get(&node.id).copied().unwrap_or(0);
        let kept = node.sysinfo.as_ref().map_or(0, |said| said.get().len());
        let is_full = self.nodes.len() >= MAX_NODES || self.kept + kept > MAX_KEPT;
        if claims >= MAX_CLAIMS || (is_full && !expected) {
            self.too_many += 1;
            return false;
        }
        self.claims.insert(node.id.clone(), claims + 1);
        self.machines.insert(machine);
        self.kept += kept;
        self.nodes.push(node.clone());
        true
    }

    /// How long the search may take in all, where a silence of `quiet` was asked for.
    pub(super) fn longest(&self, quiet: Option<Duration>) -> Duration {
        let asked = quiet.unwrap_or_default().saturating_mul(3);
        let answers = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        LONGEST.max(asked).saturating_add(LONGER_BY * answers)
    }

    /// What the operator is to know of what was not taken in.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.too_long > 0 {
            notes.push(format!(
                "{} answers of more than {MAX_ANSWER} bytes are left out",
                self.too_long
            ));
        }
        if self.too_many > 0 {
            notes.push(format!(
                "{} answers are left out: a search takes {MAX_NODES} nodes, {} MiB and {MAX_CLAIMS} answers under one UUID",
                self.too_many,
                MAX_KEPT / 1024 / 1024
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn many_claims_on_one_uuid_do_not_take_the_places_of_others() {
        let mut limits = SearchLimits::new(Instant::now());
        for i in 0..100 {
            let claim = node("u1", &format!("m{i}"), "liar");
            assert_eq!(limits.take(&claim, true), i < MAX_CLAIMS);
        }
        let other = node("u2", "m", "node2");
        assert!(limits.take(&other, false) && !limits.take(&other, false));
        assert_eq!(limits.nodes.len(), MAX_CLAIMS + 1);
        assert!(limits.notes()[0].starts_with("96 answers are left out"));
    }

    #[test]
    fn a_flood_of_new_names_leaves_room_for_the_nodes_that_are_expected() {
        let mut limits = SearchLimits::new(Instant::now());
        let nameless = |i: usize| {
            let id = NodeId::parse(&format!("u{i}")).unwrap();
            Node::read(id, b"{}").unwrap()
        };
        let taken = (0..MAX_NODES + 50).filter(|i| limits.take(&nameless(*i), false));
        assert_eq!(taken.count(), MAX_NODES);
        assert!(limits.take(&node("n1", "m1", "node1"), true));
        assert!(limits.reads(MAX_ANSWER) && !limits.reads(MAX_ANSWER + 1));
        assert_eq!(limits.notes().len(), 2);
    }

    #[test]
    fn a_search_ends_even_if_answers_never_do() {
        let limits = SearchLimits::new(Instant::now());
        assert_eq!(limits.longest(None), LONGEST);
        let asked = limits.longest(Some(Duration::from_secs(60)));
        assert_eq!(asked, Duration::from_secs(180));
    }
}
