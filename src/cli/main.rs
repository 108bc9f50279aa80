//! `ur`: flags → command.
//!
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

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use client::{Client, Node, Selector, Target, Wanted, discover};

use args::{Args, Command};
use exit::Exit;
use trace::Trace;

fn main() -> ExitCode {
    let Args { broker, command } = Args::parse();
    Exit::report(block_on(async {
        match command {
            Command::Nodes(args) => nodes::nodes(&broker, args).await,
            Command::Exec(args) => run::exec(&broker, args).await,
            Command::Script(args) => run::script(&broker, args).await,
            Command::File(args) => run::file(&broker, args).await,
            Command::Run(args) => run_task::run_task(&broker, args).await,
            Command::Tasks(args) => tasks::tasks(&args),
            Command::Task(command) => tasks::task(command),
            Command::Ping(args) => ping::ping(&broker, args).await,
            Command::Attach(args) => attach::attach(&broker, args).await,
            Command::Cancel(args) => cancel::cancel(&broker, args).await,
            Command::Snoop(args) => snoop::snoop(&broker, args).await,
            Command::Why(args) => why::why(&broker, args).await,
            Command::Completions { shell } => docs::completions(shell),
            Command::Man { dir } => docs::manuals(&dir),
        }
    }))
}

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
