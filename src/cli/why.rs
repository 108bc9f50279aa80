//! `ur why`: the story of a request on a node, line by line, and what of it nobody knows.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use super::args::{BrokerArgs, WhyArgs};
use super::trace::Trace;
use super::{Exit, find_nodes};
use client::{Client, JobStatus, NodeName, Selector, Target, Unselectable, job_status};
use protocol::{ErrorCode, NodeId, Outcome, Progress, State};

/// How long a node may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn why(broker: &BrokerArgs, args: WhyArgs) -> Result<Exit> {
    let client = broker.connect().await?;
    let target = find(&client, &args).await?;
    let address = (&target.id, target.routing_word.as_str());
    let status = job_status(&client, address, &args.request, PATIENCE).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} on {} ({})",
        args.request, target.hostname, target.id
    )?;
    for line in tell(&status, &target) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(if status.connected {
        Exit::Ok
    } else {
        Exit::NoAnswer
    })
}

/// A node that does not answer can be asked about all the same if its UUID is known.
async fn find(client: &Client, args: &WhyArgs) -> Result<Target> {
    let selector = Selector::Named(vec![NodeName(args.node.clone())]);
    let trace = Trace::new(false);
    let nodes = find_nodes(client, args.discover.discover, &trace, selector.wanted()).await?;
    match (selector.select(&nodes), uuid::Uuid::parse_str(&args.node)) {
        (Err(Unselectable::Missing(_)), Ok(_)) => {
            let id = NodeId::parse(&args.node).map_err(anyhow::Error::msg)?;
            Ok(Target {
                routing_word: id.to_string(),
                hostname: id.to_string(),
                id,
                mac: None,
                agent: None,
            })
        }
        (selected, _) => Ok(selected?.remove(0)),
    }
}

fn tell(status: &JobStatus, target: &Target) -> Vec<String> {
    if !status.connected {
        let line = "the node is not connected: no agent listens for its requests";
        return vec![line.to_owned()];
    }
    match (&status.progress, status.outcome()) {
        (None, None) if target.agent.is_none() => vec![
            "the node is connected".to_owned(),
            "its agent is Node.js Ur, which keeps no record of requests: no more can be known"
                .to_owned(),
        ],
        (None, None) => vec![format!(
            "the node is connected, and has not answered within {} s",
            PATIENCE.as_secs()
        )],
        (None, Some(outcome)) => without_record(&outcome),
        (Some(progress), outcome) => {
            let took = status.reply.as_ref().and_then(|reply| reply.duration_ms);
            life(progress, outcome.as_ref(), took)
        }
    }
}

fn without_record(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Refused(refusal) if refusal.code == ErrorCode::NotFound => vec![
            "the node is connected, and knows no such request:".to_owned(),
            "it never arrived there, or the node has forgotten it since (a reboot forgets all)"
                .to_owned(),
        ],
        outcome => vec![format!("ended: {outcome}"), "when is not known".to_owned()],
    }
}

/// The times of a request that the node remembers.
fn life(progress: &Progress, outcome: Option<&Outcome>, took: Option<u64>) -> Vec<String> {
    let sent = progress.timestamp.as_ref().and_then(Value::as_str);
    let sent = sent.and_then(|text| text.parse().ok());
    let ended = matches!(progress.state, State::Ended | State::Replied);
    let mut lines = vec![
        line(
            sent,
            &format!("published by {}", sender(progress.origin.as_ref())),
        ),
        line(progress.accepted_at, "accepted by the node"),
    ];
    match (progress.started_at, progress.state) {
        (Some(at), _) => lines.push(line(Some(at), "started")),
        (None, State::Running) => lines.push(line(None, "started")),
        (None, _) if ended => lines.push(line(None, "never started, or nobody saw it")),
        (None, _) => lines.push(line(None, "not started yet: it waits for its turn")),
    }
    if progress.state == State::Running {
        lines.push(line(
            Some(progress.at),
            &format!("running{}", so_far(progress)),
        ));
    }
    if ended {
        let how = outcome.map_or("how it ended did not come".to_owned(), Outcome::to_string);
        let took = took.map_or(String::new(), |ms| {
            format!(", after {:.3} s", Duration::from_millis(ms).as_secs_f64())
        });
        lines.push(line(progress.ended_at, &format!("ended: {how}{took}")));
        lines.push(match progress.replied_at {
            Some(at) => line(Some(at), "replied: the broker has confirmed it"),
            None => line(None, "the broker has not confirmed the reply yet"),
        });
    }
    lines
}

