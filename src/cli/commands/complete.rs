//! `ur complete`: what may come next on a command line, for the completion scripts of the shells. Of what it cannot
//! find out it says nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter, complete as candidates,
};

use super::command_line;
use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::modules::library;
use crate::view::columns::NAMES;
use client::{Groups, Plain, RememberedNodes, RunFiles};
use task::Task;

/// Characters of what is told about a word: a line of a list has to hold both.
const MAX_HELP: usize = 60;

/// What was typed before the word that is to be completed, as far as it is understood.
struct Typed(Option<ArgMatches>);

/// Prints a line for each word that may stand at `index`: the word, a tab, what it is.
pub(crate) fn complete(index: usize, mut words: Vec<OsString>) -> Result<Exit> {
    words.resize(index + 1, OsString::new());
    let typed = Arc::new(Typed::of(&words[..index]));
    let current = words.last().map(|word| word.to_string_lossy().into_owned());
    let current = current.unwrap_or_default();
    let mut ur = with_values(command_line::command(), &typed);
    let dir = std::env::current_dir().ok();
    let mut found = candidates(&mut ur, words, index, dir.as_deref())?;
    // Flags come to one who begins to type one, or where there is nothing else.
    let is_flag = |candidate: &CompletionCandidate| starts_with_dash(candidate.get_value());
    if current.is_empty() && !found.iter().all(is_flag) {
        found.retain(|candidate| !is_flag(candidate));
    }
    let mut out = io::stdout().lock();
    for candidate in found {
        let help = candidate
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let line = help.lines().next().unwrap_or_default();
        let help = Plain::of(&line.chars().take(MAX_HELP).collect::<String>());
        writeln!(out, "{}\t{help}", candidate.get_value().to_string_lossy())?;
    }
    Ok(Exit::Ok)
}

fn starts_with_dash(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// Has the arguments of every command know their values.
fn with_values(command: Command, typed: &Arc<Typed>) -> Command {
    let command = command.mut_args(|arg| with_value(arg, typed));
    command.mut_subcommands(|below| with_values(below, typed))
}

fn with_value(arg: Arg, typed: &Arc<Typed>) -> Arg {
    let typed = Arc::clone(typed);
    match arg.get_id().as_str() {
        // A node alone.
        "node" => arg.add(ArgValueCompleter::new(move |word: &OsStr| {
            like(word, typed.hosts())
        })),
        "output" | "sort" => arg.add(ArgValueCompleter::new(|word: &OsStr| {
            listed(word, &columns())
        })),
        // As a flag it is the id of a new one.
        "request" if arg.get_long().is_some() => arg,
        "nodes" | "forget" | "exclude" => arg.add(ArgValueCompleter::new(move |word: &OsStr| {
            listed(word, &typed.nodes())
        })),
        "groups" => arg.add(ArgValueCompleter::new(|word: &OsStr| {
            listed(word, &groups(""))
        })),
        "request" | "failed_of" | "unanswered_of" => {
            arg.add(ArgValueCompleter::new(|word: &OsStr| like(word, runs())))
        }
        "task" => arg.add(ArgValueCompleter::new(move |word: &OsStr| {
            typed.tasks(word)
        })),
        "words" => arg.add(ArgValueCompleter::new(move |word: &OsStr| {
            let task = typed.task();
            let text = word.to_string_lossy();
            like(
                word,
                task.map(|task| task.parameters_like(&text))
                    .unwrap_or_default(),
            )
        })),
        "file_and_args" => arg.add(ArgValueCompleter::new(PathCompleter::any())),
        "params" => arg.add(ArgValueCompleter::new(|word: &OsStr| files_behind_at(word))),
        _ => arg,
    }
}

impl Typed {
    fn of(words: &[OsString]) -> Self {
        let ur = command_line::command().ignore_errors(true);
        let matches = ur.try_get_matches_from(words).ok();
        Self(
            matches
                .and_then(|mut matches| matches.remove_subcommand())
                .map(|(_, below)| below),
        )
    }

    /// Host names of the nodes that answered before, but those that a shell would take for something else.
    fn hosts(&self) -> Vec<(String, String)> {
        let broker = self
            .0
            .as_ref()
            .and_then(|below| BrokerArgs::from_arg_matches(below).ok());
        let urls = broker.and_then(|broker| broker.urls().ok());
        let nodes = urls
            .and_then(|urls| RememberedNodes::of(&urls).nodes().ok())
            .unwrap_or_default();
        let names = nodes
            .iter()
            .map(|known| (known.node.hostname.to_string(), known.node.id.to_string()));
        let mut names: Vec<_> = names.filter(|(name, _)| is_harmless(name)).collect();
        names.sort_by(|(one, _), (other, _)| client::by_name(one, other));
        names
    }

    /// The same and the groups, for a node set.
    fn nodes(&self) -> Vec<(String, String)> {
        let mut names = self.hosts();
        names.extend(groups("@"));
        names
    }

    fn values<T: Clone + Send + Sync + 'static>(&self, name: &str) -> Vec<T> {
        let below = self.0.as_ref();
        let values = below.and_then(|below| below.try_get_many::<T>(name).ok().flatten());
        values.into_iter().flatten().cloned().collect()
    }

    fn tasks(&self, word: &OsStr) -> Vec<CompletionCandidate> {
        if word.to_string_lossy().contains(['/', '.']) {
            return PathCompleter::any().complete(word);
        }
        let library = library(&self.values::<PathBuf>("modulepath"));
        let (tasks, _) = library.tasks().unwrap_or_default();
        let public = tasks.iter().filter(|task| !task.is_private());
        let names = public.map(|task| (task.name.to_string(), task.summary().to_owned()));
        like(word, names.collect())
    }

    fn task(&self) -> Option<Task> {
        let name = self.values::<String>("task").pop()?;
        crate::flags::modules::find(&library(&self.values::<PathBuf>("modulepath")), &name).ok()
    }
}

