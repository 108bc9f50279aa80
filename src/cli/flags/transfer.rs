//! A transfer: the steps of a task that moves files, each a run of its own over the nodes that are still on, shown as one
//! run. A node for which a step fails is over.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Error, Result};
use clap::Args;
use futures_util::Stream;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::broker::BrokerArgs;
use super::conduct::ConductArgs;
use super::steering::interrupted;
use super::targets::{MissingNodes, TargetArgs};
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::{Screen, Trace};
use client::{
    Action, Client, NodeResult, Plan, Report, RunEvent, RunFile, RunFiles, Start, Steer, Target,
    run,
};
use protocol::{NodeId, Outcome, Progress, Request, RequestId, State, Text};
use task::{Given, Library, Task, TaskResult};

/// What goes to a node over the broker at most, in bytes.
pub(crate) const LIMIT: u64 = 256_000_000;
/// Bytes of the messages that are on their way at a time: the broker keeps them in memory.
const MAX_ON_THE_WAY: usize = 64 * 1024 * 1024;
/// What a reply without data has at the most, with what its script may have written besides.
pub(crate) const SHORT_REPLY: usize = 1024 * 1024;
/// How long a node may take to accept a step.
const PICKUP: Duration = Duration::from_secs(60);
/// How long a step may take on a Node.js agent: it reads or flushes all that is transferred.
pub(crate) const STEP: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Nodes at work at a time [default: by size]
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroUsize>,
    #[command(flatten)]
    conduct: ConductArgs,
}

/// What a step means for a node.
pub(crate) enum Done {
    /// It goes on, so many percent done.
    Far(f64),
    /// It is over: with the result of the step, or with this text in its place.
    Over(Option<String>),
}

pub(crate) struct Transfer<'a> {
    client: Client,
    task: Task,
    bundle: String,
    concurrency: Option<usize>,
    /// The nodes that are not over.
    pub(crate) nodes: Vec<Target>,
    screen: Screen<'a>,
    record: Option<RunFile>,
    /// The id of the transfer, from which those of its steps are made.
    request: &'a RequestId,
    steps: usize,
    report: Report,
    stop: Pin<Box<dyn Stream<Item = Steer>>>,
}

/// A step: its parameters, how many bytes a reply has, how long an agent may take that does not say that it runs, and
/// whether it is the transfer's last.
pub(crate) struct Step {
    pub(crate) parameters: Map<String, Value>,
    pub(crate) reply: usize,
    pub(crate) node_js_wait: Duration,
    pub(crate) is_last: bool,
}

type Take<'a> = &'a mut dyn FnMut(&Target, Map<String, Value>) -> Result<Done>;

