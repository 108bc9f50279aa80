//! `-a`, `-c`, `-n`, `-g`, `-w`, `-x`, `--discover`: which nodes a command is for, and finding them.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::broker::BrokerArgs;
use super::past_run;
use super::values::{duration, request_id};
use crate::exit::{Exit, Usage};
use crate::stderr::tell;
use crate::view::{Trace, fold};
use client::{
    Client, Found, Groups, NodeSets, Operator, Remembered, Search, Selected, Selector, Target,
    Undone, Unselectable, discover,
};
use protocol::RequestId;

/// Nodes of which it is told one by one why they were left out.
const MAX_TOLD: usize = 5;

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct TargetArgs {
    /// All nodes that answer
    #[arg(short, long, help_heading = TARGETS)]
    #[arg(conflicts_with_all = ["compute", "nodes", "groups", "expression", "failed_of", "unanswered_of"])]
    all: bool,
    /// All but headnodes
    #[arg(short, long, help_heading = TARGETS)]
    compute: bool,
    /// By name, address or UUID: node[1-20],@GROUP,db*.
    /// @FILE and - (stdin) have some on each line
    #[arg(short, long, help_heading = TARGETS, value_name = "NODE,…", verbatim_doc_comment)]
    nodes: Vec<String>,
    /// Of groups: ~/.config/ur/groups, clustershell's
    #[arg(short, long = "group", help_heading = TARGETS, value_name = "GROUP,…")]
    groups: Vec<String>,
    /// By a jq expression on sysinfo
    #[arg(short = 'w', long = "where", help_heading = TARGETS, value_name = "EXPR")]
    expression: Option<String>,
    /// Of an earlier run, the nodes that failed
    #[arg(long, help_heading = TARGETS, value_name = "ID", value_parser = request_id)]
    failed_of: Option<RequestId>,
    /// Of an earlier run, those without an answer
    #[arg(long, help_heading = TARGETS, value_name = "ID", value_parser = request_id)]
    unanswered_of: Option<RequestId>,
    /// But not these
    #[arg(short = 'x', long, help_heading = TARGETS, value_name = "NODE,…")]
    exclude: Vec<String>,
}

const TARGETS: &str = "Targets; several narrow each other";

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// Silence that ends a search [default: 1, less once
    /// all that answered the last time have answered]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true, verbatim_doc_comment)]
    discover: Option<Duration>,
}

impl TargetArgs {
    pub(crate) fn selector(&self) -> Result<Selector> {
        let texts = self.nodes.iter().chain(&self.exclude).chain(&self.groups);
        let groups = groups_in_use(texts, !self.groups.is_empty())?;
        let mut sets = NodeSets::new(&groups);
        let mut narrowing = Vec::new();
        if self.all {
            narrowing.push(Selector::All);
        }
        if self.compute {
            narrowing.push(Selector::Compute);
        }
        narrowing.extend(any_of(&self.nodes, |text| node_set(&mut sets, text))?);
        narrowing.extend(any_of(&self.groups, |text| Ok(sets.groups(text)?))?);
        if let Some(expression) = &self.expression {
            narrowing.push(Selector::compile(expression)?);
        }
        narrowing.extend(self.undone()?);
        let Some(selector) = narrowing.into_iter().reduce(Selector::and) else {
            let what = "-x leaves nodes out: of whom, say -a, -c, -n, -g or -w";
            return Err(Usage(what.to_owned()).into());
        };
        let excluded = any_of(&self.exclude, |text| node_set(&mut sets, text))?;
        Ok(match excluded {
            Some(excluded) => selector.without(excluded),
            None => selector,
        })
    }
}

impl TargetArgs {
    /// Of both flags together, both: no node is in either.
    fn undone(&self) -> Result<Option<Selector>> {
        let of = [
            (&self.failed_of, Undone::Failed),
            (&self.unanswered_of, Undone::Unanswered),
        ];
        let of = of.into_iter();
        let of = of.filter_map(|(request, how)| Some((request.as_ref()?, how)));
        let parts: Vec<_> = of
            .map(|(request, how)| Ok((Operator::Or, past_run::undone(request, how)?)))
            .collect::<Result<_>>()?;
        Ok((!parts.is_empty()).then_some(Selector::Set(parts)))
    }
}

/// What a flag that takes node sets was given.
pub(crate) fn node_sets(texts: &[String]) -> Result<Option<Selector>> {
    let groups = groups_in_use(texts.iter(), false)?;
    let mut sets = NodeSets::new(&groups);
    any_of(texts, |text| node_set(&mut sets, text))
}

/// Files of groups are read where a group may be named.
fn groups_in_use<'a>(mut texts: impl Iterator<Item = &'a String>, always: bool) -> Result<Groups> {
    match always || texts.any(|text| text == "-" || text.contains('@')) {
        true => Groups::of_this_user(),
        false => Ok(Groups::default()),
    }
}

fn any_of(
    texts: &[String],
    mut read: impl FnMut(&str) -> Result<Selector>,
) -> Result<Option<Selector>> {
    let parts = texts.iter().map(|text| Ok((Operator::Or, read(text)?)));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok((!parts.is_empty()).then_some(Selector::Set(parts)))
}

fn node_set(sets: &mut NodeSets<'_>, text: &str) -> Result<Selector> {
    if text != "-" {
        return Ok(sets.parse(text)?);
    }
    let text = io::read_to_string(io::stdin()).context("reading nodes from stdin")?;
    Ok(sets.lines(&text, "stdin")?)
}

