//! `ur nodes`: the nodes that answer.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::broker::BrokerArgs;
use super::targets::{DiscoverArgs, find_nodes, tell_left_out};
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::json::Form;
use crate::view::{self, Trace};
use client::{Filter, Matching, Node, Search, Unselectable, duplicate_uuids, matching};

#[derive(Debug, Args)]
#[command(override_usage = "ur nodes [OPTIONS]")]
pub(crate) struct NodesArgs {
    /// Only those that a jq expression on sysinfo accepts
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Print one JSON array of sysinfo
    #[arg(short, long, conflicts_with = "json_lines")]
    json: bool,
    /// Print a line of JSON for each
    #[arg(short = 'J', long)]
    json_lines: bool,
    /// No header
    #[arg(short, long)]
    quiet: bool,
    /// Trace on stderr what happens when
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    discover: DiscoverArgs,
}

pub(crate) async fn nodes(broker: &BrokerArgs, args: NodesArgs) -> Result<Exit> {
    let trace = Trace::new(args.verbose);
    let filter = args.expression.as_deref().map(Filter::parse).transpose()?;
    let filter = filter.map(Arc::new);
    let client = broker.connect().await?;
    let search = Search {
        keep_sysinfo: filter.is_some() || args.json || args.json_lines,
        ..args.discover.search()
    };
    let all = find_nodes(&client, search, &trace).await?;
    client.close().await;
    if all.is_empty() {
        return Err(Unselectable::NoNode { answered: 0 }.into());
    }
    let meant = match &filter {
        Some(filter) => {
            let Matching {
                nodes,
                left_out,
                unknown,
            } = matching(filter, &all)?;
            tell_left_out(&left_out);
            unknown.iter().for_each(|key| tell(&format!("ur: {key}")));
            nodes
        }
        None => all.iter().collect(),
    };

    let faults = duplicate_uuids(&all);
    let mut out = BufWriter::new(io::stdout().lock());
    match Form::of(args.json, args.json_lines) {
        Some(form) => form.write(meant.iter().map(|node| sysinfo(node)), &mut out)?,
        None if meant.is_empty() => {}
        None => view::nodes::write(&meant, &faults, !args.quiet, &mut out)?,
    }
    out.flush()?;
    for fault in &faults {
        tell(&format!("ur: {fault}"));
    }
    Ok(if faults.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

/// All that the node said, laid out anew.
fn sysinfo(node: &Node) -> Value {
    let said = node
        .sysinfo
        .as_deref()
        .map(|raw| serde_json::from_str(raw.get()));
    said.and_then(Result::ok).unwrap_or_default()
}
