//! `ur attach`: waits for the answers of a run whose `ur` is gone. Nothing is sent that starts anything.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};

use super::args::{AttachArgs, BrokerArgs};
use super::exit::Usage;
use super::run::{DEFAULT_WAIT, watch};
use super::screen::View;
use super::trace::Trace;
use super::{Exit, find_targets};
use client::{Action, Client, PastRun, Plan, Runs, STATUS_REQUEST, Target};
use protocol::{Label, NodeId, Outcome};

pub(crate) async fn attach(broker: &BrokerArgs, args: AttachArgs) -> Result<Exit> {
    let runs = Runs::of_this_user();
    let Some(request) = args.request.clone() else {
        return list(&runs?);
    };
    let past = match &runs {
        Ok(runs) => runs.find(&request)?,
        Err(_) => None,
    };
    let trace = Trace::new(args.watch.verbose);
    let mut client = broker.connect().await?;
    let (targets, not_sent) = targets(&client, &args, past.as_ref(), &trace).await?;
    let wait = past.as_ref().map(|past| past.start.wait);
    let plan = Plan {
        request: request.clone(),
        action: Action::Attach,
        body: STATUS_REQUEST.to_vec(),
        pickup: None,
        wait: args.wait.or(wait).unwrap_or(DEFAULT_WAIT),
        concurrency: None,
        max_fail: None,
        stream: View::of(&args.watch.view) == View::Stream,
        earlier: past.iter().flat_map(PastRun::known).map(owned).collect(),
        label: Label::default(),
    };
    let file = runs.ok().and_then(|runs| runs.append(&request).ok());
    let report = watch(&mut client, &plan, targets, &args.watch, (&trace, file)).await?;
    client.close().await;
    for target in &not_sent {
        eprintln!("ur: not sent to {}: its turn never came", target.hostname);
    }
    Ok(Exit::of_attach(&report, !not_sent.is_empty()))
}

fn owned((node, outcome): (&NodeId, &Outcome)) -> (NodeId, Outcome) {
    (node.clone(), outcome.clone())
}

/// Whom to ask, and who was not sent to: as recorded, unless targets are given.
async fn targets(
    client: &Client,
    args: &AttachArgs,
    past: Option<&PastRun>,
    trace: &Trace,
) -> Result<(Vec<Target>, Vec<Target>)> {
    if let Some(targets) = &args.targets {
        let selector = targets.selector()?;
        let discover = args.watch.discover.discover;
        let found = find_targets(client, &selector, discover, trace).await?;
        return Ok((found, Vec::new()));
    }
    let Some(past) = past else {
        let what = "no such run is recorded here: name its nodes with -n, -a, -c or -w";
        return Err(Usage(what.to_owned()).into());
    };
    let targets = past.start.targets.iter().cloned();
    Ok(targets.partition(|target| past.sent.contains(&target.id)))
}

fn list(runs: &Runs) -> Result<Exit> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["REQUEST", "SENT", "NODES", "ENDED", "WHAT"]);
    for run in runs.list()? {
        let start = &run.start;
        let number = |n: usize| Cell::new(n).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&start.request),
            Cell::new(format!("{:.0}", start.at)),
            number(start.targets.len()),
            number(run.known().count()),
            Cell::new(&start.what),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(io::stdout().lock(), "{}", table.trim_fmt())?;
    Ok(Exit::Ok)
}