fn groups(prefix: &str) -> Vec<(String, String)> {
    let groups = Groups::of_this_user().unwrap_or_default();
    let names = groups.names().into_iter().filter(|name| is_harmless(name));
    names
        .map(|name| (format!("{prefix}{name}"), "group".to_owned()))
        .collect()
}

/// The latest first.
fn runs() -> Vec<(String, String)> {
    let runs = RunFiles::of_this_user()
        .and_then(|runs| runs.list())
        .unwrap_or_default();
    let runs = runs
        .into_iter()
        .map(|run| (run.start.request.to_string(), run.start.what));
    let runs: Vec<_> = runs.filter(|(request, _)| is_harmless(request)).collect();
    let last = runs
        .first()
        .map(|(_, what)| ("last".to_owned(), what.clone()));
    last.into_iter().chain(runs).collect()
}

/// Those of `ur nodes`.
fn columns() -> Vec<(String, String)> {
    let names = NAMES.iter();
    names
        .map(|name| ((*name).to_owned(), "column".to_owned()))
        .collect()
}

/// A node chooses its name, and what is completed is run.
fn is_harmless(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain)
}

fn like(word: &OsStr, values: Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let values = values
        .into_iter()
        .filter(|(value, _)| value.starts_with(&*word));
    let candidate =
        |(value, help): (String, String)| CompletionCandidate::new(value).help(Some(help.into()));
    values.map(candidate).collect()
}

/// The same for the last of several with commas.
fn listed(word: &OsStr, values: &[(String, String)]) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let (before, last) = match word.rsplit_once(',') {
        Some((before, last)) => (format!("{before},"), last),
        None => (String::new(), &*word),
    };
    let found = like(OsStr::new(last), values.to_vec()).into_iter();
    found
        .map(|candidate| candidate.add_prefix(before.clone()))
        .collect()
}

fn files_behind_at(word: &OsStr) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let path = word.strip_prefix('@').unwrap_or(&word);
    let files = PathCompleter::any().complete(OsStr::new(path)).into_iter();
    files.map(|file| file.add_prefix("@")).collect()
}
