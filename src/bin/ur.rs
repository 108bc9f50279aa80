//! `ur`: flags → command.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use ur::agent::Cli;
use ur::argv;
use ur::cli::{self, Args, Command, Exit};

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    if let Err(error) = argv::hide_broker_url(&matches) {
        eprintln!("ur: hiding the broker's password from ps: {error}");
    }
    let Args { broker, command } =
        Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Exit::report(cli::block_on(async {
        match command {
            Command::Nodes(args) => cli::nodes(&broker, args).await,
            Command::Exec(args) => cli::exec(&broker, args).await,
            Command::Script(args) => cli::script(&broker, args).await,
            Command::File(args) => cli::file(&broker, args).await,
            Command::Run(args) => cli::run_task(&broker, args).await,
            Command::Tasks(args) => cli::tasks(&args),
            Command::Task(command) => cli::task(command),
            Command::Ping(args) => cli::ping(&broker, args).await,
            Command::Attach(args) => cli::attach(&broker, args).await,
            Command::Cancel(args) => cli::cancel(&broker, args).await,
            Command::Snoop(args) => cli::snoop(&broker, args).await,
            Command::Why(args) => cli::why(&broker, args).await,
            Command::Completions { shell } => cli::completions(shell),
            Command::Man { dir } => cli::manuals(&dir, vec![Cli::command()]),
        }
    }))
}
