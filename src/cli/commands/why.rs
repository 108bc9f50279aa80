//! `ur why`: the status of a request on a node.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::past_run;
use crate::flags::targets::{DiscoverArgs, find_nodes};
use crate::flags::values::request_id;
use crate::stderr::tell;
use crate::view::{Trace, status};
use client::{Client, Clock, NodeName, Plain, Search, Selector, Target, Unselectable, job_status};
use protocol::{NodeId, Reply, RequestId};

/// How long a node may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(override_usage = "ur why [OPTIONS] NODE REQUEST")]
pub(crate) struct WhyArgs {
    /// UUID, UUID-MAC or hostname
    node: String,
    /// The request's id, the beginning of one, or last
    #[arg(value_parser = request_id)]
    request: RequestId,
    #[command(flatten)]
    discover: DiscoverArgs,
}

pub(crate) async fn why(broker: &BrokerArgs, args: WhyArgs) -> Result<Exit> {
    let (request, _) = past_run::find(&args.request)?;
    let client = broker.connect().await?;
    let target = find(&client, &args).await?;
    let address = (&target.id, target.routing_word.as_str());
    let status = job_status(&client, address, &request, PATIENCE).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    writeln!(out, "{request} on {} ({})", target.hostname, target.id)?;
    for line in status::lines(&status, &target, PATIENCE, &Clock::of(&out)) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    let is_unknown = |reply: &Reply| reply.is_unknown_request();
    Ok(if status.reply.as_ref().is_some_and(is_unknown) {
        Exit::NotFound
    } else if status.progress.is_none() && status.reply.is_none() {
        Exit::NoAnswer
    } else {
        Exit::Ok
    })
}

/// A node that does not answer can be asked about all the same if its UUID is known.
async fn find(client: &Client, args: &WhyArgs) -> Result<Target> {
    let selector = Selector::Named(vec![NodeName(args.node.clone())]);
    let search = Search {
        wanted: selector.wanted(),
        ..args.discover.search()
    };
    let found = find_nodes(client, search, &Trace::off()).await?;
    let why = match selector.select(&found.nodes) {
        Ok(mut selected) => return Ok(selected.targets.remove(0)),
        Err(why) => why.remembering(&found.missing),
    };
    if let Unselectable::Missing { missing, .. } = &why
        && let Some((_, known)) = missing.first()
    {
        tell(&format!("ur: {why}"));
        return Ok(Target::of(&known.node));
    }
    if matches!(why, Unselectable::NotFound { .. }) && uuid::Uuid::parse_str(&args.node).is_ok() {
        let id = NodeId::parse(&args.node).map_err(anyhow::Error::msg)?;
        return Ok(Target {
            routing_word: id.to_string(),
            hostname: Plain::name(id.as_str()),
            has_namesake: false,
            id,
            mac: None,
            agent: None,
        });
    }
    Err(why.into())
}
