//! Tests of a run's state: every turn that a run can take, without a broker and without waiting.

use std::time::Duration;

use tokio::time::Instant;

use super::run_state::{Payload, RETRY_AFTER, RunState};
use super::{Action, JobStatus, NodeResult, Plain, Plan, RunEvent, Target};
use broker::{Delivery, Routing};
use protocol::{ErrorCode, NodeId, Outcome, Progress, Reply};
use protocol::{Refusal, RequestId, State};

pub(super) fn plan(action: Action) -> Plan {
    Plan {
        pickup: (action == Action::Execute).then_some(Duration::from_secs(20)),
        wait: Some(Duration::from_secs(60)),
        ..Plan::new(RequestId::parse("r").unwrap(), action, Vec::new())
    }
}

/// Nodes n0, n1…: with ur-agent, but for the last, whose agent is Node.js Ur.
pub(super) fn state(nodes: usize, plan: &Plan) -> RunState<'_> {
    let target = |i: usize| Target {
        id: NodeId::parse(&format!("n{i}")).unwrap(),
        mac: None,
        hostname: Plain::name(&format!("host{i}")),
        has_namesake: false,
        routing_word: format!("n{i}"),
        agent: (i + 1 < nodes).then(|| Plain::name("0.1.0")),
    };
    RunState::new((0..nodes).map(target).collect(), plan)
}

pub(super) fn send_all(state: &mut RunState<'_>, now: Instant) {
    while let Some(i) = state.next_to_send(now) {
        state.sent(i, Routing::Taken, now);
    }
}

pub(super) fn reply(
    state: &mut RunState<'_>,
    node: usize,
    outcome: &Outcome,
    now: Instant,
) -> Option<Outcome> {
    let delivery = Delivery::unacked(
        &format!("ur.execute-reply.n{node}.r"),
        &Reply::of(outcome).encode(),
    );
    match state.received(&delivery, now) {
        Some(RunEvent::Ended(result)) => Some(result.outcome.clone()),
        _ => None,
    }
}

pub(super) fn progress(state: &mut RunState<'_>, node: usize, job_state: State, now: Instant) {
    let delivery = Delivery::unacked(
        &format!("ur.execute-progress.n{node}.r"),
        &serde_json::to_vec(&Progress::now(job_state)).unwrap(),
    );
    assert!(state.received(&delivery, now).is_some());
}

fn outcomes(mut state: RunState<'_>, now: Instant) -> Vec<&'static str> {
    for i in state.unanswered() {
        state.give_up(i, now);
    }
    let report = state.into_report();
    report.results.iter().map(|r| r.outcome.state()).collect()
}

pub(super) const OK: Outcome = Outcome::Exited { status: 0 };
pub(super) const FAILED: Outcome = Outcome::Exited { status: 7 };

#[test]
fn a_node_ends_once_whatever_comes_after() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    assert_eq!(reply(&mut state, 0, &OK, now), None, "not sent yet");
    send_all(&mut state, now);
    assert_eq!(reply(&mut state, 0, &FAILED, now), Some(FAILED));
    assert_eq!(reply(&mut state, 0, &OK, now), None);
    assert_eq!(reply(&mut state, 7, &OK, now), None, "never asked");
    assert!(!state.is_over());
    assert_eq!(reply(&mut state, 1, &OK, now), Some(OK));
    assert!(state.is_over());
}

#[test]
fn the_reply_to_another_request_of_the_same_id_is_not_taken_for_this_ones() {
    let mut plan = plan(Action::Execute);
    plan.content = Some("b".to_owned());
    let (mut state, now) = (state(2, &plan), Instant::now());
    send_all(&mut state, now);
    let mut of_another = Reply::of(&OK);
    of_another.content = Some("a".to_owned());
    let delivery = Delivery::unacked("ur.execute-reply.n0.r", &of_another.encode());
    assert!(state.received(&delivery, now).is_none());
    assert_eq!(reply(&mut state, 0, &FAILED, now), Some(FAILED));
}

#[test]
fn a_request_that_no_queue_took_ends_at_once() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(1, &plan), Instant::now());
    let i = state.next_to_send(now).unwrap();
    state.sent(i, Routing::Unroutable, now);
    assert!(state.is_over());
    assert_eq!(outcomes(state, now), ["not_connected"]);
}

