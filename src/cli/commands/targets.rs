//! `ur targets`: prints the nodes that a command would be sent to, and sends nothing.

use std::io::{self, BufWriter, Write};

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::targets::{DiscoverArgs, TargetArgs};
use crate::view::fold;
use client::Target;

#[derive(Debug, Args)]
#[command(override_usage = "ur targets [OPTIONS] TARGETS")]
pub(crate) struct ShowTargetsArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Print one node set, as -n takes it
    #[arg(short, long)]
    fold: bool,
    /// Print UUIDs
    #[arg(short, long, conflicts_with = "fold")]
    uuids: bool,
    #[command(flatten)]
    discover: DiscoverArgs,
}

pub(crate) async fn show_targets(broker: &BrokerArgs, args: ShowTargetsArgs) -> Result<Exit> {
    let (client, targets, missing) = args
        .discover
        .connect_and_find(broker, &args.targets)
        .await?;
    client.close().await;
    let names: Vec<String> = match args.uuids {
        true => targets.iter().map(|target| target.id.to_string()).collect(),
        false => targets.iter().map(Target::name).collect(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.fold {
        writeln!(out, "{}", fold(names.iter().map(String::as_str)))?;
    } else {
        names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    }
    out.flush()?;
    Ok(missing.end(Exit::Ok))
}