/// Finds the nodes and lets `steps` take the steps of `task` with them. Shows how it ended.
pub(crate) async fn transfer(
    broker: &BrokerArgs,
    args: &TransferArgs,
    task: &str,
    steps: impl AsyncFnOnce(&mut Transfer<'_>) -> Result<()>,
) -> Result<Exit> {
    let library = Library::of(Vec::new());
    let task = library.find(&task.parse()?)?;
    let bundle = task.bundle(&library)?;
    let trace = Trace::new(args.conduct.verbose);
    let selector = args.targets.selector()?;
    let client = broker.connect().await?;
    let discover = &args.conduct.discover;
    let (nodes, missing) = discover.find_targets(&client, &selector, &trace).await?;
    let request = RequestId::random();
    let mut transfer = Transfer {
        screen: args.conduct.screen(nodes.len(), &request, &trace)?,
        record: record(&request, &task, &nodes, &missing),
        concurrency: args.concurrency.map(usize::from),
        stop: Box::pin(interrupted()?),
        request: &request,
        steps: 0,
        report: Report::default(),
        client,
        task,
        bundle,
        nodes,
    };
    steps(&mut transfer).await?;
    transfer.finish(&missing).await
}

/// As `ur run` would record it, with the id of the last step: those before are told of in its results.
fn record(
    request: &RequestId,
    task: &Task,
    nodes: &[Target],
    missing: &MissingNodes,
) -> Option<RunFile> {
    let start = Start {
        request: request.clone(),
        at: Timestamp::now(),
        what: task.name.to_string(),
        wait: None,
        targets: nodes.to_vec(),
        missing: missing.targets(),
        content: None,
    };
    RunFiles::of_this_user()
        .and_then(|runs| runs.create(start, false))
        .ok()
}

impl Transfer<'_> {
    pub(crate) fn is_interrupted(&self) -> bool {
        self.report.interrupted
    }

    /// Our address on the network of the broker.
    pub(crate) fn own_address(&self) -> IpAddr {
        self.client.address()
    }

    /// Takes a step with some of the nodes; `take` gets the result of each for which it succeeds.
    pub(crate) async fn step(
        &mut self,
        step: Step,
        nodes: Vec<Target>,
        take: Take<'_>,
    ) -> Result<()> {
        if nodes.is_empty() || self.report.interrupted {
            return Ok(());
        }
        let plan = self.plan(&step)?;
        let is_first = self.steps == 1;
        let mut shown = Shown {
            screen: &mut self.screen,
            record: &mut self.record,
            over: Vec::new(),
        };
        let mut on_event = |mut event: RunEvent<'_>| match event {
            RunEvent::Ended(result) => shown.ended(result, take),
            RunEvent::Publishing(_) => {
                if !is_first {
                    return Ok(());
                }
                shown.note(&mut event);
                shown.screen.show(event)
            }
            RunEvent::Progress(..) if !step.is_last => Ok(()),
            event => shown.screen.show(event),
        };
        let stop = self.stop.as_mut();
        let ended = run(&mut self.client, &plan, nodes, stop, &mut on_event).await?;
        let over = std::mem::take(&mut shown.over);
        self.report.interrupted = ended.interrupted;
        self.nodes
            .retain(|node| !over.iter().any(|result| result.target.id == node.id));
        self.report.results.extend(over);
        Ok(())
    }

    fn plan(&mut self, step: &Step) -> Result<Plan> {
        let input = self.task.prepare(&Given {
            json: step.parameters.clone(),
            ..Given::default()
        })?;
        let mut request = Request::script(self.bundle.as_str());
        request.label = self.task.label(&self.bundle);
        request.env = Some(input.env);
        request.stdin = input.stdin;
        let content = Some(request.content());
        request.timestamp = Some(json!(format!("{:.3}", Timestamp::now())));
        request.origin = Some(super::send::origin(&self.client));
        let body = request.encode();
        self.steps += 1;
        let id = match step.is_last {
            true => self.request.clone(),
            false => RequestId::parse(&format!("{}-{}", self.request, self.steps))
                .map_err(|refusal| Error::msg(refusal.message))?,
        };
        let bearable = MAX_ON_THE_WAY / body.len().max(step.reply);
        Ok(Plan {
            content,
            pickup: Some(PICKUP),
            node_js_wait: step.node_js_wait,
            concurrency: Some(self.concurrency.unwrap_or(bearable.max(1))),
            max_output: request.max_output,
            label: request.label.clone(),
            ..Plan::new(id, Action::Execute, body)
        })
    }

    /// Shows the end, and closes the connection.
    async fn finish(mut self, missing: &MissingNodes) -> Result<Exit> {
        self.report
            .not_sent
            .extend(self.nodes.into_iter().map(Into::into));
        self.screen.conclude(&self.report)?;
        let exit = Exit::of_run(&self.report);
        if exit >= Exit::NoAnswer {
            tell("ur: the same command goes on where this one stopped");
        }
        self.client.close().await;
        Ok(missing.end(exit))
    }
}

/// Where the events of a step go.
struct Shown<'a, 'b> {
    screen: &'a mut Screen<'b>,
    record: &'a mut Option<RunFile>,
    /// Nodes that are over.
    over: Vec<NodeResult>,
}

impl Shown<'_, '_> {
    /// A transfer without a record is a transfer all the same.
    fn note(&mut self, event: &mut RunEvent<'_>) {
        if let Some(record) = self.record
            && record.note(event).is_err()
        {
            *self.record = None;
        }
    }

    fn ended(&mut self, result: &mut NodeResult, take: Take<'_>) -> Result<()> {
        if result.outcome.is_success() {
            let value = result.reply.as_deref().and_then(TaskResult::of);
            let value = match value.map(TaskResult::into_json) {
                Some(Value::Object(value)) => value,
                _ => Map::new(),
            };
            match take(&result.target, value) {
                Ok(Done::Far(percent)) => {
                    let progress = Progress {
                        percent: Some(percent),
                        ..Progress::now(State::Running)
                    };
                    return self
                        .screen
                        .show(RunEvent::Progress(&result.target, &progress));
                }
                Ok(Done::Over(None)) => {}
                Ok(Done::Over(Some(text))) => say(result, text + "\n"),
                Err(error) => {
                    result.outcome = Outcome::Exited { status: 1 };
                    let error = json!({"msg": format!("{error:#}"), "kind": "file/refused-here"});
                    say(result, json!({"_error": error}).to_string());
                }
            }
        }
        let mut event = RunEvent::Ended(result);
        self.note(&mut event);
        self.screen.show(event)?;
        self.over.push(result.clone());
        Ok(())
    }
}

/// What a node is shown with, in the place of the result of a step.
fn say(result: &mut NodeResult, text: String) {
    if let Some(reply) = &mut result.reply {
        let bytes = text.len() as u64;
        reply.set_stdout(Text::of(text.into_bytes()), bytes);
    }
}

/// The state of the nodes by their ids, of those that are still on.
pub(crate) fn those<'a, T>(
    nodes: &'a [Target],
    states: &'a HashMap<NodeId, T>,
) -> impl Iterator<Item = (&'a Target, &'a T)> {
    nodes
        .iter()
        .filter_map(|node| Some((node, states.get(&node.id)?)))
}
