//! `ur nodes`: the nodes that answer, and those that did once.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::targets::{DiscoverArgs, MissingNodes, find_nodes, node_sets, tell_left_out};
use crate::stderr::tell;
use crate::view::columns::{BadColumn, Column, Order, sort};
use crate::view::json::Form;
use crate::view::nodes::NodeTable;
use crate::view::{Trace, terminal_width};
use client::{
    Clock, Filter, Node, RememberedNodes, Search, UnknownKey, Unselectable, duplicate_uuids,
    matching,
};
use protocol::NodeId;

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
    /// Columns: HOSTNAME, UUID…, or jq expressions
    #[arg(short = 'o', long, value_name = "COLUMN,…", value_parser = columns)]
    #[arg(conflicts_with_all = ["json", "json_lines"])]
    output: Option<Columns>,
    /// Sort by a column or a jq expression; by -COLUMN, the
    /// largest first
    #[arg(long, value_name = "COLUMN", value_parser = order, verbatim_doc_comment)]
    #[arg(allow_hyphen_values = true)]
    sort: Option<Arc<Order>>,
    /// No header
    #[arg(short, long)]
    quiet: bool,
    /// Remember these nodes no more, so that they are not
    /// missed. Sends nothing
    #[arg(long, value_name = "NODE,…")]
    #[arg(verbatim_doc_comment, conflicts_with_all = ["expression", "json", "json_lines"])]
    forget: Vec<String>,
    /// Trace on stderr what happens when
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    discover: DiscoverArgs,
}

/// Of one `-o`. Without the name clap would take it for an option that comes several times.
type Columns = Arc<Vec<Column>>;

fn columns(text: &str) -> Result<Columns, BadColumn> {
    Column::parse_list(text).map(Arc::new)
}

fn order(text: &str) -> Result<Arc<Order>, BadColumn> {
    Order::parse(text).map(Arc::new)
}

pub(crate) async fn nodes(broker: &BrokerArgs, args: NodesArgs) -> Result<Exit> {
    if !args.forget.is_empty() {
        return forget(&RememberedNodes::of(&broker.urls()?), &args.forget).await;
    }
    let trace = Trace::new(args.verbose);
    let filter = args.expression.as_deref().map(Filter::parse).transpose()?;
    let filter = filter.map(Arc::new);
    let columns = args.output.unwrap_or_else(|| Arc::new(Column::usual()));
    let by = args.sort.as_deref().map(|order| &order.column);
    let mut looked_at = columns.iter().chain(by);
    let is_all_said = looked_at.any(Column::needs_sysinfo);
    let client = broker.connect().await?;
    let search = Search {
        keep_sysinfo: filter.is_some() || is_all_said || args.json || args.json_lines,
        ..args.discover.search()
    };
    let found = find_nodes(&client, search, &trace).await?;
    let (all, missing) = (found.nodes, found.missing);
    client.close().await;
    let (mut meant, unknown) = meant(filter.as_ref(), &all)?;
    let form = Form::of(args.json, args.json_lines);
    let missing = MissingNodes::of(missing, filter.is_some());
    // Nothing but names is remembered: no facts to be asked about, nor to be printed as JSON.
    let is_listed = filter.is_none() && form.is_none() && Column::say_agent(&columns);
    let listed = if is_listed { &*missing.nodes } else { &[] };

    let mut order = args.sort.iter();
    order.try_for_each(|order| sort(&mut meant, order))?;
    let faults = duplicate_uuids(&all);
    let table = NodeTable {
        columns: &columns,
        faults: &faults,
        missing: listed,
        has_header: !args.quiet,
        width: terminal_width(),
    };
    print(&meant, form, &table)?;
    if !is_listed {
        missing.tell();
    }
    if meant.is_empty() {
        return Err(nobody(all.len(), unknown).into());
    }
    for fault in &faults {
        tell(&format!("ur: {fault}"));
    }
    Ok(if faults.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn print(meant: &[&Node], form: Option<Form>, table: &NodeTable<'_>) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut notes = Vec::new();
    match form {
        Some(form) => form.write(meant.iter().map(|node| sysinfo(node)), &mut out)?,
        None if meant.is_empty() && table.missing.is_empty() => {}
        None => notes = table.write(meant, &mut out)?,
    }
    out.flush()?;
    notes.iter().for_each(|note| tell(&format!("ur: {note}")));
    Ok(())
}

/// Those that the expression accepts, all without one; and keys in it that no node has.
fn meant<'a>(
    filter: Option<&Arc<Filter>>,
    all: &'a [Node],
) -> Result<(Vec<&'a Node>, Vec<UnknownKey>)> {
    let nodes: Vec<&Node> = all.iter().collect();
    let Some(filter) = filter.filter(|_| !all.is_empty()) else {
        return Ok((nodes, Vec::new()));
    };
    let matching = matching(filter, &nodes)?;
    let left_out = matching.left_out.into_iter().map(|(_, why)| why);
    tell_left_out(&left_out.collect::<Vec<_>>());
    let meant = matching.nodes.into_iter().map(|i| nodes[i]).collect();
    Ok((meant, matching.unknown))
}

fn nobody(answered: usize, unknown: Vec<UnknownKey>) -> Unselectable {
    match unknown.is_empty() {
        true => Unselectable::NoNode { answered },
        false => Unselectable::UnknownKeys {
            keys: unknown,
            some_match: false,
        },
    }
}

async fn forget(fleet: &RememberedNodes, names: &[String]) -> Result<Exit> {
    let known = fleet.nodes()?;
    let nodes: Vec<Node> = known.into_iter().map(|known| known.node).collect();
    let Some(named) = node_sets(names)? else {
        return Ok(Exit::Ok);
    };
    let meant = named.select(&nodes)?.targets;
    let meant: HashSet<NodeId> = meant.into_iter().map(|target| target.id).collect();
    let mut out = io::stdout().lock();
    let clock = Clock::of(&out);
    let (forgotten, fault) = fleet.forget(|node| meant.contains(&node.id)).await?;
    fault.iter().for_each(|fault| tell(&format!("ur: {fault}")));
    for known in forgotten {
        let Node { hostname, id, .. } = &known.node;
        writeln!(
            out,
            "forgot {hostname} ({id}), last seen {}",
            known.when(&clock)
        )?;
    }
    Ok(Exit::Ok)
}

/// All that the node said, laid out anew.
fn sysinfo(node: &Node) -> Value {
    let said = node
        .sysinfo
        .as_deref()
        .map(|raw| serde_json::from_str(raw.get()));
    said.and_then(Result::ok).unwrap_or_default()
}
