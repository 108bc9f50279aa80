//! `ur attach`: collects the replies of a run whose `ur` is gone. Sends nothing that starts anything.

use std::io;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::broker::BrokerArgs;
use super::send::share;
use super::targets::{Absent, TargetArgs};
use super::values::{duration, request_id};
use super::watch::{WatchArgs, watch};
use crate::exit::{Exit, Usage};
use crate::stderr::tell;
use crate::view::{Table, Trace, View, terminal_width};
use client::{Action, Client, PastRun, Plan, RunFiles, STATUS_REQUEST, Target};
use protocol::{NodeId, Outcome, RequestId};

#[derive(Debug, Args)]
#[command(override_usage = "ur attach [OPTIONS] [TARGETS] [REQUEST]")]
#[command(mut_group("TargetArgs", |group| group.required(false).requires("request")))]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    targets: Option<TargetArgs>,
    /// The request's id; without one, recent runs are listed
    #[arg(value_parser = request_id)]
    request: Option<RequestId>,
    /// How long to wait for a reply [default: as the run]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    wait: Option<Duration>,
    #[command(flatten)]
    watch: WatchArgs,
}

pub(crate) async fn attach(broker: &BrokerArgs, args: AttachArgs) -> Result<Exit> {
    let runs = RunFiles::of_this_user();
    let Some(request) = args.request.clone() else {
        return list(&runs?);
    };
    let past = match &runs {
        Ok(runs) => runs.find(&request)?,
        Err(_) => None,
    };
    let trace = Trace::new(args.watch.verbose);
    let mut client = broker.connect().await?;
    let (targets, not_sent, absent) = targets(&client, &args, past.as_ref(), &trace).await?;
    let wait = past.as_ref().and_then(|past| past.start.wait);
    let plan = Plan {
        content: past.as_ref().and_then(|past| past.start.content.clone()),
        wait: args.wait.or(wait),
        stream: args.watch.view.view() == View::Stream,
        max_output: share(args.watch.view.view(), targets.len()),
        earlier: past.iter().flat_map(PastRun::known).map(owned).collect(),
        ..Plan::new(request.clone(), Action::Attach, STATUS_REQUEST.to_vec())
    };
    let file = runs.ok().and_then(|runs| runs.append(&request).ok());
    let report = watch(&mut client, &plan, targets, &args.watch, (&trace, file)).await?;
    client.close().await;
    for target in &not_sent {
        let name = target.name();
        tell(&format!(
            "ur: not sent to {name}: the run stopped before its turn"
        ));
    }
    Ok(absent.end(Exit::of_attach(&report, !not_sent.is_empty())))
}

fn owned((node, outcome): (&NodeId, &Outcome)) -> (NodeId, Outcome) {
    (node.clone(), outcome.clone())
}

/// The nodes to ask, and those that were not sent to: as recorded, unless targets are given.
async fn targets(
    client: &Client,
    args: &AttachArgs,
    past: Option<&PastRun>,
    trace: &Trace,
) -> Result<(Vec<Target>, Vec<Target>, Absent)> {
    if let Some(targets) = &args.targets {
        let selector = targets.selector()?;
        let discover = &args.watch.discover;
        let (found, absent) = discover.find_targets(client, &selector, trace).await?;
        return Ok((found, Vec::new(), absent));
    }
    let Some(past) = past else {
        let what = "no run of this id is recorded here: name its nodes with -n, -a, -c or -w";
        return Err(Usage(what.to_owned()).into());
    };
    let targets = past.start.targets.iter().cloned();
    let (sent, not_sent) = targets.partition(|target| past.sent.contains(&target.id));
    Ok((sent, not_sent, Absent::of(Vec::new(), false)))
}

fn list(runs: &RunFiles) -> Result<Exit> {
    let runs = runs.list()?;
    let table = Table {
        header: Some(&["REQUEST", "SENT", "NODES", "ENDED", "WHAT"]),
        numbers: &[2, 3],
        width: terminal_width(),
        ..Table::default()
    };
    let rows = runs.iter().map(|run| {
        let start = &run.start;
        [
            start.request.to_string(),
            format!("{:.0}", start.at),
            start.targets.len().to_string(),
            run.known().count().to_string(),
            start.what.clone(),
        ]
    });
    table.write(rows, &mut io::stdout().lock())?;
    Ok(Exit::Ok)
}
