//! `ur cancel`: asks nodes to end a request, and shows how it ended.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::broker::BrokerArgs;
use super::output::JsonArgs;
use super::past_run;
use super::steering::interrupted;
use super::targets::{Absent, DiscoverArgs, TargetArgs};
use super::values::{duration, request_id};
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::{Trace, fold_targets, json};
use client::{Action, Client, PastRun, Plan, Report, Selector, Target, run};
use protocol::{Outcome, RequestId};

#[derive(Debug, Args)]
#[command(override_usage = "ur cancel [OPTIONS] [TARGETS] REQUEST")]
#[command(mut_group("TargetArgs", |group| group.required(false)))]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    targets: Option<TargetArgs>,
    /// The request's id, the beginning of one, or last;
    /// without targets, it ends wherever you sent it
    #[arg(verbatim_doc_comment)]
    #[arg(value_parser = request_id)]
    request: RequestId,
    /// How long to wait for its end [default: 60]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    #[arg(default_value = "60", hide_default_value = true)]
    wait: Duration,
    #[command(flatten)]
    discover: DiscoverArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub(crate) async fn cancel(broker: &BrokerArgs, args: CancelArgs) -> Result<Exit> {
    let (request, past) = past_run::find(&args.request)?;
    let mut client = broker.connect().await?;
    let (targets, absent) = targets(&client, &args, past.as_ref()).await?;
    let plan = Plan {
        wait: Some(args.wait),
        ..Plan::new(request, Action::Cancel, b"{}".to_vec())
    };
    let report = run(&mut client, &plan, targets, interrupted()?, &mut |_| Ok(())).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    match args.json.form() {
        Some(form) => form.write(json::of_report(&report, &plan.request), &mut out)?,
        None => write(&report, &mut out)?,
    }
    out.flush()?;
    // A run that is recorded may have ended, and been forgotten.
    let is_known = past.is_some()
        || !report
            .results
            .iter()
            .all(|it| it.outcome.is_unknown_request());
    if !is_known {
        tell(&format!("ur: none of them has a request {}", plan.request));
    }
    let exit = if is_known { Exit::Ok } else { Exit::Missing };
    Ok(absent.end(exit.max(Exit::of_cancel(&report))))
}

/// Those that are given; else those that the run was sent to; else all.
async fn targets(
    client: &Client,
    args: &CancelArgs,
    past: Option<&PastRun>,
) -> Result<(Vec<Target>, Absent)> {
    let selector = match (&args.targets, past) {
        (Some(targets), _) => targets.selector()?,
        (None, None) => Selector::All,
        (None, Some(past)) => {
            let (sent, not_sent) = past.sent_and_not();
            if !not_sent.is_empty() {
                let names = fold_targets(&not_sent);
                tell(&format!(
                    "ur: not sent to {names} until now: an ur that goes on with the run is stopped by ^C"
                ));
            }
            return Ok((sent, Absent::of(Vec::new(), false)));
        }
    };
    let trace = Trace::off();
    args.discover.find_targets(client, &selector, &trace).await
}

/// The nodes on which it ended alike, in one line.
fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut endings: Vec<(String, Vec<&Target>)> = Vec::new();
    for result in &report.results {
        let how = match &result.outcome {
            outcome if outcome.is_unknown_request() => "has no such request".to_owned(),
            Outcome::NotConnected if result.target.agent.is_none() => {
                "its agent does not support cancel".to_owned()
            }
            outcome => outcome.to_string(),
        };
        match endings.iter_mut().find(|(known, _)| *known == how) {
            Some((_, targets)) => targets.push(&result.target),
            None => endings.push((how, vec![&result.target])),
        }
    }
    endings.sort_by_key(|(_, targets)| std::cmp::Reverse(targets.len()));
    for (how, targets) in endings {
        writeln!(out, "{}  {how}", fold_targets(targets))?;
    }
    Ok(())
}
