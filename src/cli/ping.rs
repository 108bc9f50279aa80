//! `ur ping`: milliseconds per node.

use std::io::{self, Write};

use anyhow::Result;

use super::args::{BrokerArgs, PingArgs};
use super::trace::Trace;
use super::{Exit, find_targets, json};
use client::{Pong, ping as ping_all};

pub(crate) async fn ping(broker: &BrokerArgs, args: PingArgs) -> Result<Exit> {
    let selector = args.targets.selector()?;
    let client = broker.connect().await?;
    let trace = Trace::new(false);
    let targets = find_targets(&client, &selector, args.discover.discover, &trace).await?;
    let pongs = ping_all(&client, &targets, args.wait).await?;
    client.close().await;

    let mut out = io::stdout().lock();
    let all = pongs.iter().all(|pong| matches!(pong, Pong::After(_)));
    let exit = if all { Exit::Ok } else { Exit::NoAnswer };
    let answers = targets.iter().zip(&pongs);
    if args.json.is_wanted() {
        let values: Vec<_> = answers.map(|(t, pong)| json::of_pong(t, *pong)).collect();
        json::write(&values, &args.json, &mut out)?;
        return Ok(exit);
    }
    let width = targets.iter().map(|t| t.hostname.len()).max().unwrap_or(0);
    for (target, pong) in answers {
        let text = match pong {
            Pong::After(time) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
            Pong::NotConnected => "not connected".to_owned(),
            Pong::NoAnswer => "no answer".to_owned(),
        };
        writeln!(out, "{:width$}  {text}", target.hostname)?;
    }
    out.flush()?;
    Ok(exit)
}
