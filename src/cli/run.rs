//! `ur exec`, `ur script`, `ur file`: flags → request → run → screen.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use jiff::Timestamp;
use serde_json::json;
use tokio::signal::ctrl_c;

use super::args::{BrokerArgs, ExecArgs, FileArgs, RunArgs, ScriptArgs, TargetArgs, WatchArgs};
use super::screen::{Screen, View};
use super::trace::Trace;
use super::{Exit, find_targets};
use client::{Action, Client, Plan, Report, RunEvent, RunFile, Runs, Start, Target, run};
use protocol::{Program, Request, RequestId};

/// How long a reply may take besides the script's own time.
const ROUND_TRIP: Duration = Duration::from_secs(15);
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// What all output of a run that is shown at its end may come to, in bytes: it is in memory until then.
const HELD_OUTPUT: u64 = 512 * 1024 * 1024;
/// Of what is run, so much is recorded for people.
const RECORDED: usize = 60;

/// What a script gets besides its arguments.
#[derive(Debug, ClapArgs)]
pub(crate) struct InputArgs {
    /// A variable of the script; the first one replaces
    /// the whole environment, PATH too
    #[arg(long, value_name = "K=V", value_parser = assignment, verbatim_doc_comment)]
    env: Vec<(String, String)>,
    /// The script's standard input (- is ours)
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
}

impl InputArgs {
    fn env(&self) -> Option<BTreeMap<String, String>> {
        (!self.env.is_empty()).then(|| self.env.iter().cloned().collect())
    }
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn exec(broker: &BrokerArgs, args: ExecArgs) -> Result<Exit> {
    let request = with_input(Request::script(args.command), &args.input)?;
    send(broker, &args.targets, &args.run, request, |_| Ok(())).await
}

pub(crate) async fn script(broker: &BrokerArgs, args: ScriptArgs) -> Result<Exit> {
    let mut words = args.file_and_args.into_iter();
    let path = words.next().context("no file")?;
    let bytes = std::fs::read(&path).with_context(|| format!("reading {path}"))?;
    let mut request = Request::script(text(bytes, &path)?);
    request.args = words.collect();
    let request = with_input(request, &args.input)?;
    send(broker, &args.targets, &args.run, request, |_| Ok(())).await
}

pub(crate) async fn file(broker: &BrokerArgs, args: FileArgs) -> Result<Exit> {
    let mut words = args.path_and_args.into_iter();
    let mut request = Request::file(words.next().context("no path")?);
    request.args = words.collect();
    let request = with_input(request, &args.input)?;
    send(broker, &args.targets, &args.run, request, |_| Ok(())).await
}

fn with_input(mut request: Request, args: &InputArgs) -> Result<Request> {
    request.env = args.env();
    request.stdin = args.stdin.as_deref().map(standard_input).transpose()?;
    Ok(request)
}

/// Finds the targets, sends unless `refuse` does, and shows what comes back.
pub(super) async fn send(
    broker: &BrokerArgs,
    targets: &TargetArgs,
    args: &RunArgs,
    mut request: Request,
    refuse: impl FnOnce(&[Target]) -> Result<()>,
) -> Result<Exit> {
    let trace = Trace::new(args.watch.verbose);
    let selector = targets.selector()?;
    let view = View::of(&args.watch.view);
    request.timeout = args.timeout.or(request.timeout);
    request.cwd.clone_from(&args.cwd);
    request.stream = view == View::Stream;

    let mut client = broker.connect().await?;
    let discover = args.watch.discover.discover;
    let targets = find_targets(&client, &selector, discover, &trace).await?;
    refuse(&targets)?;
    if view.is_shown_at_the_end() {
        let share = HELD_OUTPUT / 2 / targets.len().max(1) as u64;
        request.max_output = request.max_output.min(share);
    }
    request.timestamp = Some(json!(format!("{:.3}", Timestamp::now())));
    request.origin = Some(origin(&client));
    let plan = Plan {
        request: args.request.clone().unwrap_or_else(RequestId::random),
        action: Action::Execute,
        body: request.encode(),
        pickup: Some(args.pickup),
        wait: args.wait.unwrap_or_else(|| default_wait(request.timeout)),
        concurrency: args.concurrency.map(usize::from),
        max_fail: args.max_fail.map(usize::from),
        stream: request.stream,
        earlier: HashMap::new(),
        label: request.label.clone(),
    };
    trace.say(format_args!("sending request {}", plan.request));
    let file = record(&plan, &targets, &request);
    let report = watch(&mut client, &plan, targets, &args.watch, (&trace, file)).await?;
    client.close().await;
    Ok(Exit::of_run(&report))
}

/// Writes down whom what is sent to, before it is. A run without a record is a run all the same.
fn record(plan: &Plan, targets: &[Target], request: &Request) -> Option<RunFile> {
    let start = Start {
        request: plan.request.clone(),
        at: Timestamp::now(),
        what: what(request),
        wait: plan.wait,
        targets: targets.to_vec(),
    };
    match Runs::of_this_user().and_then(|runs| runs.create(start)) {
        Ok(file) => Some(file),
        Err(error) => {
            eprintln!("ur: recording the run, for `ur attach`: {error:#}");
            None
        }
    }
}

/// A versioned script's name, or the first line of a script that is not about its interpreter, or the
/// path of a file.
fn what(request: &Request) -> String {
    if let Some(name) = &request.label.name {
        return name.clone();
    }
    let text = match &request.program {
        Program::Script(text) => text.lines().find(|line| !line.starts_with("#!")),
        Program::File(path) => Some(path.as_str()),
    };
    text.unwrap_or_default().chars().take(RECORDED).collect()
}

/// Sends, collects, shows and records.
pub(super) async fn watch(
    client: &mut Client,
    plan: &Plan,
    targets: Vec<Target>,
    args: &WatchArgs,
    (trace, mut file): (&Trace, Option<RunFile>),
) -> Result<Report> {
    let view = View::of(&args.view);
    let mut screen = Screen::new(targets.len(), view, args.quiet, &plan.request, trace);
    let mut show = |event: RunEvent<'_>| {
        if let Some(Err(error)) = file.as_mut().map(|file| file.note(&event)) {
            eprintln!("ur: recording the run, for `ur attach`: {error:#}");
            file = None;
        }
        screen.show(event)
    };
    let report = run(client, plan, targets, interrupted()?, &mut show).await?;
    screen.finish(&report)?;
    Ok(report)
}

