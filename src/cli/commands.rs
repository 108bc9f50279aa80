//! The commands of `ur`.

pub(crate) mod attach;
pub(crate) mod cancel;
pub(crate) mod command_line;
pub(crate) mod complete;
mod examples;
pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod get;
pub(crate) mod jobs;
pub(crate) mod man;
pub(crate) mod nodes;
pub(crate) mod ping;
pub(crate) mod put;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod script;
pub(crate) mod show;
mod slips;
pub(crate) mod snoop;
pub(crate) mod targets;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod watch;
pub(crate) mod why;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::flags::broker::BrokerArgs;

/// Finds bare-metal nodes over RabbitMQ and runs scripts on them.
#[derive(Debug, Parser)]
#[command(name = "ur", version, disable_help_subcommand = true)]
#[command(override_usage = "ur COMMAND …")]
pub(crate) struct Args {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the nodes that answer
    Nodes(nodes::NodesArgs),
    /// Show whom a command would be sent to
    Targets(targets::ShowTargetsArgs),
    /// Show one page about a node
    Show(show::ShowArgs),
    /// Run a command line
    Exec(exec::ExecArgs),
    /// Run a local file, with arguments
    Script(script::ScriptArgs),
    /// Run a file that is on the node, with arguments
    File(file::FileArgs),
    /// Run a task: a versioned script with parameters
    Run(run::RunArgs),
    /// Put files and folders to the nodes
    Put(put::PutArgs),
    /// Get a file or folder of each node
    Get(get::GetArgs),
    /// List the tasks, as ur task list does
    Tasks(tasks::TasksArgs),
    /// List, show, write, check and release tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Measure how long agents take to answer
    Ping(ping::PingArgs),
    /// List your runs, and show what came of one
    Runs(runs::RunsArgs),
    /// Collect the replies of a run whose ur is gone
    Attach(attach::AttachArgs),
    /// Show what runs and waits on nodes
    Jobs(jobs::JobsArgs),
    /// Show the nodes and what runs on them, again and again
    Watch(watch::WatchArgs),
    /// End a request that is running
    Cancel(cancel::CancelArgs),
    /// Show messages as they pass
    Snoop(snoop::SnoopArgs),
    /// Show the status of a request on a node
    Why(why::WhyArgs),
    /// Show the help of a command
    Help {
        /// None for that of ur
        #[arg(value_name = "COMMAND")]
        words: Vec<String>,
    },
    /// Write a completion script for a shell
    Completions {
        /// bash, zsh or fish; of elvish and powershell only
        /// commands and flags
        #[arg(verbatim_doc_comment, hide_possible_values = true)]
        shell: Shell,
    },
    /// Tell what may come next on a command line
    #[command(hide = true)]
    Complete {
        index: usize,
        #[arg(last = true)]
        line: Vec<OsString>,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man { dir: PathBuf },
}
