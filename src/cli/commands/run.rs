//! `ur run`: a task and its parameters → a request like any other. What is wrong with them is told before
//! a node is asked, and the operator confirms what destroys data.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value};

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::modules::ModuleArgs;
use crate::flags::script_input::read_text;
use crate::flags::send::{SendArgs, send};
use crate::flags::stdin::tell_unread;
use crate::flags::values::assignment;
use crate::stderr::{ask, tell};
use crate::view::{Pages, fold};
use client::Target;
use protocol::Request;
use task::{Class, Given, ScriptInput, Task};

#[derive(Debug, Args)]
#[command(override_usage = "ur run [OPTIONS] TARGETS TASK [NAME=VALUE]...")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    modules: ModuleArgs,
    /// Parameters as a JSON object: @FILE, or as it is
    #[arg(long, value_name = "@FILE")]
    params: Option<String>,
    /// Tell what would be done, and change nothing
    #[arg(long)]
    noop: bool,
    /// Do not ask before something is destroyed
    #[arg(long)]
    yes: bool,
    /// MODULE::TASK, or a path with a slash in it
    task: String,
    /// A parameter; as JSON if that fits its type
    #[arg(value_name = "NAME=VALUE", value_parser = assignment)]
    words: Vec<(String, String)>,
}

pub(crate) async fn run(broker: &BrokerArgs, mut args: RunArgs) -> Result<Exit> {
    let library = args.modules.library();
    let task = args
        .modules
        .find(&args.task)
        .map_err(|error| not_found(&args.task, error))?;
    if task.had_mark {
        let name = &task.name;
        tell(&format!(
            "ur: {name} begins with a byte order mark, which is left out"
        ));
    }
    let json = args.params.as_deref().map(parameters).transpose()?;
    let given = Given {
        words: args.words,
        json: json.unwrap_or_default(),
        noop: args.noop,
    };
    let input = task.prepare(&given)?;
    let destroys = task.class() == Some(Class::Destructive) && !args.noop;
    if destroys {
        refuse_unconfirmable(&task, &input, args.yes)?;
    }
    let bundle = task.bundle(&library)?;
    let program = &mut args.send.conduct.program;
    program.pages = Pages::of([&task])?;
    program.name = Some(task.name.to_string());
    let mut request = Request::script(bundle.as_str());
    request.label = task.label(&bundle);
    request.timeout = task.timeout();
    request.env = Some(input.env.clone());
    request.stdin.clone_from(&input.stdin);
    args.send.what = Some(what(&task, &input, args.noop));
    let is_asked = destroys && !args.yes;
    if !args.send.conduct.quiet {
        tell_unread();
    }
    send(broker, &args.send, request, |targets| {
        refuse_without_stdin(&task, &input, targets)?;
        if is_asked {
            confirm(&task, &input, targets)
        } else {
            Ok(())
        }
    })
    .await
}

