//! The command line as a whole: what is typed → command, and what all commands' helps have in common.

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, CommandFactory, Error, FromArgMatches};

use super::{Args, examples, slips};
use crate::exit::{self, Exit, Usage};
use crate::flags::COMMON;
use crate::flags::broker::BrokerArgs;

/// Commands that need no broker, and take no flag that names one.
pub(super) const LOCAL: [&str; 7] = [
    "runs",
    "tasks",
    "task",
    "completions",
    "complete",
    "help",
    "man",
];

impl Args {
    /// What was typed; a wrong line and a wish for help end the program.
    pub(crate) fn typed() -> Self {
        Self::parse_line(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(super) fn parse_line(words: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let matches = command().try_get_matches_from(&words);
        let matches = matches.map_err(|error| slips::told(error, &words))?;
        match slips::unquoted(&words, &matches) {
            Some(error) => Err(error),
            None => Self::of(&matches),
        }
    }

    fn of(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::from_arg_matches(matches)?;
        if let Some((name, below)) = matches.subcommand()
            && !LOCAL.contains(&name)
        {
            args.broker = BrokerArgs::from_arg_matches(below)?.or(args.broker);
        }
        Ok(args)
    }
}

/// `ur` with all that its commands have in common.
pub(crate) fn command() -> Command {
    let ur = Args::command().disable_help_flag(true);
    let ur = ur.mut_subcommands(|command| {
        let is_local = LOCAL.contains(&command.get_name());
        let name = command.get_name().to_owned();
        with_common(command, &name, is_local)
    });
    ur.arg(help_flag())
        .after_help(format!("{}\n\n{}", examples::text("ur"), exit::table()))
}

fn with_common(command: Command, name: &str, is_local: bool) -> Command {
    let command = command.disable_help_flag(true);
    let command = match is_local {
        true => command,
        false => BrokerArgs::augment_args(command),
    };
    let command = command.arg(help_flag()).after_help(examples::text(name));
    command.mut_subcommands(|below| {
        let name = format!("{name} {}", below.get_name());
        with_common(below, &name, is_local)
    })
}

fn help_flag() -> Arg {
    Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help("Print help")
        .help_heading(COMMON)
        .display_order(usize::MAX)
}

/// `ur help COMMAND…`
pub(crate) fn help(words: &[String]) -> Result<Exit> {
    let mut ur = command();
    ur.build();
    let mut found = &mut ur;
    for word in words {
        let names: Vec<String> = found
            .get_subcommands()
            .map(|it| it.get_name().to_owned())
            .collect();
        let Some(below) = found.find_subcommand_mut(word) else {
            let names = task::near(word, names.iter().map(String::as_str));
            let near = task::did_you_mean(&names);
            return Err(Usage(format!("there is no command {word:?}{near}")).into());
        };
        found = below;
    }
    writeln!(io::stdout(), "{}", found.render_help())?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Command, man};

    fn parse(line: &str) -> Result<Args, Error> {
        Args::parse_line(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_are_consistent_and_every_help_fits_80_columns() {
        let mut ur = command();
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
    fn targets_stand_before_the_command_line_and_exactly_one_kind_is_needed() {
        assert!(parse("ur exec -a uptime").is_ok());
        assert!(parse("ur exec uptime -n a,b").is_err());
        assert!(parse("ur exec uptime").is_err());
        assert!(parse("ur exec -a -c uptime").is_err());
        assert!(parse("ur exec -a -n x uptime").is_err());
        assert!(parse("ur exec -c -n x,y -n z -g r1 -w .Setup -x a uptime").is_ok());
        assert!(parse("ur targets -n - -x @f --fold").is_ok());
        assert!(parse("ur exec -a up time").is_err());
        assert!(parse("ur exec -a -j -J uptime").is_err());
    }

    #[test]
    fn a_command_line_that_is_not_quoted_is_told_as_that() {
        for line in [
            "ur exec -n node1 ls -l /",
            "ur exec -n node1 ls /",
            "ur exec -n node1 df -h",
            "ur exec -n node1 ls --help",
            "ur exec -n node1 -- df -h",
            "ur exec -a grep -v foo",
            "ur exec -n node1 uname -a",
            "ur exec -a free -g",
        ] {
            let told = parse(line).unwrap_err().to_string();
            assert!(
                told.contains("quote the command line") && !told.contains("-- "),
                "{told}"
            );
        }
        let whom = parse("ur exec uptime").unwrap_err().to_string();
        assert!(
            whom.contains("  TARGETS: -a, ") && !whom.contains('|'),
            "{whom}"
        );
        for line in [
            "ur nodes -Z",
            "ur exec -h",
            "ur exec -a -n x uptime",
            "ur exec -a --wait x uptime",
        ] {
            let other = parse(line).unwrap_err().to_string();
            assert!(!other.contains("quote the command line,"), "{other}");
        }
    }

    #[test]
    fn the_broker_is_named_before_or_behind_the_command_and_not_for_one_that_needs_none() {
        let url = |line: &str| format!("{:?}", parse(line).unwrap().broker);
        assert!(url("ur --amqp-url amqp://a nodes").contains("amqp://a"));
        assert!(url("ur --amqp-url amqp://a nodes --amqp-url amqp://b").contains("amqp://b"));
        assert!(parse("ur task show --amqp-url amqp://a x").is_err());
    }

    #[test]
    fn help_of_a_command_that_is_mistyped_names_the_near_ones() {
        let help = |words: [&str; 2]| help(&words.map(str::to_owned)).unwrap_err().to_string();
        assert!(help(["tsk", ""]).ends_with("did you mean task?"));
        assert!(help(["task", "shw"]).ends_with("did you mean show?"));
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
            "ur exec -a --timeout 0 x",
            "ur exec -a --timeout nan x",
            "ur exec -a --wait -1 x",
            "ur exec -a --wait -n x",
            "ur exec -a --pickup 0 x",
            "ur exec -a --env A x",
            "ur exec -a --request a.b x",
            "ur exec -a --concurrency 0 x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_negative_time_is_told_as_a_bad_time() {
        let told = parse("ur exec -a --timeout -1 x").unwrap_err().to_string();
        assert!(
            told.contains("'-1' for '--timeout <TIME>': write a time above 0"),
            "{told}"
        );
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        man::manuals(command(), dir.path()).unwrap();
        for page in ["ur.1", "ur-nodes.1", "ur-exec.1", "ur-why.1"] {
            let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
            for section in ["EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
                assert!(
                    text.contains(&format!(".SH {section}\n")),
                    "{page}: {section}"
                );
            }
        }
        assert!(!dir.path().join("ur-man.1").exists());
    }
}
