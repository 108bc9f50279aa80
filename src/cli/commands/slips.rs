//! Slips of who types a line for `ur`: words behind a command line that is not quoted, flags that other tools have.
//! Each is told with what to type instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Error};

use super::command_line::command;
use crate::flags::script_input::quoted;

/// Commands that run what is typed, with the argument that it is: the flags of `ur` stand before it, what stands behind
/// it is its own.
const RUNNING: [(&str, &str, &str); 3] = [
    ("exec", "command", "'COMMAND LINE'"),
    ("script", "file_and_args", "FILE"),
    ("file", "path_and_args", "PATH"),
];

/// Flags of clush, pdsh, ansible, and what is here instead.
const ELSEWHERE: [(&[&str], &str); 9] = [
    (
        &["--dry-run", "--check", "--list-hosts", "-Q"],
        "ur targets shows whom it would be sent to",
    ),
    (
        &["-b", "-B", "--dshbak", "--gather-all"],
        "nodes whose output agrees are grouped without a flag; --no-fold shows each by itself",
    ),
    (
        &["-L"],
        "--no-fold shows each node by itself, in the order of their names",
    ),
    (
        &["-f", "--fanout", "--forks"],
        "--concurrency N is how many nodes are at work at a time",
    ),
    (
        &["-u", "--command_timeout", "--command-timeout"],
        "--timeout TIME is how long a script may run",
    ),
    (
        &["-t", "--connect_timeout", "--connect-timeout"],
        "--pickup TIME is how long a node may take to accept the request",
    ),
    (
        &["-l", "--user", "--become"],
        "scripts run as the user of ur-agent, which is root; runuser(1) takes another",
    ),
    (
        &["--copy", "--rcopy", "--dest"],
        "ur put and ur get copy files",
    ),
    (
        &["-S", "--maxrc"],
        "ur exits 3 if a script failed; -j has the exit status of each node",
    ),
];

/// Words behind what `ur exec` runs: each is a flag that would not be where it was meant, or a part of the command line.
pub(super) fn unquoted(words: &[OsString], matches: &ArgMatches) -> Option<Error> {
    let (name, below) = matches.subcommand()?;
    let program = program(name, below);
    (name == "exec" && program.len() > 1).then(|| {
        let before = words.len().saturating_sub(program.len());
        let before = words.get(..before).unwrap_or_default();
        let typed = before.iter().map(|word| word.to_string_lossy());
        // A URL may have a password.
        let begun: Vec<String> = match typed.clone().any(|word| word.contains("://")) {
            true => vec!["exec …".to_owned()],
            false => {
                let typed = typed.skip(1).filter(|word| word != "--");
                typed.map(|word| as_typed(&word)).collect()
            }
        };
        let begun = begun.join(" ");
        let line = quoted(&program.join(" "));
        let has_flag = program.iter().skip(1).any(|word| word.starts_with('-'));
        let flags = match has_flag {
            true => "; flags of ur stand before it",
            false => "",
        };
        wrong(
            name,
            &format!(
                "quote the command line, so that it is one argument: ur {begun} {line}{flags}"
            ),
        )
    })
}

/// What clap says of a line, with what to type instead.
pub(super) fn told(error: Error, words: &[OsString]) -> Error {
    let loose = command().ignore_errors(true);
    let Some(matches) = loose.try_get_matches_from(words).ok() else {
        return error;
    };
    let Some((name, below)) = matches.subcommand() else {
        return error;
    };
    match error.kind() {
        ErrorKind::MissingRequiredArgument => missing(error, name, below),
        ErrorKind::UnknownArgument => unknown(error, name, words),
        _ => error,
    }
}

fn missing(mut error: Error, name: &str, below: &ArgMatches) -> Error {
    let program = program(name, below);
    let has_flag = program.iter().skip(1).any(|word| word.starts_with('-'));
    if let Some((.., what)) = RUNNING.iter().find(|(it, ..)| *it == name && has_flag) {
        let order = format!("flags of ur stand before {what}: ur {name} [OPTIONS] TARGETS {what}");
        return wrong(name, &order);
    }
    let Some(ContextValue::Strings(mut those)) = error.remove(ContextKind::InvalidArg) else {
        return error;
    };
    let has_dest = !those.iter().any(|it| it == "<DEST>");
    for it in &mut those {
        // Of all the flags that say which nodes, clap would make one word.
        if it.starts_with("<--all|") {
            "TARGETS: -a, -c, -n NODE, -g GROUP, -w EXPR…".clone_into(it);
        // Of one path it takes the last argument for given.
        } else if name == "put" && has_dest && it.starts_with("<FILE") {
            "<DEST>".clone_into(it);
        }
    }
    error.insert(ContextKind::InvalidArg, ContextValue::Strings(those));
    error
}

