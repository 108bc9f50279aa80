//! What a person at the headnode types and sees: flags, tables, folding, progress, JSON, exit
//! codes. Knows the terminal; does not know what travels between headnode and nodes.

mod args;
mod attach;
mod cancel;
mod counter;
mod docs;
mod exit;
mod fold;
mod group;
mod json;
mod nodes;
mod ping;
mod run;
mod run_task;
mod screen;
mod snoop;
mod summary;
mod tasks;
mod trace;
mod why;

use std::time::Duration;

use anyhow::{Context, Result};

pub use args::{Args, Command};
pub use attach::attach;
pub use cancel::cancel;
pub use docs::{completions, manuals};
pub use exit::Exit;
pub use nodes::nodes;
pub use ping::ping;
pub use run::{exec, file, script};
pub use run_task::run_task;
pub use snoop::snoop;
pub use tasks::{task, tasks};
pub use why::why;

use crate::headnode::{Client, Node, Selector, Target, Wanted, discover};
use trace::Trace;

/// Runs a command to its end, on this thread alone.
///
/// # Errors
/// If the kernel gives no runtime.
pub fn block_on(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(command)
}

/// The nodes a command is for: asks who is there, and refuses what is not exactly what was meant.
async fn find_targets(
    client: &Client,
    selector: &Selector,
    quiet: Duration,
    trace: &Trace,
) -> Result<Vec<Target>> {
    let nodes = find_nodes(client, quiet, trace, selector.wanted()).await?;
    let targets = selector.select(&nodes)?;
    trace.say(format_args!("{} of them are meant", targets.len()));
    Ok(targets)
}

async fn find_nodes(
    client: &Client,
    quiet: Duration,
    trace: &Trace,
    wanted: Wanted,
) -> Result<Vec<Node>> {
    trace.say(format_args!("connected; asking who is there"));
    let nodes = discover(client, quiet, wanted).await?;
    trace.say(format_args!("{} nodes answered", nodes.len()));
    Ok(nodes)
}
