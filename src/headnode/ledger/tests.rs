//! Every turn that a run can take, without a broker and without waiting.

use super::*;
use crate::headnode::Verb;
use crate::protocol::{Refusal, RequestId, State};

/// Nodes n0, n1…: with ur-agent, but for the last, whose agent is Node.js Ur.
fn ledger(nodes: usize, concurrency: Option<usize>, max_fail: Option<usize>) -> Ledger {
    let plan = Plan {
        request: RequestId::parse("r").unwrap(),
        verb: Verb::Execute,
        body: Vec::new(),
        wait: Duration::from_secs(60),
        concurrency,
        max_fail,
        stream: false,
        label: Label::default(),
    };
    let target = |i: usize| Target {
        id: NodeId::parse(&format!("n{i}")).unwrap(),
        mac: None,
        hostname: format!("host{i}"),
        word: format!("n{i}"),
        agent: (i + 1 < nodes).then(|| "0.1.0".to_owned()),
    };
    Ledger::new((0..nodes).map(target).collect(), &plan)
}

fn send_all(ledger: &mut Ledger, now: Instant) {
    while let Some(i) = ledger.next_to_send(now) {
        ledger.sent(i, Routing::Taken, now);
    }
}

fn reply(ledger: &mut Ledger, node: usize, outcome: &Outcome, now: Instant) -> Option<Outcome> {
    let letter = Letter {
        key: format!("ur.execute-reply.n{node}.r"),
        body: Reply::of(outcome).encode(),
    };
    match ledger.received(&letter, now) {
        Some(Event::Ended(result)) => Some(result.outcome.clone()),
        _ => None,
    }
}

fn progress(ledger: &mut Ledger, node: usize, state: State, now: Instant) {
    let letter = Letter {
        key: format!("ur.execute-progress.n{node}.r"),
        body: serde_json::to_vec(&Progress::now(state)).unwrap(),
    };
    assert!(ledger.received(&letter, now).is_some());
}

fn outcomes(ledger: Ledger, now: Instant) -> Vec<&'static str> {
    let report = ledger.into_report(now);
    report.results.iter().map(|r| r.outcome.state()).collect()
}

const OK: Outcome = Outcome::Exited { status: 0 };
const FAILED: Outcome = Outcome::Exited { status: 7 };

#[test]
fn a_node_ends_once_whatever_comes_after() {
    let (mut ledger, now) = (ledger(2, None, None), Instant::now());
    assert_eq!(reply(&mut ledger, 0, &OK, now), None, "not sent yet");
    send_all(&mut ledger, now);
    assert_eq!(reply(&mut ledger, 0, &FAILED, now), Some(FAILED));
    assert_eq!(reply(&mut ledger, 0, &OK, now), None);
    assert_eq!(reply(&mut ledger, 7, &OK, now), None, "never asked");
    assert!(!ledger.is_over());
    assert_eq!(reply(&mut ledger, 1, &OK, now), Some(OK));
    assert!(ledger.is_over());
}

#[test]
fn a_request_that_no_queue_took_ends_at_once() {
    let (mut ledger, now) = (ledger(1, None, None), Instant::now());
    let i = ledger.next_to_send(now).unwrap();
    ledger.sent(i, Routing::Unroutable, now);
    assert!(ledger.is_over());
    assert_eq!(outcomes(ledger, now), ["not_connected"]);
}

#[test]
fn no_more_are_at_work_than_may_be() {
    let (mut ledger, now) = (ledger(3, Some(2), None), Instant::now());
    send_all(&mut ledger, now);
    assert_eq!((ledger.in_flight, ledger.next_to_send(now)), (2, None));
    reply(&mut ledger, 1, &OK, now);
    assert_eq!(ledger.next_to_send(now), Some(2));
}

#[test]
fn after_so_many_failures_nothing_more_is_sent() {
    let (mut ledger, now) = (ledger(4, Some(2), Some(1)), Instant::now());
    send_all(&mut ledger, now);
    reply(&mut ledger, 0, &FAILED, now);
    assert_eq!(ledger.next_to_send(now), None);
    assert!(!ledger.is_over(), "one is still at work");
    reply(&mut ledger, 1, &OK, now);
    assert!(ledger.is_over());
    let report = ledger.into_report(now);
    assert_eq!((report.results.len(), report.not_sent.len()), (2, 2));
}

