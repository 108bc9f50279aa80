//! `ur show`: one page about a node, and its jobs.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::targets::{DiscoverArgs, find_nodes};
use crate::stderr::tell;
use crate::view::{self, Trace, node_page, terminal_width};
use client::{Clock, Node, NodeJobs, NodeName, Search, Selector, Target, jobs};

/// How long a node may take to list its jobs.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(override_usage = "ur show [OPTIONS] NODE")]
pub(crate) struct ShowArgs {
    /// A node, as -n takes it
    node: String,
    #[command(flatten)]
    discover: DiscoverArgs,
}

pub(crate) async fn show(broker: &BrokerArgs, args: ShowArgs) -> Result<Exit> {
    let client = broker.connect().await?;
    let selector = Selector::Named(vec![NodeName(args.node)]);
    let search = Search {
        wanted: selector.wanted(),
        keep_sysinfo: true,
        ..args.discover.search()
    };
    let found = find_nodes(&client, search, &Trace::off()).await?;
    let selected = selector.select(&found.nodes);
    let selected = selected.map_err(|why| why.remembering(&found.missing))?;
    let target = selected.targets.first().context("no node is meant")?;
    let is_meant = |node: &&Node| node.id == target.id && node.mac == target.mac;
    let node = found.nodes.iter().find(is_meant);
    let node = node.context("the node has not described itself")?;
    let answers = jobs(&client, std::slice::from_ref(target), PATIENCE).await?;
    client.close().await;

    let (width, mut out) = (terminal_width(), BufWriter::new(io::stdout().lock()));
    node_page::write(node, &Clock::of(&io::stdout()), width, &mut out)?;
    let jobs: Vec<(&Target, &NodeJobs)> = selected.targets.iter().zip(&answers).collect();
    let mut table = Vec::new();
    view::jobs::write(&jobs, true, width, &mut table)?;
    if !table.is_empty() {
        writeln!(out)?;
        out.write_all(&table)?;
    }
    out.flush()?;
    for line in view::jobs::remarks(&jobs) {
        tell(&format!("ur: {line}"));
    }
    Ok(Exit::Ok)
}