#[test]
fn no_more_are_at_work_than_may_be() {
    let mut plan = plan(Action::Execute);
    plan.concurrency = Some(2);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    assert_eq!((state.in_flight, state.next_to_send(now)), (2, None));
    reply(&mut state, 1, &OK, now);
    assert_eq!(state.next_to_send(now), Some(2));
}

#[test]
fn after_so_many_failures_nothing_more_is_sent() {
    let mut plan = plan(Action::Execute);
    (plan.concurrency, plan.max_fail) = (Some(2), Some(1));
    let (mut state, now) = (state(4, &plan), Instant::now());
    send_all(&mut state, now);
    reply(&mut state, 0, &FAILED, now);
    assert_eq!(state.next_to_send(now), None);
    assert!(!state.is_over(), "one is still at work");
    reply(&mut state, 1, &OK, now);
    assert!(state.is_over());
    let report = state.into_report();
    assert_eq!((report.results.len(), report.not_sent.len()), (2, 2));
}

/// Everything that is to be sent by then, as `n1 Request`.
pub(super) fn due(state: &mut RunState<'_>, now: Instant) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((i, what)) = state.next_retry(now) {
        words.push(format!("{} {what:?}", state.target(i).id));
    }
    words
}

pub(super) fn give_up(state: &mut RunState<'_>, now: Instant) -> Vec<usize> {
    let overdue = state.overdue(now);
    for &i in &overdue {
        state.give_up(i, now);
    }
    overdue
}

pub(super) fn after(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}

#[test]
fn silence_is_no_answer_and_is_told_with_what_was_heard() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Running, after(now, 10));
    assert_eq!(give_up(&mut state, after(now, 19)), [0; 0]);
    assert_eq!(give_up(&mut state, after(now, 20)), [1], "never picked up");
    assert_eq!(
        give_up(&mut state, after(now, 60)),
        [2],
        "Node.js does not say"
    );
    assert_eq!(give_up(&mut state, after(now, 69)), [0; 0]);
    assert_eq!(give_up(&mut state, after(now, 70)), [0]);
    assert!(state.is_over());
    let report = state.into_report();
    let heard = |i: usize| {
        report.results[i]
            .last_progress
            .as_ref()
            .map(|heard| heard.state)
    };
    assert_eq!((heard(0), heard(1)), (Some(State::Running), None));
    let no_answer = |result: &NodeResult| result.outcome == Outcome::NoAnswer;
    assert!(report.results.iter().all(no_answer));
}

#[test]
fn a_request_is_sent_again_until_it_is_picked_up_but_never_to_a_node_js_agent() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Accepted, now);
    assert_eq!(due(&mut state, after(now, 4)), [""; 0]);
    assert_eq!(due(&mut state, after(now, 5)), ["n1 Request"]);
    assert_eq!(due(&mut state, after(now, 9)), [""; 0], "it is on its way");
    assert_eq!(
        state.left_to_pick_up(1, after(now, 5)),
        Some(Duration::from_secs(15))
    );
    state.sent(1, Routing::Unroutable, after(now, 6));
    assert_eq!(
        due(&mut state, after(now, 11)),
        ["n1 Request"],
        "it may come back"
    );
    state.sent(1, Routing::Taken, after(now, 11));
    progress(&mut state, 1, State::Queued, after(now, 12));
    assert_eq!(due(&mut state, after(now, 29)), [""; 0]);
}

#[test]
fn a_node_that_has_the_request_and_is_silent_is_asked_whether_it_still_has_it() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Running, now);
    assert_eq!(due(&mut state, after(now, 30)), ["n0 StatusRequest"]);
    state.question_sent(0, Routing::Unroutable, after(now, 30));
    assert_eq!(due(&mut state, after(now, 35)), ["n0 StatusRequest"]);
    state.question_sent(0, Routing::Taken, after(now, 35));
    let unknown = Outcome::Refused(Refusal::new(ErrorCode::UnknownRequest, "no such request"));
    let outcome = reply(&mut state, 0, &unknown, after(now, 36)).unwrap();
    assert_eq!(outcome.state(), "undetermined");
}

#[test]
fn what_may_have_left_is_sent_again_only_where_that_is_harmless() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    assert!(state.next_to_send(now).is_some() && state.next_to_send(now).is_some());
    state.connection_lost(now);
    assert_eq!(due(&mut state, now), ["n0 Request"]);
    assert_eq!(state.next_to_send(now), None);
    assert_eq!(outcomes(state, now), ["no_answer", "no_answer"]);
}

