//! `ur cancel`: asks nodes to end a request, and shows how it ended.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::broker::BrokerArgs;
use super::output::JsonArgs;
use super::steering::interrupted;
use super::targets::{DiscoverArgs, TargetArgs};
use super::values::{duration, request_id};
use crate::exit::Exit;
use crate::view::{Trace, json};
use client::{Action, Plan, run};
use protocol::{Outcome, RequestId};

#[derive(Debug, Args)]
#[command(override_usage = "ur cancel [OPTIONS] TARGETS REQUEST")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// The request's id
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
    let selector = args.targets.selector()?;
    let mut client = broker.connect().await?;
    let discover = &args.discover;
    let (targets, absent) = discover
        .find_targets(&client, &selector, &Trace::off())
        .await?;
    let plan = Plan {
        wait: Some(args.wait),
        ..Plan::new(args.request, Action::Cancel, b"{}".to_vec())
    };
    let report = run(&mut client, &plan, targets, interrupted()?, &mut |_| Ok(())).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    if let Some(form) = args.json.form() {
        form.write(json::of_report(&report, &plan.request), &mut out)?;
        return Ok(absent.end(Exit::of_cancel(&report)));
    }
    for result in &report.results {
        let how = match &result.outcome {
            // The node has just answered, so what does not listen is a part of its agent.
            Outcome::NotConnected => "its agent does not support cancel".to_owned(),
            outcome => outcome.to_string(),
        };
        writeln!(out, "{}  {how}", result.target.name())?;
    }
    out.flush()?;
    Ok(absent.end(Exit::of_cancel(&report)))
}
