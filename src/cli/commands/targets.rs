//! `-a`, `-c`, `-n`, `-w`, `--discover`: which nodes a command is for, and finding them.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::values::duration;
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::Trace;
use client::{
    Client, Found, Node, NodeName, Search, Selected, Selector, Target, Unselectable, discover,
};

/// Nodes of which it is told one by one why they were left out.
const MAX_TOLD: usize = 5;

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// All nodes that answer
    #[arg(short, long, help_heading = TARGETS)]
    all: bool,
    /// All but headnodes
    #[arg(short, long, help_heading = TARGETS)]
    compute: bool,
    /// By UUID, UUID-MAC or hostname
    #[arg(short, long, help_heading = TARGETS, value_name = "NODE,…", value_delimiter = ',')]
    nodes: Vec<String>,
    /// By a jq expression on sysinfo
    #[arg(short = 'w', long = "where", help_heading = TARGETS, value_name = "EXPR")]
    expression: Option<String>,
}

const TARGETS: &str = "Targets, exactly one of";

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// Silence that ends a search [default: 1, less once
    /// all that answered the last time have answered]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true, verbatim_doc_comment)]
    discover: Option<Duration>,
}

impl TargetArgs {
    pub(super) fn selector(&self) -> Result<Selector> {
        if let Some(expression) = &self.expression {
            return Ok(Selector::compile(expression)?);
        }
        Ok(if self.all {
            Selector::All
        } else if self.compute {
            Selector::Compute
        } else {
            Selector::Named(self.nodes.iter().cloned().map(NodeName).collect())
        })
    }
}

impl DiscoverArgs {
    /// The nodes that `selector` chooses, and how `ur` ends at the least. Fails unless they are exactly what was asked
    /// for; but a few odd ones among many are left out, and that is told.
    pub(super) async fn find_targets(
        &self,
        client: &Client,
        selector: &Selector,
        trace: &Trace,
    ) -> Result<(Vec<Target>, Exit)> {
        let nodes = find_nodes(client, selector.search(self.discover), trace).await?;
        let Selected { targets, left_out } = selector.select(&nodes)?;
        trace.say(format_args!("{} of them are meant", targets.len()));
        tell_left_out(&left_out);
        let of_several = |why: &Unselectable| matches!(why, Unselectable::DuplicateUuid(_));
        let exit = match left_out.iter().any(of_several) {
            true => Exit::NoAnswer,
            false => Exit::Ok,
        };
        Ok((targets, exit))
    }

    /// A search for every node that answers.
    pub(super) fn search(&self) -> Search {
        Search::for_all(self.discover)
    }
}

pub(super) async fn find_nodes(
    client: &Client,
    search: Search,
    trace: &Trace,
) -> Result<Vec<Node>> {
    trace.say(format_args!("connected; asking who is there"));
    let Found { nodes, notes } = discover(client, search).await?;
    trace.say(format_args!("{} nodes answered", nodes.len()));
    notes.iter().for_each(|note| tell(&format!("ur: {note}")));
    Ok(nodes)
}

/// The first few of them, however many there are.
pub(super) fn tell_left_out(left_out: &[Unselectable]) {
    for why in left_out.iter().take(MAX_TOLD) {
        tell(&format!("ur: left out: {why}"));
    }
    if left_out.len() > MAX_TOLD {
        let more = left_out.len() - MAX_TOLD;
        tell(&format!("ur: left out: {more} more"));
    }
}
