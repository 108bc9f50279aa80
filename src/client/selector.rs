//! Selection: which of the nodes that answered a command is for. Refuses whatever is not exactly what was
//! meant: nothing has been sent by then, and nothing is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::evaluate::{Matching, matching};
use super::missing_nodes::all_cover;
use super::names::NameIndex;
use super::targets::{Choice, Meant, targets};
use super::{
    BadFilter, Filter, Node, NodeName, Pattern, Remembered, Search, Target, Unselectable,
    WantedNames,
};

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Selector {
    All,
    /// All but headnodes.
    Compute,
    /// One part of what was typed: a name, or a range of them.
    Named(Vec<NodeName>),
    Like(Pattern),
    Where(Arc<Filter>),
    /// Nodes of an earlier run. Who is not there is missing, as one of all.
    Recorded(Vec<NodeName>),
    /// What was defined elsewhere. It may mean nobody.
    Group(Arc<Selector>),
    /// From the left to the right.
    Set(Vec<(Operator, Selector)>),
}

/// How a part of a set is joined with what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Without,
}

/// The targets, and the nodes that are none though they may have been meant, each with the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selected {
    pub targets: Vec<Target>,
    pub left_out: Vec<Unselectable>,
}

impl Selector {
    pub fn compile(expression: &str) -> Result<Self, BadFilter> {
        let filter = Filter::parse(expression)?;
        Ok(Self::Where(Arc::new(filter)))
    }

    pub fn recorded<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        Self::Recorded(targets.into_iter().map(NodeName::of_target).collect())
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::Set(vec![(Operator::Or, self), (Operator::And, other)])
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self::Set(vec![(Operator::Or, self), (Operator::Without, other)])
    }

    /// Which nodes have to answer, where that can be known.
    pub fn wanted(&self) -> WantedNames {
        let mut names = Vec::new();
        match self.names(&mut names) {
            true => WantedNames::named(names),
            false => WantedNames::unknown(),
        }
    }

    /// Gathers the names of all nodes that it can mean, and says whether that are all.
    fn names<'a>(&'a self, names: &mut Vec<&'a NodeName>) -> bool {
        match self {
            Self::All | Self::Compute | Self::Like(_) | Self::Where(_) => false,
            Self::Named(those) | Self::Recorded(those) => {
                names.extend(those);
                true
            }
            Self::Group(selector) => selector.names(names),
            Self::Set(parts) => {
                let mut all = true;
                for (operator, part) in parts {
                    match operator {
                        Operator::Or => all &= part.names(names),
                        // These narrow it; a second list of names is waited for, too.
                        Operator::And if !all => all = part.names(names),
                        Operator::And | Operator::Without => {}
                    }
                }
                all
            }
        }
    }

    /// What finds the nodes that it chooses from.
    pub fn search(&self, quiet: Option<Duration>) -> Search {
        Search {
            quiet,
            wanted: self.wanted(),
            keep_sysinfo: self.asks_for_facts(),
        }
    }

    fn asks_for_facts(&self) -> bool {
        match self {
            Self::Where(_) => true,
            Self::Group(selector) => selector.asks_for_facts(),
            Self::Set(parts) => parts.iter().any(|(_, part)| part.asks_for_facts()),
            _ => false,
        }
    }

    /// The targets among `nodes`: by name in the order of the names, else in theirs.
    pub fn select(&self, nodes: &[Node]) -> Result<Selected, Unselectable> {
        self.select_knowing(nodes, &[])
    }

    /// The same, where some that did not answer are remembered.
    pub fn select_knowing(
        &self,
        nodes: &[Node],
        remembered: &[Remembered],
    ) -> Result<Selected, Unselectable> {
        let missing: Vec<Node> = remembered.iter().map(|it| it.node.clone()).collect();
        let candidates = Candidates {
            nodes,
            directory: NameIndex::of(nodes),
            remembered: NameIndex::of(&missing),
        };
        let meant = self.meant(&candidates, None)?;
        if !meant.not_found.is_empty() {
            return Err(candidates.not_found(&meant.not_found));
        }
        for choice in &meant.chosen {
            candidates.refuse_namesake(choice, remembered)?;
        }
        targets(meant, nodes)
    }

    /// `within` is what it narrows: other nodes need not be judged.
    fn meant<'a>(
        &'a self,
        candidates: &Candidates<'_>,
        within: Option<&[Choice<'_>]>,
    ) -> Result<Meant<'a>, Unselectable> {
        let all = 0..candidates.nodes.len();
        Ok(match self {
            Self::All => Meant::of(all),
            Self::Compute => Meant::of(all.filter(|i| !candidates.nodes[*i].is_headnode)),
            Self::Named(names) => candidates.named(names),
            Self::Recorded(names) => candidates.recorded(names),
            Self::Like(pattern) => {
                let meant = Meant::of(all.filter(|i| candidates.is_like(pattern, *i)));
                meant.or_else_not_found(&pattern.written)
            }
            Self::Where(filter) => {
                let judged: Vec<usize> = match within {
                    Some(within) => within.iter().map(|choice| choice.node).collect(),
                    None => all.collect(),
                };
                candidates.judged(filter, &judged)?
            }
            Self::Group(selector) => Meant {
                nobody: Vec::new(),
                ..selector.meant(candidates, within)?
            },
            Self::Set(parts) => {
                let mut meant = Meant::default();
                for (i, (operator, part)) in parts.iter().enumerate() {
                    match operator {
                        Operator::Or => meant.add(part.meant(candidates, None)?),
                        Operator::And => part.narrow(&mut meant, &parts[..i], candidates)?,
                        Operator::Without => part.exclude_from(&mut meant, candidates)?,
                    }
                }
                meant
            }
        })
    }

    /// Of names that did not answer, those count that both sides may mean.
    fn narrow<'a>(
        &'a self,
        meant: &mut Meant<'a>,
        before: &[(Operator, Self)],
        candidates: &Candidates<'_>,
    ) -> Result<(), Unselectable> {
        let mut other = self.meant(candidates, Some(&meant.chosen))?;
        let is_there = |name: &String| !meant.not_found.contains(name);
        other
            .not_found
            .retain(|name| is_there(name) && all_cover(before, name) != Some(false));
        meant
            .not_found
            .retain(|name| self.covers(name) != Some(false));
        meant.narrow(other);
        Ok(())
    }

    /// What is excluded must be somebody, unless it is known that he is not there: a slip would send to him.
    fn exclude_from(
        &self,
        meant: &mut Meant<'_>,
        candidates: &Candidates<'_>,
    ) -> Result<(), Unselectable> {
        let other = self.meant(candidates, None)?;
        let is_known = |name: &String| {
            let name = NodeName(name.clone());
            !candidates.remembered.meant(&name).is_empty()
        };
        let is_strange = |name: &&String| !meant.not_found.contains(name) && !is_known(name);
        let strange: Vec<String> = other.nobody.iter().filter(is_strange).cloned().collect();
        if !strange.is_empty() {
            return Err(candidates.not_found(&strange));
        }
        meant
            .not_found
            .retain(|name| self.covers(name) != Some(true));
        meant.remove(&other, candidates.nodes);
        Ok(())
    }
}

