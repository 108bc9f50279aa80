//! Flags and environment: the whole configuration of the agent.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process;

use broker::Url;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Announces this node over RabbitMQ and runs the scripts that the headnode sends.
#[derive(Parser)]
#[command(name = "ur-agent", version, about, disable_help_subcommand = true)]
#[command(override_usage = "ur-agent COMMAND [OPTIONS]", after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub args: AgentArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  ur-agent check                                  # what would be found here?
  ur-agent run --amqp-url-file /etc/ur/amqp-url   # serve, on that broker
  echo '{\"script\":\"uptime\"}' | ur-agent exec -    # one request, no broker";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve this node until told to stop
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
    /// Brokers, comma-separated, tried in turn: amqps://user:password@host
    #[arg(long, env = "UR_AMQP_URL", hide_env_values = true, global = true)]
    pub amqp_url: Option<String>,

    /// File whose first line is the same, such as a systemd credential
    #[arg(long, env = "UR_AMQP_URL_FILE", value_name = "FILE", global = true)]
    pub amqp_url_file: Option<PathBuf>,

    /// CA of the broker's certificate, for amqps:// [default: /etc/ur/ca.pem]
    #[arg(long, env = "UR_CA_FILE", value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,

    /// Certificate to log in with, where the URL names no user
    #[arg(long, env = "UR_CERT_FILE", value_name = "FILE", global = true)]
    pub cert_file: Option<PathBuf>,

    /// Its private key
    #[arg(long, env = "UR_KEY_FILE", value_name = "FILE", global = true)]
    pub key_file: Option<PathBuf>,

    /// Exchange to publish to, where it is not amq.topic; {node} stands for the node's UUID
    #[arg(
        long,
        env = "UR_PUBLISH_EXCHANGE",
        value_name = "EXCHANGE",
        global = true
    )]
    pub publish_exchange: Option<String>,

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
    let command = Cli::command().mut_args(|arg| without_empty_variable(arg, is_empty));
    let matches = command.get_matches();
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

/// Without a word behind its name the agent tells how it is used: a person who tries it does not mean to join the fleet.
/// An init that was told to start it by its name alone means just that.
pub(crate) fn is_tried_out() -> bool {
    let init = 1;
    process::id() != init && parent_id() != init
}

pub(crate) fn help() -> impl Display {
    Cli::command().render_help()
}

fn is_empty(variable: &OsStr) -> bool {
    env::var_os(variable).is_some_and(|value| value.is_empty())
}

/// A variable without a value, as templates of settings leave them behind, is not set.
fn without_empty_variable(arg: Arg, is_empty: impl Fn(&OsStr) -> bool) -> Arg {
    match arg.get_env().is_some_and(is_empty) {
        true => arg.env(Resettable::Reset),
        false => arg,
    }
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
    use super::*;

    #[test]
    fn the_url_counts_as_typed_before_and_behind_a_subcommand() {
        let typed = |args: &[&str]| is_typed(&Cli::command().get_matches_from(args));
        assert!(typed(&["ur-agent", "--amqp-url", "amqp://h"]));
        assert!(typed(&["ur-agent", "run", "--amqp-url", "amqp://h"]));
        assert!(!typed(&["ur-agent", "run"]));
    }

    #[test]
    fn a_variable_without_a_value_is_not_set() {
        let has_env = |is_empty: bool| {
            let command = Cli::command().mut_args(|arg| without_empty_variable(arg, |_| is_empty));
            command.get_arguments().any(|arg| arg.get_env().is_some())
        };
        assert!(has_env(false) && !has_env(true));
    }

    #[test]
    fn the_manual_page_has_every_command_and_flag_and_this_version() {
        let page = include_str!("../../packaging/ur-agent.1").replace("\\-", "-");
        let version = concat!("\"ur-agent ", env!("CARGO_PKG_VERSION"), "\"");
        assert!(page.contains(version), "{version}");
        for command in Cli::command().get_subcommands() {
            assert!(
                page.contains(&format!("\n.B {}\n", command.get_name()))
                    || page.contains(&format!("\n.BI \"{} ", command.get_name())),
                "{}",
                command.get_name()
            );
        }
        for arg in Cli::command().get_arguments() {
            let variable = arg
                .get_env()
                .map(|name| name.to_string_lossy().into_owned());
            let flag = arg.get_long().map(|long| format!("--{long}"));
            for word in flag.into_iter().chain(variable) {
                assert!(page.contains(&word), "{word}");
            }
        }
    }
}
