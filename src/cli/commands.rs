//! The commands of `ur`, and what can be typed.

pub(crate) mod attach;
mod broker;
pub(crate) mod cancel;
pub(crate) mod docs;
pub(crate) mod exec;
pub(crate) mod file;
mod input;
mod modules;
pub(crate) mod nodes;
mod output;
pub(crate) mod ping;
pub(crate) mod run;
pub(crate) mod script;
mod send;
pub(crate) mod snoop;
mod targets;
pub(crate) mod task;
pub(crate) mod tasks;
mod values;
mod watch;
pub(crate) mod why;

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Error, Parser, Subcommand};
use clap_complete::Shell;

/// Finds bare-metal nodes over RabbitMQ and runs scripts on them.
#[derive(Debug, Parser)]
#[command(name = "ur", version, disable_help_subcommand = true)]
#[command(override_usage = "ur COMMAND …", after_help = EXIT_STATUS)]
pub(crate) struct Args {
    #[command(flatten)]
    pub broker: broker::BrokerArgs,
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// What was typed. Of a command line without quotes clap would say how to pass its flags on, which does not help.
    pub(crate) fn typed() -> Self {
        Self::try_parse().unwrap_or_else(|error| unquoted(error).exit())
    }
}

fn unquoted(mut error: Error) -> Error {
    if error.kind() == ErrorKind::UnknownArgument && error.to_string().contains("ur exec [") {
        let hint = "quote the command line, so that it is one argument: 'ls -l'";
        error.remove(ContextKind::Suggested);
        let hint = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hint);
    }
    error
}

const EXIT_STATUS: &str = "\
Exit status; where several apply, the highest:
    0  every node ran it and exited 0
    1  error
    2  usage
    3  some script exited non-zero, was ended, or was refused by its node
   10  a named node was not found, or no node was; nothing was sent
   20  some node was not connected, or did not reply in time
   21  the end of some script is unknown
   22  stopped by --max-fail
  130  stopped by ^C";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the nodes that answer
    Nodes(nodes::NodesArgs),
    /// Run a command line
    Exec(exec::ExecArgs),
    /// Run a local file, with arguments
    Script(script::ScriptArgs),
    /// Run a file that is on the node, with arguments
    File(file::FileArgs),
    /// Run a task: a versioned script with parameters
    Run(run::RunArgs),
    /// List the tasks
    Tasks(tasks::TasksArgs),
    /// Show, write, check and release tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Measure how long agents take to answer
    Ping(ping::PingArgs),
    /// Collect the replies of a run whose ur is gone
    Attach(attach::AttachArgs),
    /// End a request that is running
    Cancel(cancel::CancelArgs),
    /// Show messages as they pass
    Snoop(snoop::SnoopArgs),
    /// Show the status of a request on a node
    Why(why::WhyArgs),
    /// Write a completion script for a shell
    Completions { shell: Shell },
    /// Write the manual pages
    #[command(hide = true)]
    Man { dir: PathBuf },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_flags_are_consistent_and_every_help_fits_80_columns() {
        let mut ur = Args::command();
        ur.clone().debug_assert();
        ur.build();
        let mut commands = vec![&mut ur];
        while let Some(command) = commands.pop() {
            for line in command.render_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
            commands.extend(command.get_subcommands_mut());
        }
    }

    #[test]
    fn after_the_file_everything_is_an_argument_of_the_script() {
        let args = parse("ur script -n node1 ./setup.sh -a --timeout b").unwrap();
        let Command::Script(script) = args.command else {
            panic!("not script")
        };
        assert_eq!(script.file_and_args, ["./setup.sh", "-a", "--timeout", "b"]);
        assert_eq!(script.send.timeout, None);
    }

    #[test]
    fn targets_stand_before_or_after_and_exactly_one_kind_is_needed() {
        assert!(parse("ur exec -a uptime").is_ok());
        assert!(parse("ur exec uptime -n a,b").is_ok());
        assert!(parse("ur exec uptime").is_err());
        assert!(parse("ur exec -a -c uptime").is_err());
        assert!(parse("ur exec -a -n x uptime").is_err());
        assert!(parse("ur exec -a up time").is_err());
        assert!(parse("ur exec -a -j -J uptime").is_err());
    }

    #[test]
    fn a_command_line_that_is_not_quoted_is_told_as_that() {
        for line in ["ur exec -n node1 ls -l /", "ur exec -n node1 ls /"] {
            let told = unquoted(parse(line).unwrap_err()).to_string();
            assert!(
                told.contains("quote the command line") && !told.contains("-- "),
                "{told}"
            );
        }
        let other = unquoted(parse("ur nodes -Z").unwrap_err()).to_string();
        assert!(!other.contains("quote"), "{other}");
    }

    #[test]
    fn attach_takes_targets_only_with_a_request() {
        for line in [
            "ur attach",
            "ur attach r1",
            "ur attach -n a r1",
            "ur attach r1 -a",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        assert!(parse("ur attach -a").is_err());
        assert!(parse("ur attach -a -n x r1").is_err());
    }

    #[test]
    fn a_bad_value_is_a_usage_error() {
        for line in [
            "ur exec -a x --timeout 0",
            "ur exec -a x --timeout nan",
            "ur exec -a x --wait -1",
            "ur exec -a x --wait -n",
            "ur exec -a x --pickup 0",
            "ur exec -a x --env A",
            "ur exec -a x --request a.b",
            "ur exec -a x --concurrency 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_negative_time_is_told_as_a_bad_time() {
        let told = parse("ur exec -a x --timeout -1").unwrap_err().to_string();
        assert!(
            told.contains("'-1' for '--timeout <TIME>': write a time above 0"),
            "{told}"
        );
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        docs::manuals(Args::command(), dir.path()).unwrap();
        for page in ["ur.1", "ur-nodes.1", "ur-exec.1", "ur-why.1"] {
            assert!(dir.path().join(page).exists(), "{page}");
        }
        assert!(!dir.path().join("ur-man.1").exists());
    }
}
