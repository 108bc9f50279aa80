//! `ur jobs`: what runs and waits on each node.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::output::JsonArgs;
use crate::flags::targets::{DiscoverArgs, TargetArgs};
use crate::flags::values::duration;
use crate::stderr::tell;
use crate::view::{self, terminal_width};
use client::{NodeJobs, Target, jobs as ask_all};

#[derive(Debug, Args)]
#[command(override_usage = "ur jobs [OPTIONS] TARGETS")]
pub(crate) struct JobsArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Silence that ends the waiting [default: 5]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    #[arg(default_value = "5", hide_default_value = true)]
    wait: Duration,
    /// No header, no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    discover: DiscoverArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub(crate) async fn jobs(broker: &BrokerArgs, args: JobsArgs) -> Result<Exit> {
    let (client, targets, missing) = args
        .discover
        .connect_and_find(broker, &args.targets)
        .await?;
    let answers = ask_all(&client, &targets, args.wait).await?;
    client.close().await;

    let nodes: Vec<(&Target, &NodeJobs)> = targets.iter().zip(&answers).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    match args.json.form() {
        Some(form) => {
            let values = nodes
                .iter()
                .map(|(target, jobs)| view::jobs::to_json(target, jobs));
            form.write(values, &mut out)?;
        }
        None => view::jobs::write(&nodes, !args.quiet, terminal_width(), &mut out)?,
    }
    out.flush()?;
    for line in view::jobs::remarks(&nodes) {
        tell(&format!("ur: {line}"));
    }
    if !args.quiet {
        tell(&view::jobs::summary(&nodes));
    }
    let is_silent = |jobs: &NodeJobs| matches!(jobs, NodeJobs::NotConnected | NodeJobs::NoAnswer);
    Ok(missing.end(match answers.iter().any(is_silent) {
        true => Exit::NoAnswer,
        false => Exit::Ok,
    }))
}
