//! Flags and environment: the whole configuration of the agent.

use std::io::{self, Write};
use std::path::PathBuf;

use broker::Url;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Announces this node over RabbitMQ and runs the scripts that the headnode sends.
#[derive(Parser)]
#[command(name = "ur-agent", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub args: AgentArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve this node until told to stop (the default)
    Run,
    /// Run one request here, without a broker, and print its reply
    Exec {
        /// A request message in JSON; - reads it from standard input
        file: PathBuf,
    },
    /// Print what this machine says of itself
    Sysinfo,
    /// Say what the agent would find here: broker, state directory, sysinfo
    Check,
}

#[derive(Args, Clone)]
pub(crate) struct AgentArgs {
    /// Brokers, comma-separated, tried in turn: amqp://user:password@host
    #[arg(long, env = "UR_AMQP_URL", hide_env_values = true, global = true)]
    pub amqp_url: Option<String>,

    /// File whose first line is the same, such as a systemd credential
    #[arg(long, env = "UR_AMQP_URL_FILE", value_name = "FILE", global = true)]
    pub amqp_url_file: Option<PathBuf>,

    /// File with UR_AMQP_URL= or AMQP_HOST=, AMQP_LOGIN= … lines
    #[arg(
        long,
        env = "UR_CONFIG",
        default_value = "/etc/ur/agent.conf",
        global = true
    )]
    pub config: PathBuf,

    /// Program that prints the node's sysinfo
    #[arg(long, env = "UR_SYSINFO", global = true)]
    pub sysinfo: Option<PathBuf>,

    /// Where jobs are kept
    #[arg(long, env = "UR_STATE_DIR", default_value = "/run/ur", global = true)]
    pub state_dir: PathBuf,

    /// Scripts that run at a time; more wait in order
    #[arg(long, env = "UR_MAX_JOBS", default_value_t = 64, global = true,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub max_jobs: u16,

    /// Command that reboots the node, for scripts that exit 113
    #[arg(
        long,
        env = "UR_REBOOT_COMMAND",
        default_value = "reboot",
        global = true
    )]
    pub reboot_command: String,

    /// File that says "complete": true when the node is set up
    #[arg(
        long,
        env = "UR_SETUP_FILE",
        default_value = "/var/lib/setup.json",
        global = true
    )]
    pub setup_file: PathBuf,
}

/// Reads the command line, and warns of a password in it.
pub(crate) fn parse() -> Cli {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = cli.args.amqp_url.as_deref().unwrap_or_default();
    if is_typed(&matches) && Url::names_password(given) {
        // With a stderr that is closed the agent has to start all the same.
        writeln!(
            io::stderr(),
            "ur-agent: warning: every user of this machine can read the password in --amqp-url; \
             give --amqp-url-file or UR_AMQP_URL instead"
        )
        .ok();
    }
    cli
}

/// Whether the URL stands on the command line, before or behind a subcommand.
fn is_typed(matches: &ArgMatches) -> bool {
    let below = matches.subcommand().map(|(_, below)| below);
    let sources = [Some(matches), below].into_iter().flatten();
    sources
        .map(|matches| matches.value_source("amqp_url"))
        .any(|source| source == Some(ValueSource::CommandLine))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_url_counts_as_typed_before_and_behind_a_subcommand() {
        let typed = |args: &[&str]| is_typed(&Cli::command().get_matches_from(args));
        assert!(typed(&["ur-agent", "--amqp-url", "amqp://h"]));
        assert!(typed(&["ur-agent", "run", "--amqp-url", "amqp://h"]));
        assert!(!typed(&["ur-agent", "run"]));
    }

    #[test]
    fn the_manual_page_is_that_of_the_flags() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/ur-agent.1");
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .unwrap();
        if std::env::var_os("UR_UPDATE").is_some() {
            File::create(path).unwrap().write_all(&page).unwrap();
        }
        let kept = std::fs::read(path).unwrap_or_default();
        assert!(kept == page, "{path} is stale: run make pages");
    }
}
