//! Sending a request to the nodes that were chosen, as `ur exec`, `script`, `file` and `run` do, and
//! their common flags: time limits, how many nodes at a time, when to stop.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::broker::BrokerArgs;
use super::conduct::{ConductArgs, conduct};
use super::rolling::{Per, RollingArgs};
use super::script_input::END_OF_VARIABLES;
use super::targets::{DiscoverArgs, MissingNodes, TargetArgs, find_nodes};
use super::values::{duration, request_id};
use crate::exit::{Exit, Usage};
use crate::stderr::tell;
use crate::view::{Trace, View};
use client::{
    Action, Client, Clock, PastRun, Plain, Plan, RunFile, RunFiles, Search, Start, Target,
};
use protocol::{NodeId, Program, Request, RequestId};

/// How long the reply of a Node.js agent may take besides the script's own time.
const ROUND_TRIP: Duration = Duration::from_secs(15);
/// What all output of a run that is shown at its end may come to, in bytes: it is in memory until then.
const MAX_HELD_OUTPUT: u64 = 512 * 1024 * 1024;
/// Characters of what is run that are recorded for people.
const MAX_RECORDED: usize = 200;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// How long a script may run [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// How long a node may take to accept the request;
    /// it is not started later [default: 60]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true, verbatim_doc_comment)]
    #[arg(default_value = "60", hide_default_value = true)]
    pickup: Duration,
    /// How long to wait for the reply after that
    /// [default: as long as the node says that it runs]
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true, verbatim_doc_comment)]
    wait: Option<Duration>,
    #[command(flatten)]
    rolling: RollingArgs,
    /// The script's working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// The request's id [default: a random one]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request: Option<RequestId>,
    /// Keep outputs, for ur runs show and ur attach
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    pub(crate) conduct: ConductArgs,
    /// What is sent, for people, where the request does not tell all of it.
    #[arg(skip)]
    pub(crate) what: Option<String>,
}

/// Finds the targets, sends unless `refuse` does, and shows what comes back.
pub(crate) async fn send(
    broker: &BrokerArgs,
    args: &SendArgs,
    mut request: Request,
    refuse: impl FnOnce(&[Target]) -> Result<()>,
) -> Result<Exit> {
    args.rolling.refuse_idle()?;
    let trace = Trace::new(args.conduct.verbose);
    let selector = args.targets.selector()?;
    let view = args.conduct.view.view();
    request.timeout = args.timeout.or(request.timeout);
    request.cwd.clone_from(&args.cwd);
    let content = request.content();
    if let Some(id) = &args.request {
        refuse_reuse(id, &content)?;
    }
    request.stream = view == View::Stream;

    let per = args.rolling.per()?;
    let mut client = broker.connect().await?;
    let discover = &args.conduct.discover;
    let domains = domains(&client, per, (discover, &trace)).await?;
    let (targets, missing) = discover.find_targets(&client, &selector, &trace).await?;
    refuse(&targets)?;
    let share = match args.conduct.out {
        Some(_) if matches!(view, View::Groups(_)) => u64::MAX,
        _ => held_bytes_per_stream(view, targets.len()),
    };
    request.max_output = request.max_output.min(share);
    request.timestamp = Some(json!(format!("{:.3}", Timestamp::now())));
    request.origin = Some(origin(&client));
    let mut plan = args.plan(&request, content);
    args.rolling.add_to(&mut plan, targets.len());
    plan.rolling.per_domain = domains;
    trace.say(format_args!("sending request {}", plan.request));
    let mut file = record(
        &plan,
        &targets,
        &missing,
        (args.what(&request), args.keeps()),
    );
    let report = conduct(
        &mut client,
        &plan,
        targets,
        &args.conduct,
        (&trace, file.as_mut()),
    )
    .await?;
    client.close().await;
    Ok(missing.end(Exit::of_run(&report)))
}

/// The failure domain of each node, where they are asked for: all that nodes say of themselves takes a search of its own.
async fn domains(
    client: &Client,
    per: Option<Per>,
    (discover, trace): (&DiscoverArgs, &Trace),
) -> Result<Option<(HashMap<NodeId, String>, usize)>> {
    let Some(per) = per else {
        return Ok(None);
    };
    let search = Search {
        keep_sysinfo: true,
        ..discover.search()
    };
    let found = find_nodes(client, search, trace).await?;
    per.domains(&found.nodes).map(Some)
}