#[test]
fn after_a_lost_connection_a_node_that_is_not_there_yet_is_not_absent_yet() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    state.connection_lost(now);
    for i in [0, 1] {
        assert_eq!(state.next_to_send(now), Some(i));
        state.sent(i, Routing::Unroutable, now);
    }
    // No queue has it, so a Node.js agent cannot run it twice; but when that is not known, it might.
    assert_eq!(due(&mut state, after(now, 5)), ["n0 Request", "n1 Request"]);
    state.sent(0, Routing::Unroutable, after(now, 5));
    state.connection_lost(after(now, 6));
    assert_eq!(due(&mut state, after(now, 19)), ["n0 Request"]);
    state.sent(0, Routing::Unroutable, after(now, 19));
    assert_eq!(give_up(&mut state, after(now, 60)), [0, 1]);
    assert_eq!(outcomes(state, now), ["not_connected", "no_answer"]);
}

#[test]
fn a_node_is_not_sent_to_again_while_those_before_it_begin_to_answer() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(5, &plan), Instant::now());
    for i in 0..4 {
        assert_eq!(state.next_to_send(after(now, i)), Some(i as usize));
        state.sent(i as usize, Routing::Taken, after(now, i));
    }
    progress(&mut state, 1, State::Accepted, after(now, 6));
    assert_eq!(
        due(&mut state, after(now, 8)),
        ["n0 Request"],
        "n2 and n3 were sent to after n1, which has answered just now"
    );
    progress(&mut state, 2, State::Accepted, after(now, 9));
    assert_eq!(due(&mut state, after(now, 13)), [""; 0]);
    // More of a node that has begun is no sign that the broker has a backlog.
    progress(&mut state, 2, State::Running, after(now, 13));
    assert_eq!(due(&mut state, after(now, 14)), ["n3 Request"]);
}

#[test]
fn after_a_lost_connection_nodes_are_asked_until_they_are_there() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 1, State::Running, now);
    reply(&mut state, 0, &OK, now);
    state.connection_lost(now);
    assert_eq!(due(&mut state, now), ["n1 StatusRequest"]);
    state.question_sent(1, Routing::Unroutable, now);
    assert_eq!(due(&mut state, now), [""; 0]);
    assert_eq!(due(&mut state, now + RETRY_AFTER), ["n1 StatusRequest"]);
    state.question_sent(1, Routing::Taken, now);
    progress(&mut state, 1, State::Ended, now);
    assert_eq!(due(&mut state, now + RETRY_AFTER * 2), [""; 0]);
    assert_eq!(reply(&mut state, 1, &FAILED, now), Some(FAILED));
}

#[test]
fn a_program_that_was_not_found_is_not_a_request_that_was_not_found() {
    let plan = plan(Action::Attach);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    let missing = Outcome::Refused(Refusal::new(ErrorCode::NotFound, "no /bin/ksh"));
    let outcome = reply(&mut state, 0, &missing, now).unwrap();
    assert_eq!(outcome.state(), "undetermined");
    // Of a job the output is counted, even where there is none.
    let mut body = Reply::of(&missing);
    body.stdout_bytes = Some(0);
    let delivery = Delivery::unacked("ur.execute-reply.n1.r", &body.encode());
    state.received(&delivery, now);
    assert_eq!(
        outcomes(state, now),
        ["undetermined", "refused", "no_answer"]
    );
}

#[test]
fn attaching_asks_again_and_tells_what_was_known_before_where_nothing_is_known_now() {
    let mut plan = plan(Action::Attach);
    plan.earlier = [(NodeId::parse("n1").unwrap(), FAILED)].into();
    let (mut state, now) = (state(4, &plan), Instant::now());
    assert_eq!(state.next_to_send(now), Some(0));
    state.sent(0, Routing::Unroutable, now);
    assert_eq!(
        (state.next_to_send(now), state.next_to_send(now)),
        (Some(1), Some(2))
    );
    assert_eq!(
        state.next_to_send(now),
        None,
        "a Node.js agent cannot be asked"
    );
    state.sent(1, Routing::Taken, now);
    state.sent(2, Routing::Taken, now);
    reply(&mut state, 2, &OK, now);
    assert_eq!(due(&mut state, after(now, 5)), ["n0 Request", "n1 Request"]);
    assert_eq!(reply(&mut state, 3, &OK, now), Some(OK), "it may still run");
    assert_eq!(give_up(&mut state, after(now, 60)), [0, 1]);
    assert_eq!(
        outcomes(state, now),
        ["no_answer", "exited", "exited", "exited"]
    );
}

