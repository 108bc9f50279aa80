//! The flags, and what they mean. `-h` of every command fits 80 columns, which a test holds.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use super::exit::Usage;
use super::run::InputArgs;
use super::run_task::RunTaskArgs;
use super::tasks::{TaskCommand, TasksArgs};
use broker::Url;
use client::{Client, NodeName, Selector};
use protocol::RequestId;

/// Finds bare-metal nodes over RabbitMQ and runs scripts on them.
#[derive(Debug, Parser)]
#[command(name = "ur", version, disable_help_subcommand = true)]
#[command(override_usage = "ur COMMAND …", after_help = EXIT_STATUS)]
pub(crate) struct Args {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status; where several apply, the highest:
    0  every node ran it and exited 0
    1  error
    2  usage
    3  some script exited non-zero, was ended, or was refused by its node
   10  a named node was not found, or no node was; nothing was sent
   20  some node gave no final answer
   21  the end of some script is unknown
   22  stopped by --max-fail
  130  stopped by ^C";

#[derive(Debug, ClapArgs)]
pub(crate) struct BrokerArgs {
    /// RabbitMQ; several URLs with commas are tried in turn
    /// [env: UR_AMQP_URL]
    /// [default: amqp://guest:guest@localhost:5672]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "UR_AMQP_URL",
        hide_env = true
    )]
    #[arg(
        default_value = "amqp://guest:guest@localhost:5672",
        hide_default_value = true
    )]
    #[arg(verbatim_doc_comment)]
    amqp_url: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who is there
    Nodes(NodesArgs),
    /// Run a command line
    Exec(ExecArgs),
    /// Run a local file, with arguments
    Script(ScriptArgs),
    /// Run a file that is on the node, with arguments
    File(FileArgs),
    /// Run a task: a versioned script with parameters
    Run(RunTaskArgs),
    /// List the tasks there are
    Tasks(TasksArgs),
    /// Show, write, check and release tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Measure how long agents take to answer
    Ping(PingArgs),
    /// Wait for the answers of a run whose ur is gone
    Attach(AttachArgs),
    /// End a request that is running
    Cancel(CancelArgs),
    /// Show messages as they pass
    Snoop(SnoopArgs),
    /// Tell what became of a request on a node
    Why(WhyArgs),
    /// Write a completion script for a shell
    Completions { shell: Shell },
    /// Write the manual pages
    #[command(hide = true)]
    Man { dir: PathBuf },
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// All nodes that answer
    #[arg(short, long, help_heading = TARGETS)]
    all: bool,
    /// All but headnodes
    #[arg(short, long, help_heading = TARGETS)]
    compute: bool,
    /// By UUID, UUID-MAC or hostname
    #[arg(short, long, help_heading = TARGETS, value_name = "NODE,…", value_delimiter = ',')]
    nodes: Vec<String>,
    /// By a jq expression on sysinfo
    #[arg(short = 'w', long = "where", help_heading = TARGETS, value_name = "EXPR")]
    expression: Option<String>,
}

const TARGETS: &str = "Targets, exactly one of";

#[derive(Debug, ClapArgs)]
pub(crate) struct DiscoverArgs {
    /// Silence that ends the search [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(default_value = "1", hide_default_value = true)]
    pub discover: Duration,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur nodes [OPTIONS]")]
pub(crate) struct NodesArgs {
    /// Only those that a jq expression on sysinfo accepts
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    pub expression: Option<String>,
    /// Print one JSON array of sysinfo
    #[arg(short, long, conflicts_with = "json_lines")]
    pub json: bool,
    /// Print a line of JSON for each
    #[arg(short = 'J', long)]
    pub json_lines: bool,
    /// No header
    #[arg(short, long)]
    pub quiet: bool,
    /// Trace on stderr what happens when
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub discover: DiscoverArgs,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur exec [OPTIONS] TARGETS 'COMMAND LINE'")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub targets: TargetArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub input: InputArgs,
    /// For /bin/sh on every node; quote it
    #[arg(value_name = "COMMAND LINE")]
    pub command: String,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur script [OPTIONS] TARGETS FILE [ARG]...")]
pub(crate) struct ScriptArgs {
    #[command(flatten)]
    pub targets: TargetArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub input: InputArgs,
    /// A local file, and its arguments: all that follows
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["FILE", "ARG"])]
    pub file_and_args: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur file [OPTIONS] TARGETS PATH [ARG]...")]
pub(crate) struct FileArgs {
    #[command(flatten)]
    pub targets: TargetArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub input: InputArgs,
    /// A file on the node, and its arguments: all that follows
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["PATH", "ARG"])]
    pub path_and_args: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// How long a script may run [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// How long a node may take to accept the request;
    /// it is not started later [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, verbatim_doc_comment)]
    #[arg(default_value = "60", hide_default_value = true)]
    pub pickup: Duration,
    /// How long to wait for the answer after that
    /// [default: --timeout and 15, else 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, verbatim_doc_comment)]
    pub wait: Option<Duration>,
    /// Nodes at work at a time [default: all]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<NonZeroUsize>,
    /// Send to no more nodes when N have failed
    #[arg(long, value_name = "N")]
    pub max_fail: Option<NonZeroUsize>,
    /// The script's working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// The request's id [default: a random one]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub request: Option<RequestId>,
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// How nodes are found, and what is seen of a run.
#[derive(Debug, ClapArgs)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub discover: DiscoverArgs,
    #[command(flatten)]
    pub view: ViewArgs,
    /// No counter, no summary
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Trace on stderr what happens when
    #[arg(short, long, help_heading = OUTPUT)]
    pub verbose: bool,
}

