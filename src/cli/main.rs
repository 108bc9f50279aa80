//! `ur`, the operator's tool: flags → command.
//!
//! Rooms, each of which knows only those above it:
//! - `stderr`: the one way to it for what `ur` itself says;
//! - `archive`: folders as one archive, and an archive of a stranger unpacked;
//! - `exit`: the exit status, and errors as the operator reads them;
//! - `view`: what is printed, as tables, groups, JSON, counter, summary. Knows no flags;
//! - `flags`: the flags that several commands share, and what they stand for;
//! - `commands`: a file for each command, with its own flags. None knows another, but for `task`, whose list is `tasks`,
//!   and `command_line`, `examples` and `slips`, which help, manual pages and completion are made of.
//!
//! What travels between headnode and nodes is the business of the crate `client`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod commands;
mod exit;
mod flags;
mod stderr;
mod view;

use std::process::ExitCode;

use anyhow::{Context, Result};
use commands::{Args, Command};
use commands::{
    attach, cancel, command_line, complete, exec, file, get, jobs, man, nodes, ping, put, run,
    runs, script, show, snoop, targets, task, tasks, watch, why,
};
use exit::Exit;

fn main() -> ExitCode {
    Exit::report(run_command(Args::typed()))
}

fn run_command(Args { broker, command }: Args) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Nodes(args) => nodes::nodes(&broker, args).await,
            Command::Targets(args) => targets::show_targets(&broker, args).await,
            Command::Show(args) => show::show(&broker, args).await,
            Command::Exec(args) => exec::exec(&broker, args).await,
            Command::Script(args) => script::script(&broker, args).await,
            Command::File(args) => file::file(&broker, args).await,
            Command::Run(args) => run::run(&broker, args).await,
            Command::Put(args) => put::put(&broker, args).await,
            Command::Get(args) => get::get(&broker, args).await,
            Command::Tasks(args) => tasks::tasks(&args),
            Command::Task(command) => task::task(command),
            Command::Ping(args) => ping::ping(&broker, args).await,
            Command::Runs(args) => runs::runs(&args),
            Command::Attach(args) => attach::attach(&broker, args).await,
            Command::Jobs(args) => jobs::jobs(&broker, args).await,
            Command::Watch(args) => watch::watch(&broker, args).await,
            Command::Cancel(args) => cancel::cancel(&broker, args).await,
            Command::Snoop(args) => snoop::snoop(&broker, args).await,
            Command::Why(args) => why::why(&broker, args).await,
            Command::Help { words } => command_line::help(&words),
            Command::Completions { shell } => man::completions(command_line::command(), shell),
            Command::Complete { index, line } => complete::complete(index, line),
            Command::Man { dir } => man::manuals(command_line::command(), &dir),
        }
    })
}
