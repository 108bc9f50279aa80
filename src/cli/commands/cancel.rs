//! `ur cancel`: asks nodes to end a request, and shows how it ended.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::output::JsonArgs;
use crate::flags::past_run;
use crate::flags::steering::interrupted;
use crate::flags::targets::{DiscoverArgs, MissingNodes, TargetArgs};
use crate::flags::values::{duration, request_id};
use crate::stderr::tell;
use crate::view::{Trace, fold_targets, json, tally};
use client::{Action, Client, NodeResult, PastRun, Plan, Report, Selector, Target, run};
use protocol::{Outcome, RequestId};

/// Letters of an id that say which run is meant, where it is to be ended.
const LEAST_BEGINNING: usize = 4;

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
    let (mut request, mut past) = past_run::find_whole(&args.request)?;
    let mut client = broker.connect().await?;
    let (mut report, mut missing) = ask(&mut client, &args, (&request, past.as_ref())).await?;
    // An id that some node has may be the beginning of another one, and is not about that.
    let may_be_beginning = args.request.as_str().len() >= LEAST_BEGINNING;
    if past.is_none() && may_be_beginning && is_with_none(&report) {
        (request, past) = past_run::find(&args.request)?;
        if past.is_some() {
            (report, missing) = ask(&mut client, &args, (&request, past.as_ref())).await?;
        }
    }
    client.close().await;
    let mut out = io::stdout().lock();
    match args.json.form() {
        Some(form) => form.write(json::of_report(&report, &request), &mut out)?,
        None => write(&report, &mut out)?,
    }
    out.flush()?;
    // A run that is recorded may have ended, and been forgotten.
    let is_unknown = |result: &NodeResult| result.outcome.is_unknown_request();
    let is_known = past.is_some() || !report.results.iter().all(is_unknown);
    if !is_known {
        tell(&format!("ur: none of them has a request {request}"));
    }
    let exit = if is_known { Exit::Ok } else { Exit::NotFound };
    Ok(missing.end(exit.max(Exit::of_cancel(&report))))
}

async fn ask(
    client: &mut Client,
    args: &CancelArgs,
    (request, past): (&RequestId, Option<&PastRun>),
) -> Result<(Report, MissingNodes)> {
    let (targets, missing) = targets(client, args, past).await?;
    let plan = Plan {
        wait: Some(args.wait),
        ..Plan::new(request.clone(), Action::Cancel, b"{}".to_vec())
    };
    let report = run(client, &plan, targets, interrupted()?, &mut |_| Ok(())).await?;
    Ok((report, missing))
}

/// Whether all say that they have no such request. Node.js agents have none that could be ended.
fn is_with_none(report: &Report) -> bool {
    let has_none = |result: &NodeResult| {
        let is_node_js = result.target.agent.is_none();
        result.outcome.is_unknown_request()
            || (is_node_js && result.outcome == Outcome::NotConnected)
    };
    !report.interrupted && report.not_sent.is_empty() && report.results.iter().all(has_none)
}

/// Those that are given; else those of the run; else all.
async fn targets(
    client: &Client,
    args: &CancelArgs,
    past: Option<&PastRun>,
) -> Result<(Vec<Target>, MissingNodes)> {
    let selector = match (&args.targets, past) {
        (Some(targets), _) => targets.selector()?,
        (None, None) => Selector::All,
        (None, Some(past)) => {
            let (_, not_sent) = past.sent_and_not();
            if !not_sent.is_empty() {
                let names = fold_targets(&not_sent);
                tell(&format!(
                    "ur: not recorded as sent to {names}: an ur that goes on with the run is stopped by ^C"
                ));
            }
            // All of them: if the record could not be written to its end, they may have it.
            return Ok((
                past.start.targets.clone(),
                MissingNodes::of(Vec::new(), false),
            ));
        }
    };
    let trace = Trace::off();
    args.discover.find_targets(client, &selector, &trace).await
}

/// The nodes on which it ended alike, in one line.
fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let how = |result: &NodeResult| match &result.outcome {
        outcome if outcome.is_unknown_request() => "has no such request".to_owned(),
        Outcome::NotConnected if result.target.agent.is_none() => {
            "its agent does not support cancel".to_owned()
        }
        outcome => outcome.to_string(),
    };
    let results = report.results.iter();
    let mut endings = tally(results.map(|result| (how(result), &*result.target)));
    endings.sort_by_key(|(_, targets)| std::cmp::Reverse(targets.len()));
    for (how, targets) in endings {
        writeln!(out, "{}  {how}", fold_targets(targets))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::result;
    use protocol::{ErrorCode, Refusal};

    #[test]
    fn a_beginning_is_used_only_if_every_node_says_that_it_has_no_such_request() {
        let unknown = Outcome::Refused(Refusal::new(ErrorCode::UnknownRequest, "no such request"));
        let guesses = |outcomes: &[&Outcome]| {
            let results = outcomes.iter().map(|it| result("n", (*it).clone(), "", ""));
            is_with_none(&Report {
                results: results.collect(),
                ..Report::default()
            })
        };
        assert!(guesses(&[&unknown, &unknown]));
        for other in [Outcome::Cancelled, Outcome::NoAnswer, Outcome::TimedOut] {
            assert!(!guesses(&[&unknown, &other]), "{other}");
        }
    }
}
