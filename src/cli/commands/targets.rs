//! `-a`, `-c`, `-n`, `-w`, `--discover`: which nodes a command is for, and finding them.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::values::duration;
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::{Trace, fold};
use client::{
    Client, Found, NodeName, Remembered, Search, Selected, Selector, Target, Unselectable, discover,
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
    /// The nodes that `selector` chooses, and those that it means besides. Fails unless they are exactly what was asked
    /// for; but a few odd ones among many are left out, and that is told.
    pub(super) async fn find_targets(
        &self,
        client: &Client,
        selector: &Selector,
        trace: &Trace,
    ) -> Result<(Vec<Target>, Absent)> {
        let found = find_nodes(client, selector.search(self.discover), trace).await?;
        let meant = selector.meant(&found.missing);
        let mut absent = match meant {
            Some(meant) => Absent::of(meant.into_iter().cloned().collect(), false),
            None => Absent::of(found.missing.clone(), true),
        };
        let selected = selector.select(&found.nodes).map_err(|why| {
            if matches!(why, Unselectable::NoNode { .. }) {
                absent.tell();
            }
            why.remembering(&found.missing)
        });
        let Selected { targets, left_out } = selected?;
        trace.say(format_args!("{} of them are meant", targets.len()));
        tell_left_out(&left_out);
        let of_several = |why: &Unselectable| matches!(why, Unselectable::DuplicateUuid(_));
        if left_out.iter().any(of_several) {
            absent.least = Exit::NoAnswer;
        }
        Ok((targets, absent))
    }

    /// A search for every node that answers.
    pub(super) fn search(&self) -> Search {
        Search::for_all(self.discover)
    }
}

pub(super) async fn find_nodes(client: &Client, search: Search, trace: &Trace) -> Result<Found> {
    trace.say(format_args!("connected; asking who is there"));
    let found = discover(client, search).await?;
    trace.say(format_args!("{} nodes answered", found.nodes.len()));
    let notes = found.notes.iter();
    notes.for_each(|note| tell(&format!("ur: {note}")));
    Ok(found)
}

/// The nodes that are remembered, did not answer, and are meant, or may be. Nothing is sent to them.
pub(super) struct Absent {
    pub(super) nodes: Vec<Remembered>,
    /// Whether they are meant is not known.
    perhaps: bool,
    /// How `ur` ends at the least for other reasons.
    least: Exit,
}

impl Absent {
    pub(super) fn of(nodes: Vec<Remembered>, perhaps: bool) -> Self {
        Self {
            nodes,
            perhaps,
            least: Exit::Ok,
        }
    }

    /// Says at the end of a command who did not answer. Returns its exit status.
    pub(super) fn end(&self, exit: Exit) -> Exit {
        self.tell();
        match self.nodes.is_empty() || self.perhaps {
            true => exit.max(self.least),
            false => exit.max(Exit::NoAnswer),
        }
    }

    pub(super) fn tell(&self) {
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
pub(super) fn tell_left_out(left_out: &[Unselectable]) {
    for why in left_out.iter().take(MAX_TOLD) {
        tell(&format!("ur: left out: {why}"));
    }
    if left_out.len() > MAX_TOLD {
        let more = left_out.len() - MAX_TOLD;
        tell(&format!("ur: left out: {more} more"));
    }
}
