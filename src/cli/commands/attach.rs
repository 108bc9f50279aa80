//! `ur attach`: collects the replies of a run whose `ur` is gone. Sends nothing that starts anything.

use std::io;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::conduct::{ConductArgs, conduct};
use crate::flags::past_run;
use crate::flags::send::held_bytes_per_stream;
use crate::flags::targets::{MissingNodes, TargetArgs};
use crate::flags::values::{duration, request_id};
use crate::stderr::tell;
use crate::view::{self, Trace, View, fold_targets, terminal_width};
use client::{
    Action, Client, PastRun, Plan, RunFile, RunFiles, STATUS_REQUEST, STREAM_REQUEST, Target,
};
use protocol::{NodeId, Outcome, RequestId};

#[derive(Debug, Args)]
#[command(override_usage = "ur attach [OPTIONS] [TARGETS] [REQUEST]")]
#[command(mut_group("TargetArgs", |group| group.required(false).requires("request")))]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    targets: Option<TargetArgs>,
    /// The request's id, the beginning of one, or last;
    /// without one, recent runs are listed
    #[arg(verbatim_doc_comment)]
    #[arg(value_parser = request_id)]
    request: Option<RequestId>,
    /// How long to wait for a reply [default: as the run]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    wait: Option<Duration>,
    #[command(flatten)]
    conduct: ConductArgs,
}

pub(crate) async fn attach(broker: &BrokerArgs, mut args: AttachArgs) -> Result<Exit> {
    let Some(request) = &args.request else {
        let runs = RunFiles::of_this_user()?.list()?;
        view::runs::write(&runs, terminal_width(), &mut io::stdout().lock())?;
        return Ok(Exit::Ok);
    };
    let (request, past) = past_run::find(request)?;
    args.conduct.program.pages = past_run::pages(past.as_ref())?;
    let trace = Trace::new(args.conduct.verbose);
    let mut client = broker.connect().await?;
    let (targets, not_sent, missing) = targets(&client, &args, past.as_ref(), &trace).await?;
    let wait = past.as_ref().and_then(|past| past.start.wait);
    let question = match args.conduct.view.view() {
        View::Stream => STREAM_REQUEST,
        _ => STATUS_REQUEST,
    };
    let plan = Plan {
        content: past.as_ref().and_then(|past| past.start.content.clone()),
        wait: args.wait.or(wait),
        stream: args.conduct.view.view() == View::Stream,
        max_output: held_bytes_per_stream(args.conduct.view.view(), targets.len()),
        earlier: past.iter().flat_map(PastRun::known).map(owned).collect(),
        ..Plan::new(request.clone(), Action::Attach, question.to_vec())
    };
    let runs = RunFiles::of_this_user();
    let file = runs.and_then(|runs| past.as_ref().map(|past| runs.append(past)).transpose());
    let mut file = file.ok().flatten();
    let watched = (&trace, file.as_mut());
    let report = conduct(&mut client, &plan, targets, &args.conduct, watched).await?;
    client.close().await;
    if let Some(lost) = file.as_ref().map(RunFile::without_output)
        && !lost.is_empty()
    {
        let names = fold_targets(lost.iter().map(AsRef::as_ref));
        tell(&format!(
            "ur: the output of {names} is not kept, only how it ended (a run with --keep keeps it here)"
        ));
    }
    if !not_sent.is_empty() {
        let names = fold_targets(&not_sent);
        tell(&format!(
            "ur: not sent to {names}: the run stopped before their turn"
        ));
    }
    Ok(missing.end(Exit::of_attach(&report, !not_sent.is_empty())))
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
) -> Result<(Vec<Target>, Vec<Target>, MissingNodes)> {
    if let Some(targets) = &args.targets {
        let selector = targets.selector()?;
        let discover = &args.conduct.discover;
        let (found, missing) = discover.find_targets(client, &selector, trace).await?;
        return Ok((found, Vec::new(), missing));
    }
    let Some(past) = past else {
        let what = "no run of this id is recorded here: name its nodes with -n, -a, -c or -w";
        return Err(Usage(what.to_owned()).into());
    };
    let (sent, not_sent) = past.sent_and_not();
    Ok((sent, not_sent, MissingNodes::of(Vec::new(), false)))
}
