//! `ur`: flags → command.

use std::process::ExitCode;

use clap::Parser;
use ur::cli::{self, Args, Command, Exit};

fn main() -> ExitCode {
    let Args { broker, command } = Args::parse();
    Exit::report(cli::block_on(async {
        match command {
            Command::Nodes(args) => cli::nodes(&broker, args).await,
            Command::Exec(args) => cli::exec(&broker, args).await,
            Command::Script(args) => cli::script(&broker, args).await,
            Command::File(args) => cli::file(&broker, args).await,
            Command::Ping(args) => cli::ping(&broker, args).await,
            Command::Cancel(args) => cli::cancel(&broker, args).await,
            Command::Snoop(args) => cli::snoop(&broker, args).await,
            Command::Why(args) => cli::why(&broker, args).await,
            Command::Completions { shell } => cli::completions(shell),
            Command::Man { dir } => cli::manuals(&dir, Vec::new()),
        }
    }))
}
