//! `ur cancel`: asks nodes to end a request, and shows how it ended.

use std::collections::HashMap;
use std::io::{self, Write};

use anyhow::Result;

use super::args::{BrokerArgs, CancelArgs};
use super::run::interrupted;
use super::trace::Trace;
use super::{Exit, find_targets, json};
use client::{Action, Plan, run};
use protocol::{Label, Outcome};

pub(crate) async fn cancel(broker: &BrokerArgs, args: CancelArgs) -> Result<Exit> {
    let selector = args.targets.selector()?;
    let mut client = broker.connect().await?;
    let trace = Trace::new(false);
    let targets = find_targets(&client, &selector, args.discover.discover, &trace).await?;
    let plan = Plan {
        request: args.request,
        action: Action::Cancel,
        body: b"{}".to_vec(),
        pickup: None,
        wait: args.wait,
        concurrency: None,
        max_fail: None,
        stream: false,
        label: Label::default(),
        earlier: HashMap::new(),
    };
    let report = run(&mut client, &plan, targets, interrupted()?, &mut |_| Ok(())).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    if args.json.is_wanted() {
        json::write(
            &json::of_report(&report, &plan.request),
            &args.json,
            &mut out,
        )?;
        return Ok(Exit::of_cancel(&report));
    }
    for result in &report.results {
        let how = match &result.outcome {
            // It has just told us who it is, so what is missing is not the node.
            Outcome::NotConnected => "its agent knows no cancel".to_owned(),
            outcome => outcome.to_string(),
        };
        writeln!(out, "{}  {how}", result.target.hostname)?;
    }
    out.flush()?;
    Ok(Exit::of_cancel(&report))
}