/// clap would say how to pass the flag on as a value, which does not help.
fn unknown(mut error: Error, name: &str, words: &[OsString]) -> Error {
    error.remove(ContextKind::Suggested);
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let tip = match name {
        _ if !flag.starts_with('-') => None,
        "run" if flag.starts_with("--") && flag != "--dry-run" => Some(parameter(flag, words)),
        "exec" | "script" | "file" | "run" => elsewhere(flag).map(str::to_owned),
        _ => None,
    };
    if let Some(tip) = tip {
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn elsewhere(flag: &str) -> Option<&'static str> {
    let found = ELSEWHERE.iter().find(|(flags, _)| flags.contains(&flag));
    found.map(|(_, tip)| *tip)
}

/// `--name you` of a task is `name=you`.
fn parameter(flag: &str, words: &[OsString]) -> String {
    let name = flag.trim_start_matches('-');
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let at = words.iter().position(|word| word.starts_with(flag));
    let value = at.and_then(|at| match words[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => words.get(at + 1).map(AsRef::as_ref),
    });
    let value = value.filter(|it| !it.starts_with('-') && !it.contains('='));
    format!(
        "parameters of a task have no dashes: {}={}",
        name.split('=').next().unwrap_or(name).replace('-', "_"),
        value.unwrap_or("VALUE")
    )
}

/// What is to be run, and all that is typed behind it.
fn program(name: &str, below: &ArgMatches) -> Vec<String> {
    let argument = RUNNING.iter().find(|(it, ..)| *it == name);
    let words = argument.and_then(|(_, id, _)| below.try_get_many::<String>(id).ok().flatten());
    words.into_iter().flatten().cloned().collect()
}

/// As a shell takes it.
fn as_typed(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:=@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => quoted(word),
    }
}

fn wrong(name: &str, what: &str) -> Error {
    let mut ur = command();
    ur.build();
    let below = ur.find_subcommand_mut(name);
    let below = below.expect("one of our commands");
    below.error(ErrorKind::TooManyValues, what)
}

#[cfg(test)]
mod tests {
    use super::super::Args;
    use super::*;

    fn told(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        Args::parse_line(words).unwrap_err().to_string()
    }

    #[test]
    fn nothing_behind_a_command_line_is_taken_for_a_flag_of_ur() {
        for line in [
            "shutdown -c",
            "hostname -n node5",
            "uname -a",
            "ls /",
            "x -q",
            "id -v",
        ] {
            let told = told(&format!("ur exec -n node1 {line}"));
            let quoted = format!("one argument: ur exec -n node1 '{line}'");
            assert!(told.contains("quote the command line"), "{told}");
            assert!(
                told.contains(&quoted) && !told.contains("use '--"),
                "{told}"
            );
        }
        let told_of = told("ur exec -n node1 -- ls -l");
        assert!(told_of.contains(": ur exec -n node1 'ls -l'"), "{told_of}");
        let hidden = told("ur --amqp-url amqp://u:secret@h exec -a ls -l");
        assert!(!hidden.contains("secret"), "{hidden}");
    }

    #[test]
    fn flags_behind_what_is_run_are_told_where_they_belong() {
        for (line, order) in [
            ("exec uptime -n a", "TARGETS 'COMMAND LINE'"),
            ("script ./x.sh -n a", "TARGETS FILE"),
            ("file /bin/x -a", "TARGETS PATH"),
        ] {
            let told = told(&format!("ur {line}"));
            assert!(told.contains("flags of ur stand before"), "{told}");
            assert!(told.contains(order), "{told}");
        }
    }

    #[test]
    fn a_flag_that_is_not_there_is_told_with_what_is_there_instead() {
        for (line, tip) in [
            ("exec -a --dry-run uptime", "ur targets"),
            ("exec -a -b uptime", "grouped without a flag"),
            ("exec -a -f 32 uptime", "--concurrency N"),
            ("exec -a --tiemout 5 uptime", "'--timeout'"),
            ("run -a my::greet --name you", "name=you"),
            ("run -a my::greet --full-name=you", "full_name=you"),
            ("run -a my::greet --name", "name=VALUE"),
            ("run -a my::greet --dry-run", "ur targets"),
        ] {
            let told = told(&format!("ur {line}"));
            assert!(told.contains(tip) && !told.contains("use '--"), "{told}");
        }
        assert!(!told("ur nodes -Z").contains("tip"));
    }

    #[test]
    fn of_a_put_with_one_path_the_destination_is_missing() {
        let told = told("ur put -a /etc/hostname");
        assert!(
            told.contains("<DEST>\n") && !told.contains("<FILES>...\n"),
            "{told}"
        );
    }
}