#[test]
fn silence_is_no_answer_and_is_told_with_what_was_heard() {
    let (mut ledger, now) = (ledger(2, None, None), Instant::now());
    send_all(&mut ledger, now);
    progress(&mut ledger, 0, State::Running, now);
    let later = now + Duration::from_secs(59);
    assert_eq!(ledger.overdue(later), [0; 0]);
    let later = now + Duration::from_secs(60);
    for i in ledger.overdue(later) {
        ledger.give_up(i, later);
    }
    assert!(ledger.is_over());
    let report = ledger.into_report(later);
    assert_eq!(report.results[0].outcome, Outcome::NoAnswer);
    let heard = report.results[0].heard.as_ref();
    assert_eq!(heard.map(|heard| heard.state), Some(State::Running));
    assert_eq!(report.results[1].heard, None);
}

#[test]
fn what_may_not_have_left_is_sent_again_only_where_that_is_harmless() {
    let (mut ledger, now) = (ledger(2, None, None), Instant::now());
    assert!(ledger.next_to_send(now).is_some() && ledger.next_to_send(now).is_some());
    ledger.connection_lost(now);
    assert_eq!(ledger.next_to_send(now), Some(0));
    assert_eq!(
        ledger.next_to_send(now),
        None,
        "a Node.js agent would run it twice"
    );
    assert_eq!(outcomes(ledger, now), ["no_answer", "no_answer"]);
}

#[test]
fn after_a_lost_connection_nodes_are_asked_until_they_are_there() {
    let (mut ledger, now) = (ledger(3, None, None), Instant::now());
    send_all(&mut ledger, now);
    reply(&mut ledger, 0, &OK, now);
    ledger.connection_lost(now);
    assert_eq!(ledger.next_to_ask(now), [1]);
    ledger.asked(1, Routing::Unroutable, now);
    assert_eq!(ledger.next_to_ask(now), [0; 0]);
    assert_eq!(ledger.next_to_ask(now + ASK_AGAIN), [1]);
    ledger.asked(1, Routing::Taken, now);
    progress(&mut ledger, 1, State::Ended, now);
    assert_eq!(ledger.next_to_ask(now + ASK_AGAIN * 2), [0; 0]);
    assert_eq!(reply(&mut ledger, 1, &FAILED, now), Some(FAILED));
}

#[test]
fn a_node_that_has_forgotten_its_request_makes_it_undetermined() {
    let (mut ledger, now) = (ledger(3, None, None), Instant::now());
    let unknown = Outcome::Refused(Refusal::new(ErrorCode::NotFound, "no such request"));
    send_all(&mut ledger, now);
    ledger.connection_lost(now);
    for i in ledger.next_to_ask(now) {
        ledger.asked(i, Routing::Taken, now);
    }
    let outcome = reply(&mut ledger, 0, &unknown, now).unwrap();
    assert_eq!(outcome.state(), "undetermined");
    // This one knows its request: it is the script that was not found.
    progress(&mut ledger, 1, State::Ended, now);
    let outcome = reply(&mut ledger, 1, &unknown, now).unwrap();
    assert_eq!(outcome.state(), "refused");
}

#[test]
fn a_reply_that_cannot_be_read_is_an_ending_nobody_knows() {
    let (mut ledger, now) = (ledger(1, None, None), Instant::now());
    send_all(&mut ledger, now);
    let letter = Letter {
        key: "ur.execute-reply.n0.r".to_owned(),
        body: b"{".to_vec(),
    };
    ledger.received(&letter, now);
    assert_eq!(outcomes(ledger, now), ["undetermined"]);
}

#[test]
fn an_interrupted_run_tells_what_was_sent_and_what_was_not() {
    let (mut ledger, now) = (ledger(3, Some(2), None), Instant::now());
    send_all(&mut ledger, now);
    reply(&mut ledger, 0, &OK, now);
    ledger.interrupt();
    assert!(ledger.is_over());
    let report = ledger.into_report(now);
    assert!(report.interrupted);
    assert_eq!((report.results.len(), report.not_sent.len()), (2, 1));
}

#[test]
fn an_error_in_the_result_of_a_task_is_a_failure_also_where_the_agent_does_not_say_what_it_ran() {
    let now = Instant::now();
    let mut ledger = ledger(2, None, Some(1));
    ledger.label.name = Some("disk::erase".to_owned());
    send_all(&mut ledger, now);
    let letter = Letter {
        key: "ur.execute-reply.n1.r".to_owned(),
        body: br#"{"exit_status":0,"stdout":"{\"_error\":{\"msg\":\"no disk\"}}"}"#.to_vec(),
    };
    assert!(matches!(
        ledger.received(&letter, now),
        Some(Event::Ended(result)) if !result.outcome.is_success()
    ));
    assert!(ledger.is_stopped());
}
