//! The agent on every node: flags → what to do.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;
use ur::agent::{self, Cli, Verb};
use ur::argv;
use ur::job::{Job, NEXT, supervise, supervise_next};

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    let done = match args.as_slice() {
        // How the agent starts a supervisor, for every script: without a parser of all the flags, which
        // would take half of the supervisor's own time.
        [_, verb, dir] if verb == "supervise" => {
            Job::at(Path::new(dir)).and_then(|job| supervise(&job))
        }
        [_, verb, next, jobs] if verb == "supervise" && next == NEXT => {
            supervise_next(Path::new(jobs))
        }
        _ => obey(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ur-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a person or an init system asks for.
fn obey() -> Result<()> {
    let matches = Cli::command().get_matches();
    if let Err(error) = argv::hide_broker_url(&matches) {
        eprintln!("ur-agent: hiding the broker's password from ps: {error}");
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command.unwrap_or(Verb::Run) {
        Verb::Run => {
            log();
            agent::run(cli.args)
        }
        Verb::Exec { file } => agent::exec(&file),
        Verb::Sysinfo => agent::sysinfo(&cli.args),
        Verb::Check => agent::check(&cli.args),
    }
}

/// To stderr, without a time of our own where the journal adds one.
fn log() {
    let filter = EnvFilter::try_from_env("UR_LOG")
        .unwrap_or_else(|_unset| EnvFilter::new("info,lapin=error"));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    match env::var_os("JOURNAL_STREAM") {
        Some(_) => format.without_time().init(),
        None => format.init(),
    }
}