fn so_far(progress: &Progress) -> String {
    let percent = progress.percent.map(|percent| format!(" {percent:.0} %"));
    let eta = progress.eta.map(|eta| format!(", {eta:.0} s left"));
    let msg = progress.msg.as_ref().map(|msg| format!(": {msg}"));
    [percent, eta, msg].into_iter().flatten().collect()
}

fn line(at: Option<Timestamp>, what: &str) -> String {
    let at = at.map_or("?".to_owned(), |at| format!("{at:.3}"));
    format!("{at:24}  {what}")
}

fn sender(origin: Option<&Value>) -> String {
    let field = |name| origin.and_then(|o| o.get(name)).and_then(Value::as_str);
    match (field("user"), field("hostname")) {
        (Some(user), Some(hostname)) => format!("{user}@{hostname}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "somebody who did not say who".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::result;
    use super::*;
    use protocol::{Refusal, Reply, RequestId};
    use serde_json::json;

    fn told(progress: Option<Progress>, outcome: Option<Outcome>) -> String {
        let status = JobStatus {
            connected: true,
            progress,
            reply: outcome.map(|outcome| Reply {
                duration_ms: Some(1500),
                ..Reply::of(&outcome)
            }),
        };
        let target = result("n1", Outcome::NoAnswer, "", "").target;
        tell(&status, &target).join("\n")
    }

    #[test]
    fn a_life_is_told_with_its_times() {
        let at = |second: &str| format!("2026-01-01T00:00:{second}Z").parse().unwrap();
        let progress = Progress {
            accepted_at: Some(at("01.5")),
            started_at: Some(at("02")),
            ended_at: Some(at("03.5")),
            replied_at: None,
            timestamp: Some(json!("2026-01-01T00:00:01.000Z")),
            origin: Some(json!({"user": "root", "hostname": "head"})),
            ..Progress::now(State::Ended)
        };
        let expected = "\
2026-01-01T00:00:01.000Z  published by root@head
2026-01-01T00:00:01.500Z  accepted by the node
2026-01-01T00:00:02.000Z  started
2026-01-01T00:00:03.500Z  ended: exit 7, after 1.500 s
?                         the broker has not confirmed the reply yet";
        assert_eq!(
            told(Some(progress), Some(Outcome::Exited { status: 7 })),
            expected
        );
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        assert!(told(None, None).contains("keeps no record"));
        let unknown = Refusal::new(ErrorCode::NotFound, RequestId::random().to_string());
        assert!(told(None, Some(Outcome::Refused(unknown))).contains("knows no such request"));
        let waiting = told(Some(Progress::now(State::Queued)), None);
        assert!(waiting.contains("waits for its turn"), "{waiting}");
        assert!(waiting.contains("somebody who did not say who"));
    }

    #[test]
    fn an_error_in_the_result_of_a_task_ends_it_as_in_the_run() {
        let reply = Reply {
            name: Some("disk::erase".to_owned()),
            stdout: r#"{"_error":{"msg":"no disk"}}"#.to_owned(),
            ..Reply::of(&Outcome::Exited { status: 0 })
        };
        let status = JobStatus {
            connected: true,
            progress: None,
            reply: Some(reply),
        };
        let target = result("n1", Outcome::NoAnswer, "", "").target;
        assert_eq!(tell(&status, &target)[0], "ended: exit 1");
    }
}
