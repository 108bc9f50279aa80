//! Tests of how long a run waits, and of what the operator may want of it meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use super::run_state::RunState;
use super::run_tests::{FAILED, OK, after, due, give_up, plan, progress, reply, send_all, state};
use super::{Action, Between, Plan, RunEvent};
use broker::{Delivery, Routing};
use protocol::{ErrorCode, Outcome, Progress, Refusal, State};

/// As a run begins: without a limit of its own, and connected.
fn patient(action: Action) -> Plan {
    Plan {
        wait: None,
        ..plan(action)
    }
}

#[test]
fn a_run_waits_as_long_as_the_node_says_that_it_has_the_request() {
    let plan = patient(Action::Execute);
    let (mut state, now) = (state(3, &plan), Instant::now());
    state.connected(now);
    send_all(&mut state, now);
    for node in [0, 1] {
        progress(&mut state, node, State::Accepted, now);
    }
    for minute in 1..1000 {
        let at = after(now, 60 * minute);
        assert_eq!(due(&mut state, at).len(), 2.min(3 - minute.min(2) as usize));
        progress(&mut state, 0, State::Running, at);
        state.question_sent(0, Routing::Taken, at);
        match minute {
            1 => assert_eq!(give_up(&mut state, at), [2], "a Node.js agent says nothing"),
            2 => assert_eq!(give_up(&mut state, at), [1], "silent for two minutes"),
            _ => assert_eq!(give_up(&mut state, at), [0; 0]),
        }
    }
    let report = state.into_report();
    assert_eq!(report.results[0].silence, Duration::from_secs(120));
}

#[test]
fn without_a_connection_the_silence_of_a_node_is_not_counted() {
    let plan = patient(Action::Attach);
    let (mut state, now) = (state(2, &plan), Instant::now());
    state.connected(now);
    send_all(&mut state, now);
    progress(&mut state, 0, State::Running, now);
    state.connection_lost(after(now, 100));
    assert_eq!(give_up(&mut state, after(now, 50_000)), [1], "Node.js");
    state.connected(after(now, 50_000));
    assert_eq!(give_up(&mut state, after(now, 50_119)), [0; 0]);
    assert_eq!(give_up(&mut state, after(now, 50_120)), [0]);
}

#[test]
fn what_has_given_output_has_started_and_a_bare_status_takes_no_percents_back() {
    let plan = patient(Action::Execute);
    let (mut state, now) = (state(2, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Accepted, now);
    let output = br#"{"stream":"stdout","offset":0,"data":"begun\n"}"#;
    let delivery = Delivery::unacked("ur.execute-output.n0.r", output);
    assert!(matches!(
        state.received(&delivery, now),
        Some(RunEvent::Output(..))
    ));
    let told = |state: &mut RunState<'_>, said: &Progress| {
        let body = serde_json::to_vec(said).unwrap();
        let delivery = Delivery::unacked("ur.execute-progress.n0.r", &body);
        match state.received(&delivery, now) {
            Some(RunEvent::Progress(_, progress)) => progress.percent,
            _ => panic!("progress"),
        }
    };
    let mut said = Progress::now(State::Running);
    said.percent = Some(40.0);
    assert_eq!(told(&mut state, &said), Some(40.0));
    assert_eq!(told(&mut state, &Progress::now(State::Running)), Some(40.0));
    let output = state.received(&delivery, now).is_some();
    assert!(output);
    state.leave();
    for i in state.unanswered() {
        state.give_up(i, now);
    }
    let report = state.into_report();
    let heard = report.results[0].last_progress.as_ref().unwrap();
    assert_eq!((heard.state, heard.percent), (State::Running, Some(40.0)));
}

#[test]
fn what_is_cancelled_is_waited_for_and_no_more_is_sent() {
    let plan = patient(Action::Execute);
    let (mut state, now) = (state(4, &plan), Instant::now());
    send_all(&mut state, now);
    progress(&mut state, 0, State::Running, now);
    assert_eq!(state.cancel(now), [3], "a Node.js agent cannot");
    state.give_up(3, now);
    assert_eq!(
        due(&mut state, now),
        ["n0 Cancel", "n1 Cancel", "n2 Cancel"]
    );
    for i in 0..3 {
        state.question_sent(i, Routing::Taken, now);
    }
    assert_eq!(
        reply(&mut state, 0, &Outcome::Cancelled, now),
        Some(Outcome::Cancelled)
    );
    let unknown = Outcome::Refused(Refusal::new(ErrorCode::UnknownRequest, "no such request"));
    let outcome = reply(&mut state, 1, &unknown, now).unwrap();
    assert_eq!(outcome.state(), "undetermined");
    assert!(!state.is_over());
    assert_eq!(give_up(&mut state, after(now, 20)), [2]);
    assert!(state.is_over() && state.into_report().interrupted);
}

#[test]
fn a_batch_begins_when_the_one_before_it_has_ended_well() {
    let mut plan = patient(Action::Execute);
    plan.rolling.batches = vec![1, 2];
    plan.max_fail = Some(1);
    let (mut state, now) = (state(3, &plan), Instant::now());
    send_all(&mut state, now);
    assert_eq!(
        (state.in_flight, state.end_of_batch(now).is_some()),
        (1, false)
    );
    reply(&mut state, 0, &OK, now);
    assert!(!state.is_over());
    assert!(matches!(
        state.end_of_batch(now),
        Some(RunEvent::BatchEnded(_))
    ));
    send_all(&mut state, now);
    assert_eq!(state.in_flight, 2);

    let mut state = self::state(3, &plan);
    send_all(&mut state, now);
    reply(&mut state, 0, &FAILED, now);
    assert!(state.end_of_batch(now).is_none() && state.is_over());
    assert_eq!(state.into_report().not_sent.len(), 2);
}

#[test]
fn while_the_operator_is_asked_something_else_no_batch_is_asked_about_and_none_begins() {
    let mut plan = patient(Action::Execute);
    plan.rolling.batches = vec![1, 2];
    plan.rolling.between = Between::Question;
    let (mut state, now) = (state(3, &plan), Instant::now());
    let asks = |state: &mut RunState<'_>| state.end_of_batch(now).is_some();
    send_all(&mut state, now);
    state.ask();
    reply(&mut state, 0, &OK, now);
    assert!(!asks(&mut state));
    state.wait_on();
    assert!(asks(&mut state) && !asks(&mut state), "once");
    // Both questions at once: the answer to the other is none to this one.
    state.ask();
    state.wait_on();
    assert!(state.next_to_send(now).is_none());
    assert!(asks(&mut state));
    state.go_on();
    send_all(&mut state, now);
    assert_eq!(state.in_flight, 2);
}
