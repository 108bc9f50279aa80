//! Flags and environment: the whole configuration of the agent.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
