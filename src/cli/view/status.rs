//! The status of a request on a node, line by line with its times, and what of it is not known.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{ending, progress};
use client::{Clock, JobStatus, Plain, Target};
use protocol::{Outcome, Progress, State};

/// As a page has them, by `clock`.
pub(crate) fn lines(
    status: &JobStatus,
    target: &Target,
    waited: Duration,
    clock: &Clock,
) -> Vec<String> {
    if !status.connected {
        let line = "the node is not connected: no agent listens for its requests";
        return vec![line.to_owned()];
    }
    let how = |outcome: &Outcome| ending::words(outcome, status.reply.as_ref());
    match (&status.progress, status.outcome()) {
        (None, None) if target.agent.is_none() => vec![
            "the node is connected".to_owned(),
            "its agent is Node.js Ur, which keeps no record of requests: no more can be known"
                .to_owned(),
        ],
        (None, None) => vec![format!(
            "the node is connected, and has not answered within {} s",
            waited.as_secs()
        )],
        (None, Some(outcome)) => without_record(&outcome, &how(&outcome)),
        (Some(progress), outcome) => {
            let mut lines = before_the_end(progress, clock);
            if matches!(progress.state, State::Ended | State::Replied) {
                let took = status.reply.as_ref().and_then(|reply| reply.duration_ms);
                lines.extend(the_end(progress, (outcome.as_ref().map(how), took), clock));
            }
            lines
        }
    }
}

fn without_record(outcome: &Outcome, how: &str) -> Vec<String> {
    match outcome {
        outcome if outcome.is_unknown_request() => {
            vec![
                "the node is connected, and has no record of this request:".to_owned(),
                "it never arrived there, or the node has forgotten it since (a reboot forgets all)"
                    .to_owned(),
            ]
        }
        _ => vec![format!("ended: {how}"), "time not known".to_owned()],
    }
}

/// The times of a request that the node remembers.
fn before_the_end(progress: &Progress, clock: &Clock) -> Vec<String> {
    let line = |at, what: &str| line(clock, at, what);
    let sent = progress.timestamp.as_ref().and_then(Value::as_str);
    let sent = sent.and_then(|text| text.parse().ok());
    let sender = sender(progress.origin.as_ref())
        .unwrap_or_else(|| "an unknown sender (the request has no origin)".to_owned());
    let mut lines = vec![
        line(sent, &format!("published by {sender}")),
        line(progress.accepted_at, "accepted by the node"),
        match (progress.started_at, progress.state) {
            (Some(at), _) => line(Some(at), "started"),
            (None, State::Running) => line(None, "started"),
            (None, State::Ended | State::Replied) => line(None, "no start is recorded"),
            // It is started at once; when, the node does not say yet.
            (None, State::Accepted) => line(None, "started"),
            (None, _) => line(
                None,
                &format!("{}; not started yet", progress::state(progress)),
            ),
        },
    ];
    if progress.state == State::Running {
        lines.push(line(Some(progress.at), &progress::state(progress)));
    }
    lines
}

fn the_end(
    progress: &Progress,
    (how, took): (Option<String>, Option<u64>),
    clock: &Clock,
) -> [String; 2] {
    let line = |at, what: &str| line(clock, at, what);
    let how = how.unwrap_or_else(|| "the node has not sent how".to_owned());
    let took = took.map_or(String::new(), |ms| {
        format!(", after {:.3} s", Duration::from_millis(ms).as_secs_f64())
    });
    [
        line(progress.ended_at, &format!("ended: {how}{took}")),
        match progress.replied_at {
            Some(at) => line(Some(at), "replied: the broker has confirmed it"),
            None => line(None, "the broker has not confirmed the reply yet"),
        },
    ]
}

fn line(clock: &Clock, at: Option<Timestamp>, what: &str) -> String {
    let at = at.map_or("?".to_owned(), |at| clock.milliseconds(at));
    format!("{at:24}  {what}")
}

/// `root@head`; `None` where the request does not say.
pub(super) fn sender(origin: Option<&Value>) -> Option<String> {
    let field = |name| origin.and_then(|o| o.get(name)).and_then(Value::as_str);
    let field = |name| field(name).map(Plain::name);
    match (field("user"), field("hostname")) {
        (Some(user), Some(hostname)) => Some(format!("{user}@{hostname}")),
        (Some(name), None) | (None, Some(name)) => Some(name.into()),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::result;
    use super::*;
    use protocol::{ErrorCode, Refusal, Reply, RequestId};
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
        lines(&status, &target, Duration::from_secs(5), &Clock::utc()).join("\n")
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
    fn what_is_not_known_is_said() {
        assert!(told(None, None).contains("keeps no record"));
        let unknown = Refusal::new(ErrorCode::UnknownRequest, RequestId::random().to_string());
        assert!(
            told(None, Some(Outcome::Refused(unknown))).contains("has no record of this request")
        );
        let waiting = told(Some(Progress::now(State::Queued)), None);
        assert!(waiting.contains("queued; not started yet"), "{waiting}");
        assert!(waiting.contains("an unknown sender (the request has no origin)"));
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
        assert_eq!(
            lines(&status, &target, Duration::ZERO, &Clock::utc())[0],
            "ended: no disk, exit 1"
        );
    }
}