#[test]
fn a_node_that_has_forgotten_the_request_says_so_before_the_broker_confirms_the_question() {
    let mut plan = plan(Action::Attach);
    plan.earlier = [(NodeId::parse("n0").unwrap(), FAILED)].into();
    let (mut state, now) = (state(2, &plan), Instant::now());
    assert_eq!(state.next_to_send(now), Some(0));
    let unknown = Outcome::Refused(Refusal::new(ErrorCode::UnknownRequest, "no such request"));
    assert_eq!(reply(&mut state, 0, &unknown, now), Some(FAILED));
}

#[test]
fn a_status_that_comes_before_the_confirm_of_its_question_answers_it() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Running, now);
    let asked = state.next_retry(after(now, 30));
    assert_eq!(asked, Some((0, Payload::StatusRequest)));
    let unknown = Outcome::Refused(Refusal::new(ErrorCode::UnknownRequest, "no such request"));
    let ended = reply(&mut state, 0, &unknown, after(now, 30));
    assert!(matches!(ended, Some(Outcome::Undetermined { .. })));
}

#[test]
fn ten_thousand_nodes_each_end_once() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(10_000, &plan), Instant::now());
    send_all(&mut state, now);
    assert_eq!(due(&mut state, after(now, 5)).len(), 9_999);
    for i in 0..9_999 {
        state.sent(i, Routing::Taken, after(now, 5));
        progress(&mut state, i, State::Accepted, after(now, 6));
        assert_eq!(state.next_retry(after(now, 6)), None);
    }
    for i in 0..9_000 {
        assert_eq!(reply(&mut state, i, &OK, after(now, 7)), Some(OK));
    }
    assert_eq!(give_up(&mut state, after(now, 66)).len(), 1_000);
    assert!(state.is_over() && state.retries.is_empty());
    let outcomes = outcomes(state, now);
    let answered = outcomes.iter().filter(|state| **state == "exited").count();
    assert_eq!((outcomes.len(), answered), (10_000, 9_000));
}

#[test]
fn a_reply_that_cannot_be_read_is_an_undetermined_ending() {
    let plan = plan(Action::Execute);
    let (mut state, now) = (state(1, &plan), Instant::now());
    send_all(&mut state, now);
    let delivery = Delivery::unacked("ur.execute-reply.n0.r", b"{");
    state.received(&delivery, now);
    assert_eq!(outcomes(state, now), ["undetermined"]);
}

#[test]
fn an_interrupted_run_tells_what_was_sent_and_what_was_not() {
    let mut plan = plan(Action::Execute);
    plan.concurrency = Some(2);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    reply(&mut state, 0, &OK, now);
    state.leave();
    assert!(state.is_over());
    for i in state.unanswered() {
        state.give_up(i, now);
    }
    let report = state.into_report();
    assert!(report.interrupted);
    assert_eq!((report.results.len(), report.not_sent.len()), (2, 1));
}

#[test]
fn an_error_in_a_tasks_result_is_a_failure_also_where_the_reply_has_no_label() {
    let now = Instant::now();
    let mut plan = plan(Action::Execute);
    plan.max_fail = Some(1);
    plan.label.name = Some("disk::erase".to_owned());
    let mut state = state(2, &plan);
    send_all(&mut state, now);
    let delivery = Delivery::unacked(
        "ur.execute-reply.n1.r",
        br#"{"exit_status":0,"stdout":"{\"_error\":{\"msg\":\"no disk\"}}"}"#,
    );
    let Some(RunEvent::Ended(result)) = state.received(&delivery, now) else {
        panic!("the reply ends it");
    };
    assert_eq!(result.outcome, Outcome::Exited { status: 1 });
    let asked_later = JobStatus {
        reply: result.reply.as_deref().cloned(),
        ..JobStatus::default()
    };
    assert_eq!(asked_later.outcome(), Some(result.outcome.clone()));
    assert!(state.is_stopped());
}
