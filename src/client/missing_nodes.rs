//! Whom a selection means of the nodes that did not answer, as far as they are remembered.

use std::collections::HashSet;

use super::names::NameIndex;
use super::{Node, NodeName, Operator, Remembered, Selector};

impl Selector {
    /// Which of the nodes that did not answer are meant, none of them by its name: where one of these is missing,
    /// nothing is sent. An expression is about facts, which are not remembered: then it is not known.
    pub fn missing_among<'a>(&self, missing: &'a [Remembered]) -> Option<Vec<&'a Remembered>> {
        let nodes: Vec<Node> = missing.iter().map(|it| it.node.clone()).collect();
        let absent = self.names_missing_among(&nodes, &NameIndex::of(&nodes), false)?;
        let missing = missing.iter().zip(0..);
        let meant = missing.filter(|(_, i)| absent.contains(i));
        Some(meant.map(|(it, _)| it).collect())
    }

    fn names_missing_among(
        &self,
        nodes: &[Node],
        directory: &NameIndex<'_>,
        excludes: bool,
    ) -> Option<HashSet<usize>> {
        let those = |is_meant: &dyn Fn(&Node) -> bool| {
            let nodes = nodes.iter().zip(0..).filter(|(node, _)| is_meant(node));
            Some(nodes.map(|(_, i)| i).collect())
        };
        match self {
            Self::All => those(&|_| true),
            Self::Compute => those(&|node| !node.is_headnode),
            Self::Named(_) if !excludes => Some(HashSet::new()),
            Self::Named(names) | Self::Recorded(names) => {
                let meant = names.iter().flat_map(|name| directory.meant(name));
                Some(meant.collect())
            }
            Self::Like(pattern) => those(&|node| pattern.is_of_host(&node.hostname)),
            Self::Where(_) => None,
            Self::Group(selector) => selector.names_missing_among(nodes, directory, excludes),
            Self::Set(parts) => {
                let mut meant = Some(HashSet::new());
                for (operator, part) in parts {
                    let excludes = excludes || *operator == Operator::Without;
                    let other = part.names_missing_among(nodes, directory, excludes);
                    meant = match (operator, meant, other) {
                        (Operator::Or, Some(mut a), Some(b)) => {
                            a.extend(b);
                            Some(a)
                        }
                        (Operator::And, Some(a), Some(b)) => Some(&a & &b),
                        (Operator::Without, Some(a), Some(b)) => Some(&a - &b),
                        (Operator::And, Some(nobody), _) | (Operator::Without, Some(nobody), _)
                            if nobody.is_empty() =>
                        {
                            Some(nobody)
                        }
                        (Operator::And, _, Some(nobody)) if nobody.is_empty() => Some(nobody),
                        _ => None,
                    };
                }
                meant
            }
        }
    }

    /// Whether it means a node of that name, which did not answer. `None` if that cannot be told.
    pub(super) fn covers(&self, missing: &str) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Compute | Self::Where(_) | Self::Recorded(_) => None,
            Self::Named(names) => {
                let key = NodeName(missing.to_owned()).key();
                Some(names.iter().any(|name| name.key() == key))
            }
            Self::Like(pattern) => Some(pattern.is_of_host(missing)),
            Self::Group(selector) => selector.covers(missing),
            Self::Set(parts) => all_cover(parts, missing),
        }
    }
}

pub(super) fn all_cover(parts: &[(Operator, Selector)], missing: &str) -> Option<bool> {
    let mut covers = Some(false);
    for (operator, part) in parts {
        let other = part.covers(missing);
        covers = match operator {
            Operator::Or if covers == Some(true) || other == Some(true) => Some(true),
            Operator::Or => covers.and(other),
            Operator::And if covers == Some(false) || other == Some(false) => Some(false),
            Operator::And => covers.and(other),
            Operator::Without if covers == Some(false) || other == Some(true) => Some(false),
            Operator::Without => other.and(covers),
        };
    }
    covers
}

#[cfg(test)]
#[path = "missing_nodes_tests.rs"]
mod tests;