#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct ViewArgs {
    /// Print one JSON array
    #[arg(short, long, help_heading = OUTPUT)]
    pub json: bool,
    /// Print a line of JSON as each node ends
    #[arg(short = 'J', long, help_heading = OUTPUT)]
    pub json_lines: bool,
    /// Print each node's last line that is not blank
    #[arg(short = 'N', long, help_heading = OUTPUT)]
    pub last_line: bool,
    /// Print each node's output as it ends
    #[arg(short = 'I', long, help_heading = OUTPUT)]
    pub immediate: bool,
    /// Print output as it is written, by line
    #[arg(long, help_heading = OUTPUT)]
    pub stream: bool,
}

const OUTPUT: &str = "Output";

#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub(crate) struct JsonArgs {
    /// Print one JSON array
    #[arg(short, long, help_heading = OUTPUT)]
    pub json: bool,
    /// Print a line of JSON for each node
    #[arg(short = 'J', long, help_heading = OUTPUT)]
    pub json_lines: bool,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur ping [OPTIONS] TARGETS")]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub targets: TargetArgs,
    /// How long to wait [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(default_value = "5", hide_default_value = true)]
    pub wait: Duration,
    #[command(flatten)]
    pub discover: DiscoverArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur attach [OPTIONS] [TARGETS] [REQUEST]")]
#[command(mut_group("TargetArgs", |group| group.required(false).requires("request")))]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub targets: Option<TargetArgs>,
    /// The request's id; without one, recent runs are listed
    #[arg(value_parser = request_id)]
    pub request: Option<RequestId>,
    /// How long to wait for an answer [default: as the run]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub watch: WatchArgs,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur cancel [OPTIONS] TARGETS REQUEST")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub targets: TargetArgs,
    /// The request's id
    #[arg(value_parser = request_id)]
    pub request: RequestId,
    /// How long to wait for its end [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    #[arg(default_value = "60", hide_default_value = true)]
    pub wait: Duration,
    #[command(flatten)]
    pub discover: DiscoverArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur snoop [OPTIONS] [KEY PATTERN]")]
pub(crate) struct SnoopArgs {
    /// Routing keys: * is a word, # any words
    #[arg(value_name = "KEY PATTERN", default_value = "ur.#")]
    pub pattern: String,
    /// Only what a jq expression on {key, body} accepts
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    pub expression: Option<String>,
    /// Print a line of JSON for each
    #[arg(short = 'J', long)]
    pub json_lines: bool,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ur why [OPTIONS] NODE REQUEST")]
pub(crate) struct WhyArgs {
    /// UUID, UUID-MAC or hostname
    pub node: String,
    /// The request's id
    #[arg(value_parser = request_id)]
    pub request: RequestId,
    #[command(flatten)]
    pub discover: DiscoverArgs,
}

impl BrokerArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
        let urls: Result<Vec<Url>> = self.amqp_url.split(',').map(str::parse).collect();
        let urls = urls.map_err(|error| Usage(format!("{error:#}")))?;
        Client::connect(urls).await
    }
}

impl TargetArgs {
    pub(super) fn selector(&self) -> Result<Selector> {
        if let Some(expression) = &self.expression {
            return Ok(Selector::compile(expression)?);
        }
        Ok(if self.all {
            Selector::All
        } else if self.compute {
            Selector::Compute
        } else {
            Selector::Named(self.nodes.iter().cloned().map(NodeName).collect())
        })
    }
}

impl JsonArgs {
    pub(super) fn is_wanted(&self) -> bool {
        self.json || self.json_lines
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "not a number of seconds above 0".to_owned())
}

fn request_id(text: &str) -> Result<RequestId, String> {
    RequestId::parse(text).map_err(|refusal| refusal.message)
}

#[cfg(test)]
mod tests;
