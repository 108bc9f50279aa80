//! `ur watch`: the nodes and what runs on them, on a terminal, again and again.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::Zoned;
use rustix::termios::tcgetwinsize;
use tokio::time::sleep;

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::targets::{DiscoverArgs, find_nodes};
use crate::flags::values::duration;
use crate::view::columns::Column;
use crate::view::nodes::NodeTable;
use crate::view::{self, Trace, terminal_width};
use broker::error_chain;
use client::{Client, NodeJobs, Selector, Target, duplicate_uuids, jobs};

/// How long a node may take to say what runs on it: the page is not to wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(override_usage = "ur watch [OPTIONS]")]
pub(crate) struct WatchArgs {
    /// Time between two looks [default: 5]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    #[arg(default_value = "5", hide_default_value = true)]
    every: Duration,
    #[command(flatten)]
    discover: DiscoverArgs,
}

/// Until ^C.
pub(crate) async fn watch(broker: &BrokerArgs, args: WatchArgs) -> Result<Exit> {
    if !io::stdout().is_terminal() {
        let what = "ur watch needs a terminal: programs take ur nodes -J and ur jobs -a -J";
        return Err(Usage(what.to_owned()).into());
    }
    let mut client = broker.connect().await?;
    let mut latest = Vec::new();
    loop {
        let fault = match page(&client, &args).await {
            Ok(page) => {
                latest = page;
                None
            }
            Err(error) => {
                let again = client.reconnect().await;
                Some(error_chain(&again.err().unwrap_or(error)))
            }
        };
        draw(&latest, fault.as_deref())?;
        sleep(if fault.is_some() {
            Duration::from_secs(1)
        } else {
            args.every
        })
        .await;
    }
}

/// What runs stands before who is there: it is what changes.
async fn page(client: &Client, args: &WatchArgs) -> Result<Vec<u8>> {
    let found = find_nodes(client, args.discover.search(), &Trace::off()).await?;
    let targets = Selector::All.select(&found.nodes).map(|it| it.targets);
    let targets = targets.unwrap_or_default();
    let answers = jobs(client, &targets, PATIENCE).await?;
    let rows: Vec<(&Target, &NodeJobs)> = targets.iter().zip(&answers).collect();
    let mut page = Vec::new();
    writeln!(page, "{}\n", view::jobs::summary(&rows))?;
    view::jobs::write(&rows, true, terminal_width(), &mut page)?;
    writeln!(page)?;
    let table = NodeTable {
        columns: &Column::usual(),
        faults: &duplicate_uuids(&found.nodes),
        missing: &found.missing,
        has_header: true,
        width: terminal_width(),
    };
    table.write(&found.nodes.iter().collect::<Vec<_>>(), &mut page)?;
    Ok(page)
}

/// As much as the terminal has lines for, over what was there.
fn draw(page: &[u8], fault: Option<&str>) -> Result<()> {
    let height = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    let height = if height == 0 { 24 } else { height };
    let time = Zoned::now().strftime("%H:%M:%S").to_string();
    let first = match fault {
        Some(fault) => format!("{time}  {}", client::Plain::of(fault)),
        None => format!("{time}  ^C ends"),
    };
    let mut out = Vec::new();
    out.extend(b"\x1b[H");
    let lines: Vec<&[u8]> = page.split(|&byte| byte == b'\n').collect();
    let room = height.saturating_sub(2).max(1);
    let shown = if lines.len() > room {
        room - 1
    } else {
        lines.len()
    };
    writeln!(out, "{first}\x1b[K")?;
    for line in &lines[..shown] {
        out.extend(*line);
        out.extend(b"\x1b[K\n");
    }
    if shown < lines.len() {
        write!(out, "… {} more lines", lines.len() - shown)?;
    }
    out.extend(b"\x1b[J");
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    Ok(stdout.flush()?)
}
