//! `ur ping`: how long each node's agent takes to answer.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::output::JsonArgs;
use crate::flags::targets::{DiscoverArgs, TargetArgs};
use crate::flags::values::duration;
use crate::view::json;
use client::{Pong, ping as ping_all};

#[derive(Debug, Args)]
#[command(override_usage = "ur ping [OPTIONS] TARGETS")]
pub(crate) struct PingArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Silence that ends the waiting [default: 5]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    #[arg(default_value = "5", hide_default_value = true)]
    wait: Duration,
    #[command(flatten)]
    discover: DiscoverArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub(crate) async fn ping(broker: &BrokerArgs, args: PingArgs) -> Result<Exit> {
    let (client, targets, missing) = args
        .discover
        .connect_and_find(broker, &args.targets)
        .await?;
    let pongs = ping_all(&client, &targets, args.wait).await?;
    let now = Timestamp::now();
    let alive = targets.iter().zip(&pongs);
    let alive = alive.filter(|(_, pong)| matches!(pong, Pong::After(_)));
    let alive = alive.map(|(target, _)| (target.id.clone(), now)).collect();
    client.remembered_nodes().heard(alive).await;
    client.close().await;

    let mut out = io::stdout().lock();
    let all = pongs.iter().all(|pong| matches!(pong, Pong::After(_)));
    let exit = if all { Exit::Ok } else { Exit::NoAnswer };
    let answers = targets.iter().zip(&pongs);
    if let Some(form) = args.json.form() {
        form.write(answers.map(|(t, pong)| json::of_pong(t, *pong)), &mut out)?;
        return Ok(missing.end(exit));
    }
    let width = targets.iter().map(|t| t.name().len()).max().unwrap_or(0);
    for (target, pong) in answers {
        let text = match pong {
            Pong::After(time) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
            Pong::NotConnected => "not connected".to_owned(),
            Pong::NoAnswer => "no answer".to_owned(),
        };
        writeln!(out, "{:width$}  {text}", target.name())?;
    }
    out.flush()?;
    Ok(missing.end(exit))
}