/// What is chosen from.
struct Candidates<'n> {
    nodes: &'n [Node],
    directory: NameIndex<'n>,
    /// Those that did not answer.
    remembered: NameIndex<'n>,
}

impl Candidates<'_> {
    fn named<'a>(&self, names: &'a [NodeName]) -> Meant<'a> {
        let mut meant = Meant::default();
        for name in names {
            let mut those = self.directory.meant(name);
            if !self.remembered.of_host(name).is_empty() {
                // The node of that name is down: another one whose UUID begins so is a stranger.
                those.retain(|i| name.is_whole_name_of(&self.nodes[*i]));
            }
            if those.is_empty() {
                meant.not_found.push(name.0.clone());
            }
            let choices = those.into_iter();
            let choices = choices.map(|node| Choice {
                node,
                name: Some(name),
            });
            meant.chosen.extend(choices);
        }
        if meant.chosen.is_empty() {
            meant.nobody.clone_from(&meant.not_found);
        }
        meant
    }

    fn recorded<'a>(&self, names: &'a [NodeName]) -> Meant<'a> {
        let mut meant = self.named(names);
        let is_strange = |name: &String| {
            let name = NodeName(name.clone());
            self.remembered.meant(&name).is_empty()
        };
        meant.not_found.retain(is_strange);
        meant
    }

    /// Of two nodes of a name, the one that is up is not more likely meant.
    fn refuse_namesake(
        &self,
        choice: &Choice<'_>,
        remembered: &[Remembered],
    ) -> Result<(), Unselectable> {
        let (Some(name), node) = (choice.name, &self.nodes[choice.node]) else {
            return Ok(());
        };
        let mut others = self.remembered.of_host(name).into_iter();
        let other = others.find(|i| remembered[*i].node.id != node.id);
        match other.filter(|_| !name.is_uuid_of(node)) {
            None => Ok(()),
            Some(other) => Err(Unselectable::Namesake {
                name: name.0.clone(),
                there: (node.hostname.to_string(), node.id.clone()),
                down: Box::new(remembered[other].clone()),
            }),
        }
    }

    fn is_like(&self, pattern: &Pattern, i: usize) -> bool {
        pattern.is_of_host(&self.nodes[i].hostname)
    }

    fn judged<'a>(
        &self,
        filter: &Arc<Filter>,
        judged: &[usize],
    ) -> Result<Meant<'a>, Unselectable> {
        let nodes: Vec<&Node> = judged.iter().map(|i| &self.nodes[*i]).collect();
        let Matching {
            nodes,
            left_out,
            unknown,
        } = matching(filter, &nodes)?;
        let place = |place: usize| judged[place];
        Ok(Meant {
            unjudged: left_out.iter().map(|(i, _)| place(*i)).collect(),
            left_out: left_out.into_iter().map(|(_, why)| why).collect(),
            unknown,
            ..Meant::of(nodes.into_iter().map(place))
        })
    }

    fn not_found(&self, names: &[String]) -> Unselectable {
        let mut near = Vec::new();
        for name in names.iter().take(3) {
            near.extend(self.directory.near(&NodeName(name.clone())));
        }
        let mut seen = HashSet::new();
        near.retain(|name| seen.insert(name.clone()));
        Unselectable::NotFound {
            names: names.to_vec(),
            near,
        }
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
pub(super) mod tests;