/// Bytes that are kept of each stream of one of so many nodes.
pub(crate) fn held_bytes_per_stream(view: View, nodes: usize) -> u64 {
    match view.is_shown_at_the_end() {
        true => MAX_HELD_OUTPUT / 2 / nodes.max(1) as u64,
        false => u64::MAX,
    }
}

impl SendArgs {
    /// Whether outputs are kept: of this run, or of all.
    fn keeps(&self) -> bool {
        self.keep || std::env::var_os("UR_KEEP").is_some_and(|value| value == "1")
    }

    fn what(&self, request: &Request) -> String {
        let what = self.what.clone();
        let what = what.unwrap_or_else(|| what_of(request));
        what.chars().take(MAX_RECORDED).collect()
    }

    fn plan(&self, request: &Request, content: String) -> Plan {
        let id = self.request.clone().unwrap_or_else(RequestId::random);
        let plan = Plan::new(id, Action::Execute, request.encode());
        let limit = request.timeout;
        let node_js_wait = limit.map(|limit| limit.saturating_add(ROUND_TRIP));
        Plan {
            content: Some(content),
            pickup: Some(self.pickup),
            wait: self.wait,
            node_js_wait: node_js_wait.unwrap_or(plan.node_js_wait),
            stream: request.stream,
            max_output: request.max_output,
            label: request.label.clone(),
            ..plan
        }
    }
}

/// A node runs an id once, and answers a second request with what the first one did: another one under the same id
/// would never run, and look as if it had.
fn refuse_reuse(id: &RequestId, content: &str) -> Result<()> {
    let past = RunFiles::of_this_user().and_then(|runs| runs.find(id));
    let Ok(Some(PastRun { start, .. })) = past else {
        return Ok(());
    };
    if start.content.is_none_or(|past| past == content) {
        return Ok(());
    }
    let at = Clock::of(&io::stderr()).seconds(start.at);
    let what = Plain::name(&start.what);
    Err(Usage(format!(
        "request {id} was sent with another content at {at} ({what}): give another id, or see its answers with ur attach {id}"
    ))
    .into())
}

/// Records the targets before anything is sent to them. A run without a record is a run all the same.
fn record(
    plan: &Plan,
    targets: &[Target],
    missing: &MissingNodes,
    (what, keep): (String, bool),
) -> Option<RunFile> {
    let start = Start {
        request: plan.request.clone(),
        at: Timestamp::now(),
        what,
        wait: plan.wait,
        targets: targets.to_vec(),
        content: plan.content.clone(),
        missing: missing.targets(),
    };
    match RunFiles::of_this_user().and_then(|runs| runs.create(start, keep)) {
        Ok(file) => Some(file),
        Err(error) => {
            tell(&format!(
                "ur: recording the run, for `ur attach`: {error:#}"
            ));
            None
        }
    }
}

/// A task's name, or the first line of a script that is not about its interpreter, or the path of a
/// file.
fn what_of(request: &Request) -> String {
    if let Some(name) = &request.label.name {
        return name.clone();
    }
    let text = match &request.program {
        Program::Script(text) => {
            // Their values may be secret.
            let variables = text.split_once(END_OF_VARIABLES);
            let text = variables.map_or(text.as_str(), |(_, text)| text);
            text.lines().find(|line| !line.starts_with("#!"))
        }
        Program::File(path) => Some(path.as_str()),
    };
    text.unwrap_or_default().to_owned()
}

/// The sender, for the logs of the nodes.
pub(crate) fn origin(client: &Client) -> serde_json::Value {
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
    fn a_run_is_recorded_by_its_first_line() {
        assert_eq!(
            what_of(&Request::script("#!/bin/sh\necho a\necho b")),
            "echo a"
        );
        assert_eq!(what_of(&Request::script("")), "");
        assert_eq!(what_of(&Request::file("/opt/x.sh")), "/opt/x.sh");
        let mut task = Request::script("#!/bin/bash\n");
        task.label.name = Some("disk::erase".to_owned());
        assert_eq!(what_of(&task), "disk::erase");
    }
}