impl DiscoverArgs {
    /// Connects, and finds the nodes that `targets` chooses, and those that it means besides; for commands that say nothing of
    /// the search.
    pub(crate) async fn connect_and_find(
        &self,
        broker: &BrokerArgs,
        targets: &TargetArgs,
    ) -> Result<(Client, Vec<Target>, MissingNodes)> {
        let selector = targets.selector()?;
        let client = broker.connect().await?;
        let found = self.find_targets(&client, &selector, &Trace::off()).await?;
        Ok((client, found.0, found.1))
    }

    /// The nodes that `selector` chooses, and those that it means besides. Fails unless they are exactly what was asked
    /// for; but a few odd ones among many are left out, and that is told.
    pub(crate) async fn find_targets(
        &self,
        client: &Client,
        selector: &Selector,
        trace: &Trace,
    ) -> Result<(Vec<Target>, MissingNodes)> {
        let found = find_nodes(client, selector.search(self.discover), trace).await?;
        let meant = selector.missing_among(&found.missing);
        let mut missing = match meant {
            Some(meant) => MissingNodes {
                least: match found.misses_unknown {
                    true => Exit::NoAnswer,
                    false => Exit::Ok,
                },
                ..MissingNodes::of(meant.into_iter().cloned().collect(), false)
            },
            None => MissingNodes::of(found.missing.clone(), true),
        };
        let selected = selector
            .select_knowing(&found.nodes, &found.missing)
            .map_err(|why| {
                if matches!(why, Unselectable::NoNode { .. }) {
                    missing.tell();
                }
                suggesting(why.remembering(&found.missing))
            });
        let Selected { targets, left_out } = selected?;
        trace.say(format_args!("{} of them are meant", targets.len()));
        tell_left_out(&left_out);
        missing.miss(&left_out);
        Ok((targets, missing))
    }

    /// A search for every node that answers.
    pub(crate) fn search(&self) -> Search {
        Search::for_all(self.discover)
    }
}

/// Groups are read here for what they may explain: that they cannot be read does not matter then.
fn suggesting(why: Unselectable) -> Unselectable {
    let groups = Groups::of_this_user().unwrap_or_default();
    why.suggesting(&groups)
}

pub(crate) async fn find_nodes(client: &Client, search: Search, trace: &Trace) -> Result<Found> {
    trace.say(format_args!("connected; asking who is there"));
    let found = discover(client, search).await?;
    let count = found.nodes.len();
    let nodes = if count == 1 { "node" } else { "nodes" };
    trace.say(format_args!("{count} {nodes} answered"));
    let notes = found.notes.iter();
    notes.for_each(|note| tell(&format!("ur: {note}")));
    Ok(found)
}

/// The nodes that are remembered, did not answer, and are meant, or may be. Nothing is sent to them.
pub(crate) struct MissingNodes {
    pub(crate) nodes: Vec<Remembered>,
    /// Whether they are meant is not known.
    perhaps: bool,
    /// How `ur` ends at the least for other reasons.
    least: Exit,
}

impl MissingNodes {
    pub(crate) fn of(nodes: Vec<Remembered>, perhaps: bool) -> Self {
        Self {
            nodes,
            perhaps,
            least: Exit::Ok,
        }
    }

    /// Nodes of a doubtful UUID, and those of which the expression cannot say whether they are meant, may be.
    fn miss(&mut self, left_out: &[Unselectable]) {
        if !left_out.is_empty() {
            self.least = Exit::NoAnswer;
        }
    }

    /// Says at the end of a command who did not answer. Returns its exit status.
    pub(crate) fn end(&self, exit: Exit) -> Exit {
        self.tell();
        match self.nodes.is_empty() || self.perhaps {
            true => exit.max(self.least),
            false => exit.max(Exit::NoAnswer),
        }
    }

    /// Those that are meant, to be recorded.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let nodes = self.nodes.iter().filter(|_| !self.perhaps);
        nodes.map(|known| Target::of(&known.node)).collect()
    }

    pub(crate) fn tell(&self) {
        if self.nodes.is_empty() {
            return;
        }
        let names: Vec<String> = self.nodes.iter().map(|it| it.node.name()).collect();
        let names = fold(names.iter().map(String::as_str));
        tell(&match self.perhaps {
            true => format!("ur: did not answer, so -w was not asked about them: {names}"),
            false => format!("ur: did not answer: {names}"),
        });
    }
}

/// The first few of them, however many there are.
pub(crate) fn tell_left_out(left_out: &[Unselectable]) {
    for why in left_out.iter().take(MAX_TOLD) {
        tell(&format!("ur: left out: {why}"));
    }
    if left_out.len() > MAX_TOLD {
        let more = left_out.len() - MAX_TOLD;
        tell(&format!("ur: left out: {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::NoVerdict;

    #[test]
    fn a_node_that_is_left_out_for_what_it_says_is_one_that_was_not_reached() {
        let mut missing = MissingNodes::of(Vec::new(), true);
        missing.miss(&[]);
        assert_eq!(missing.end(Exit::Ok), Exit::Ok);
        let why = NoVerdict::Value(client::Plain::of("\"x\""), "a text");
        let node = "node1".to_owned();
        missing.miss(&[Unselectable::NoVerdict { node, why }]);
        assert_eq!(missing.end(Exit::Ok), Exit::NoAnswer);
    }
}