fn default_wait(timeout: Option<Duration>) -> Duration {
    timeout.map_or(DEFAULT_WAIT, |timeout| timeout.saturating_add(ROUND_TRIP))
}

/// Ready after the first ^C. The second ends the program wherever it is.
pub(super) fn interrupted() -> Result<impl Future<Output = ()>> {
    use signal_hook::consts::SIGINT;
    let again = Arc::new(AtomicBool::new(false));
    let status = i32::from(Exit::Interrupted as u8);
    signal_hook::flag::register_conditional_shutdown(SIGINT, status, Arc::clone(&again))
        .and_then(|_| signal_hook::flag::register(SIGINT, again))
        .context("listening for ^C")?;
    Ok(async {
        if ctrl_c().await.is_err() {
            // Then the flag alone is left: the second ^C ends us.
            std::future::pending::<()>().await;
        }
    })
}

fn standard_input(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin()
            .read_to_end(&mut bytes)
            .context("reading our standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    }
    text(bytes, &path.display().to_string())
}

/// JSON carries text only.
pub(super) fn text(bytes: Vec<u8>, name: &str) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => bail!(
            "{name} is not UTF-8 text (byte {} is not): send it as base64 and decode it there",
            error.utf8_error().valid_up_to()
        ),
    }
}

/// Who we are, for the logs of the nodes.
fn origin(client: &Client) -> serde_json::Value {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let hostname = rustix::system::uname();
    json!({
        "user": user,
        "hostname": hostname.nodename().to_string_lossy(),
        "ips": [client.address()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_longer_than_the_time_limit() {
        assert_eq!(default_wait(None), Duration::from_secs(60));
        let limit = Some(Duration::from_secs(300));
        assert_eq!(default_wait(limit), Duration::from_secs(315));
    }

    #[test]
    fn a_run_is_recorded_by_its_first_line() {
        assert_eq!(
            what(&Request::script("#!/bin/sh\necho a\necho b")),
            "echo a"
        );
        assert_eq!(what(&Request::script("")), "");
        assert_eq!(what(&Request::file("/opt/x.sh")), "/opt/x.sh");
        let mut task = Request::script("#!/bin/bash\n");
        task.label.name = Some("disk::erase".to_owned());
        assert_eq!(what(&task), "disk::erase");
        assert_eq!(what(&Request::script("ü".repeat(100))).chars().count(), 60);
    }

    #[test]
    fn a_script_is_text_and_may_be_empty() {
        assert_eq!(text(Vec::new(), "x").unwrap(), "");
        let error = text(b"ab\xff".to_vec(), "x.sh").unwrap_err().to_string();
        assert!(error.starts_with("x.sh is not UTF-8 text (byte 2"));
    }
}
