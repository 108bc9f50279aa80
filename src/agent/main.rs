//! The agent: admit, run, reply, announce.
//!
//! A request goes through `admit.rs`, `jobs.rs` and `supervisors.rs`; its reply through `replies.rs`,
//! `outbox.rs` and `reply.rs`. One loop on one thread (`session.rs`): `select!` names the event, a plain
//! function of `agent.rs` handles it. What must not be lost is on disk before it is acked, so a session with
//! the broker can end at any time: the next one begins with every job that has an outcome and no `replied`.

mod admit;
mod agent;
mod announce;
mod args;
mod askers;
mod commands;
mod connect;
mod deliveries;
mod follower;
mod heap;
mod job_list;
mod jobs;
mod locate;
mod outbox;
mod overdue;
mod reboot;
mod replies;
mod reply;
mod session;
mod sessions;
mod settings_file;
mod supervisors;
mod sysinfo;
mod unroutable;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use job::{Job, fork_server, supervise};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::Command;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    let done = match args.as_slice() {
        // What the agent and `exec` start: without a parser of all the flags, which would take half of the
        // time and memory of such a process.
        [_, command, dir] if command == "supervise" => {
            Job::at(Path::new(dir)).and_then(|job| supervise(&job))
        }
        [_, command, flag, jobs, _room] if command == "supervise" && flag == fork_server::FLAG => {
            fork_server::serve(Path::new(jobs))
        }
        [_] if args::is_tried_out() => {
            writeln!(io::stderr(), "{}", args::help()).ok();
            return ExitCode::from(2);
        }
        _ => obey(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "ur-agent: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// What a person or an init system asks for.
fn obey() -> Result<()> {
    let cli = args::parse();
    let command = cli.command.unwrap_or(Command::Run);
    if !matches!(command, Command::Run) {
        end_with_the_pipe();
    }
    match command {
        Command::Run => {
            log();
            sessions::run(cli.args)
        }
        Command::Exec { file } => commands::exec(&file),
        Command::Sysinfo => commands::sysinfo(&cli.args),
        Command::Check => commands::check(&cli.args),
    }
}

/// As other programs do whose output goes into a pipe: end without a word when its reader has gone.
fn end_with_the_pipe() {
    // SAFETY: no other thread runs yet, and the default action needs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// To stderr, without a time of our own where the journal adds one.
fn log() {
    let asked = env::var("UR_LOG").ok().and_then(|text| text.parse().ok());
    let targets: Targets = asked.unwrap_or_else(|| {
        Targets::new()
            .with_default(LevelFilter::INFO)
            // What it has to say comes to us as errors, and not all of them are the operator's concern.
            .with_target("lapin", LevelFilter::OFF)
    });
    let format = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    let log = tracing_subscriber::registry().with(targets);
    match env::var_os("JOURNAL_STREAM") {
        Some(_) => log.with(format.without_time()).init(),
        None => log.with(format).init(),
    }
}
