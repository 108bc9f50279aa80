//! Selection: which of the nodes that answered a command is for. Refuses whatever is not exactly what was
//! meant: nothing has been sent by then, and nothing is.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::facts::{self, FACTS};
use super::judge::{UnknownKey, judge, unknown_keys};
use super::names::{NodeName, Wanted, resolve};
use super::{
    BadFilter, DuplicateUuid, Filter, NoVerdict, Node, Plain, Remembered, Search, Target,
    duplicate_uuids,
};
use protocol::NodeId;

/// What was asked for.
#[derive(Debug)]
pub enum Selector {
    All,
    /// All but headnodes.
    Compute,
    Named(Vec<NodeName>),
    Where(Arc<Filter>),
}

/// The targets, and the nodes that are none though they may have been meant, each with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selected {
    pub targets: Vec<Target>,
    pub left_out: Vec<Unselectable>,
}

/// Why nothing can be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Unselectable {
    /// These were named and did not answer.
    Missing(Vec<String>),
    /// The same, and some of them are remembered, each with what it is remembered as.
    Down {
        down: Vec<(String, Remembered)>,
        unknown: Vec<String>,
    },
    /// Of so many nodes that answered, none was asked for.
    NoNode { answered: usize },
    /// Two names for one node.
    Repeated(String, String),
    /// One hostname for several nodes.
    Ambiguous(String, Vec<NodeId>),
    /// One UUID for several machines.
    DuplicateUuid(Vec<DuplicateUuid>),
    /// The expression says neither yes nor no to this node.
    NoVerdict { node: String, why: NoVerdict },
    /// It did not end on this node.
    Endless { node: String },
    /// It reads keys that no node has, most likely misspelt. Some nodes would have been meant all the same, or none.
    UnknownKeys {
        keys: Vec<UnknownKey>,
        some_match: bool,
    },
}

impl Selector {
    pub fn compile(expression: &str) -> Result<Self, BadFilter> {
        let filter = Filter::parse(expression)?;
        Ok(Self::Where(Arc::new(filter)))
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
    pub fn select(&self, nodes: &[Node]) -> Result<Selected, Unselectable> {
        let (mut left_out, mut unknown) = (Vec::new(), Vec::new());
        let chosen = match self {
            Self::All => nodes.iter().collect(),
            Self::Compute => nodes.iter().filter(|node| !node.is_headnode).collect(),
            Self::Where(filter) => {
                let matching = matching(filter, nodes)?;
                (left_out, unknown) = (matching.left_out, matching.unknown);
                matching.nodes
            }
            Self::Named(names) => {
                let targets = resolve(names, nodes)?;
                return Ok(Selected { targets, left_out });
            }
        };
        let (targets, duplicates) = one_for_each(&chosen, nodes);
        if targets.is_empty() && !unknown.is_empty() {
            return Err(Unselectable::UnknownKeys {
                keys: unknown,
                some_match: false,
            });
        }
        if targets.is_empty() {
            return Err(match duplicates {
                none if none.is_empty() => Unselectable::NoNode {
                    answered: nodes.len(),
                },
                some => Unselectable::DuplicateUuid(some),
            });
        }
        let duplicates = duplicates.into_iter();
        left_out.extend(duplicates.map(|it| Unselectable::DuplicateUuid(vec![it])));
        Ok(Selected { targets, left_out })
    }

    /// Which of the nodes that did not answer are meant, all of them by name. An expression is about facts, which are
    /// not remembered: then it is not known.
    pub fn meant<'a>(&self, missing: &'a [Remembered]) -> Option<Vec<&'a Remembered>> {
        let missing = missing.iter();
        match self {
            Self::All => Some(missing.collect()),
            Self::Compute => Some(missing.filter(|it| !it.node.is_headnode).collect()),
            // Where one of these is missing, nothing is sent.
            Self::Named(_) => Some(Vec::new()),
            Self::Where(_) => None,
        }
    }
}