/// As one would write it, but for what is sensitive.
fn what(task: &Task, input: &ScriptInput, noop: bool) -> String {
    let noop = if noop { "--noop" } else { "" };
    let words = [task.name.to_string(), input.shown.clone(), noop.to_owned()];
    let words = words.iter().map(String::as_str);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A word alone may be the first of a command line.
fn not_found(task: &str, error: anyhow::Error) -> anyhow::Error {
    match task.contains([':', '/', '.']) {
        true => error,
        false => Usage(format!(
            "{error:#}; a command line is run by ur exec TARGETS '{task}'"
        ))
        .into(),
    }
}

/// The operator must have named what is destroyed, and have a terminal to be asked on, or given --yes.
fn refuse_unconfirmable(task: &Task, input: &ScriptInput, yes: bool) -> Result<()> {
    let name = &task.name;
    if let Some(parameter) = &input.unconfirmed {
        let example = task.example_of(parameter).unwrap_or_default();
        let bad = format!(
            "{name} is destructive: `{parameter}` must name what is destroyed, such as {example}"
        );
        return Err(Usage(bad).into());
    }
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !yes && !can_ask {
        let bad = format!("{name} is destructive, and there is no terminal to ask on: give --yes");
        return Err(Usage(bad).into());
    }
    Ok(())
}

/// A Node.js agent gives its scripts a standard input that never ends, and nothing on it.
fn refuse_without_stdin(task: &Task, input: &ScriptInput, targets: &[Target]) -> Result<()> {
    let old = targets.iter().filter(|target| target.agent.is_none());
    let old: Vec<String> = old.map(Target::name).collect();
    if !input.needs_stdin || old.is_empty() {
        return Ok(());
    }
    let bad = format!(
        "{} gets its parameters on standard input, which Node.js agents do not give: {}",
        task.name,
        fold(old.iter().map(String::as_str))
    );
    Err(Usage(bad).into())
}

fn confirm(task: &Task, input: &ScriptInput, targets: &[Target]) -> Result<()> {
    let names: Vec<String> = targets.iter().map(Target::name).collect();
    let nodes = fold(names.iter().map(String::as_str));
    let count = targets.len();
    let version = task
        .version()
        .map(|version| format!(" {version}"))
        .unwrap_or_default();
    tell(&format!("{}{version} destroys data on {nodes}", task.name));
    if !input.shown.is_empty() {
        tell(&format!("  {}", input.shown));
    }
    ask("To go on, type how many nodes these are: ");
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("reading the answer")?;
    if line.trim() != count.to_string() {
        bail!("not confirmed: these are {count} nodes; nothing was sent");
    }
    Ok(())
}

fn parameters(text_or_file: &str) -> Result<Map<String, Value>> {
    let json = match text_or_file.strip_prefix('@') {
        Some(path) => read_text(Path::new(path))?,
        None => text_or_file.to_owned(),
    };
    // Without the position in a message of serde's there is nothing of the text in it.
    serde_json::from_str(&json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let hint = file_hint(text_or_file);
        Usage(format!(
            "--params is not a JSON object (line {line}, column {column}){hint}"
        ))
        .into()
    })
}

/// For an operator who left out the @. What is not the name of a file may be a secret, and is not shown.
fn file_hint(text: &str) -> String {
    let is_name = Path::new(text).exists() || text.ends_with(".json");
    match text {
        _ if text.starts_with(['@', '{']) => String::new(),
        file if is_name => format!("; for a file: @{file}"),
        _ => "; for a file: @FILE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::fixture::result;
    use client::Plain;
    use protocol::Outcome;

    #[test]
    fn parameters_on_stdin_alone_are_refused_for_a_node_that_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("x.sh");
        std::fs::File::create(&script).unwrap();
        let task = task::local(&script).unwrap();
        let target = |agent: Option<&str>| Target {
            agent: agent.map(Plain::name),
            ..Target::clone(&result("node1", Outcome::NoAnswer, "", "").target)
        };
        let mut input = task.prepare(&Given::default()).unwrap();
        let refuse =
            |input: &ScriptInput, agent| refuse_without_stdin(&task, input, &[target(agent)]);
        assert!(refuse(&input, None).is_ok());
        input.needs_stdin = true;
        assert!(refuse(&input, Some("0.1.0")).is_ok());
        let error = refuse(&input, None).unwrap_err().to_string();
        assert!(error.contains("node1"), "{error}");
    }

    #[test]
    fn parameters_that_are_no_object_are_told_by_place_and_not_by_content() {
        assert!(parameters(r#"{"a": 1}"#).unwrap().contains_key("a"));
        for bad in [r#"["hush"]"#, r#"{"password": hush}"#, "hush"] {
            let error = parameters(bad).unwrap_err().to_string();
            assert!(
                error.contains("line 1") && !error.contains("hush"),
                "{error}"
            );
        }
        assert!(parameters("@/nonexistent").is_err());
        let forgotten = parameters("nosuch.json").unwrap_err().to_string();
        assert!(
            forgotten.ends_with("for a file: @nosuch.json"),
            "{forgotten}"
        );
    }
}