/// A target for each UUID, and the UUIDs that are none: those of several machines, one of which may be meant. A
/// UUID is chosen if all that was said under it is.
fn one_for_each(chosen: &[&Node], nodes: &[Node]) -> (Vec<Target>, Vec<DuplicateUuid>) {
    let mut answers: HashMap<&NodeId, usize> = HashMap::new();
    for node in nodes {
        *answers.entry(&node.id).or_default() += 1;
    }
    for node in chosen {
        answers.entry(&node.id).and_modify(|left| *left -= 1);
    }
    let mut duplicates = duplicate_uuids(nodes);
    let ids: HashSet<&NodeId> = chosen.iter().map(|node| &node.id).collect();
    duplicates.retain(|it| ids.contains(&it.id));
    let several: HashSet<&NodeId> = duplicates.iter().map(|it| &it.id).collect();
    let mut seen = HashSet::new();
    let targets = chosen
        .iter()
        .filter(|node| answers[&node.id] == 0 && !several.contains(&node.id))
        .filter(|node| seen.insert(&node.id))
        .map(|node| Target::of(node))
        .collect();
    (targets, duplicates)
}

/// The nodes that a filter accepts, and those on which it failed.
#[derive(Debug)]
pub struct Matching<'a> {
    pub nodes: Vec<&'a Node>,
    pub left_out: Vec<Unselectable>,
    /// Keys that no node has; then it accepts none.
    pub unknown: Vec<UnknownKey>,
}

/// Asks `filter` about nodes that were asked for all they say. An odd node on which it fails is left out; an expression
/// that fails everywhere is wrong itself, and so is one that says neither yes nor no.
pub fn matching<'a>(filter: &Arc<Filter>, nodes: &'a [Node]) -> Result<Matching<'a>, Unselectable> {
    let facts: Vec<_> = nodes.iter().map(facts::of).collect();
    let verdicts = judge(filter, &facts);
    if let Some(node) = nodes.get(verdicts.len()) {
        let node = node.name();
        return Err(Unselectable::Endless { node });
    }
    let mut matching = Matching {
        nodes: Vec::new(),
        left_out: Vec::new(),
        unknown: unknown_keys(&filter.keys, FACTS.iter().map(|(name, _)| *name), &facts),
    };
    for (node, verdict) in nodes.iter().zip(verdicts) {
        let no_verdict = |why| Unselectable::NoVerdict {
            node: node.name(),
            why,
        };
        match verdict {
            Ok(true) => matching.nodes.push(node),
            Ok(false) => {}
            Err(why @ NoVerdict::Failed(_)) => matching.left_out.push(no_verdict(why)),
            Err(why @ NoVerdict::Value(..)) => return Err(no_verdict(why)),
        }
    }
    if matching.left_out.len() == nodes.len()
        && let Some(first) = matching.left_out.pop()
    {
        return Err(first);
    }
    if !matching.nodes.is_empty() && !matching.unknown.is_empty() {
        return Err(Unselectable::UnknownKeys {
            keys: matching.unknown,
            some_match: true,
        });
    }
    Ok(matching)
}

impl Unselectable {
    /// With what is remembered of nodes that did not answer.
    pub fn remembering(self, missing: &[Remembered]) -> Self {
        let Self::Missing(names) = self else {
            return self;
        };
        let nodes: Vec<Node> = missing.iter().map(|it| it.node.clone()).collect();
        let (mut down, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            let found = resolve(&[NodeName(name.clone())], &nodes);
            let id = found.ok().and_then(|mut found| found.pop());
            let known = id.and_then(|target| missing.iter().find(|it| it.node.id == target.id));
            match known {
                Some(known) => down.push((name, known.clone())),
                None => unknown.push(name),
            }
        }
        match down.is_empty() {
            true => Self::Missing(unknown),
            false => Self::Down { down, unknown },
        }
    }
}

impl fmt::Display for Unselectable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(names) => {
                let names: Vec<Plain> = names.iter().map(|name| Plain::of(name)).collect();
                write!(f, "not found: {}", names.join(", "))
            }
            Self::Down { down, unknown } => {
                for (i, (name, known)) in down.iter().enumerate() {
                    let name = Plain::of(name);
                    f.write_str(if i > 0 { "\n" } else { "" })?;
                    write!(f, "{name} does not answer: last seen {}", known.when())?;
                }
                if !unknown.is_empty() {
                    write!(f, "\n{}", Self::Missing(unknown.clone()))?;
                }
                Ok(())
            }
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
            Self::NoVerdict { node, why } => f.write_str(&why.about(node)),
            Self::Endless { node } => write!(
                f,
                "the expression does not end on {node}, or takes too much memory: it was ended"
            ),
            Self::UnknownKeys { keys, .. } => {
                for (i, unknown) in keys.iter().enumerate() {
                    f.write_str(if i > 0 { "\n" } else { "" })?;
                    write!(f, "{unknown}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Unselectable {}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
