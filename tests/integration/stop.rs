//! Ends that a time limit or a cancel brings about.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::support::agent::Setup;
use crate::support::{Node, and, script, wait_until};

fn pid_in(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn assert_timed_out(reply: &Value) {
    assert_eq!(reply["exit_status"], 124, "{reply}");
    assert_eq!(reply["timed_out"], true, "{reply}");
}

fn assert_cancelled(reply: &Value) {
    assert_eq!(reply["exit_status"], 143, "{reply}");
    assert_eq!(reply["cancelled"], true, "{reply}");
}

#[test]
fn a_script_that_never_ends_is_ended_by_its_time_limit() {
    let mut node = Node::start();
    let reply = node.ask(&and(script("echo begun; sleep 1000"), "timeout", 0.5));
    assert_timed_out(&reply);
    assert_eq!(reply["stdout"], "begun\n");
}

#[test]
fn output_without_end_is_ended_by_the_time_limit_and_bounded() {
    let mut node = Node::start();
    let request = and(script("exec yes"), "timeout", 1);
    let reply = node.ask(&and(request, "max_output", 10_000));
    assert_timed_out(&reply);
    assert!(reply["stdout"].as_str().unwrap().len() < 11_000);
    assert!(
        reply["stdout_bytes"].as_u64().unwrap() > 1_000_000,
        "{reply}"
    );
}

#[test]
fn a_script_that_ignores_sigterm_is_killed() {
    let mut node = Node::start();
    let request = script("trap '' TERM; echo deaf; while :; do sleep 0.1; done");
    let reply = node.ask(&and(request, "timeout", 0.5));
    assert_timed_out(&reply);
    assert_eq!(reply["stdout"], "deaf\n");
}

#[test]
fn a_script_may_clean_up_when_its_time_is_over() {
    let mut node = Node::start();
    let request = script("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.1; done");
    let reply = node.ask(&and(request, "timeout", 0.5));
    assert_timed_out(&reply);
    assert_eq!(reply["stdout"], "cleaned\n");
}

#[test]
fn a_descendant_in_another_session_does_not_escape_a_time_limit() {
    let mut node = Node::start();
    let file = node.agent.dir().join("pid");
    let text = format!(
        "(setsid sh -c 'trap \"\" TERM; (echo $$ >{}; exec sleep 1000) & wait' &)\nsleep 1000",
        file.display()
    );
    let request = and(script(&text), "timeout", 1);
    let id = node.send(&request);
    wait_until("the escape", || pid_in(&file).is_some());
    assert_timed_out(&node.reply(&id));
    let escaped = pid_in(&file).unwrap();
    assert!(test_kill_process(escaped).is_err(), "{escaped:?} lives");
}

#[test]
fn a_descendant_in_another_session_does_not_escape_a_cancel() {
    let mut node = Node::start();
    let file = node.agent.dir().join("pid");
    let text = format!(
        "setsid sh -c 'echo $$ >{}; exec sleep 1000' &\nsleep 1000",
        file.display()
    );
    let id = node.send(&script(&text));
    wait_until("the escape", || pid_in(&file).is_some());
    let escaped = pid_in(&file).unwrap();
    node.cancel(&id);
    assert_cancelled(&node.reply(&id));
    assert!(test_kill_process(escaped).is_err(), "{escaped:?} lives");
}

#[test]
fn a_running_request_is_cancelled() {
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let request = script(&format!("echo begun; touch {}; sleep 1000", mark.display()));
    let id = node.send(&request);
    wait_until("the script runs", || mark.exists());
    node.cancel(&id);
    let reply = node.reply(&id);
    assert_cancelled(&reply);
    assert_eq!(reply["stdout"], "begun\n");
}

#[test]
fn a_waiting_request_is_cancelled_without_being_started() {
    let mut node = Node::with(Setup::args(&["--max-jobs", "1"]));
    let (gate, mark) = (node.agent.dir().join("gate"), node.agent.dir().join("mark"));
    let first = node.send(&script(&format!(
        "while ! test -e {}; do sleep 0.05; done",
        gate.display()
    )));
    let second = node.send(&script(&format!("touch {}", mark.display())));
    node.progress(&second, "queued");
    node.cancel(&second);
    assert_cancelled(&node.reply(&second));
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&first)["exit_status"], 0);
    node.shell("true");
    assert!(!mark.exists());
}

#[test]
fn a_cancel_of_an_ended_request_is_answered_with_its_reply() {
    let mut node = Node::start();
    let id = node.send(&script("exit 7"));
    let first = node.reply_message(&id);
    node.cancel(&id);
    assert_eq!(node.reply_message(&id).body, first.body);
}

#[test]
fn a_cancel_that_follows_its_request_at_once_ends_it() {
    let mut node = Node::start();
    for _ in 0..10 {
        let id = node.send(&script("sleep 1000"));
        node.cancel(&id);
        assert_cancelled(&node.reply(&id));
    }
}

#[test]
fn a_supervisor_that_its_script_stops_keeps_the_time_limit() {
    let mut node = Node::start();
    let request = script("echo begun; kill -STOP $PPID; sleep 1000");
    let reply = node.ask(&and(request, "timeout", 1));
    assert_timed_out(&reply);
    assert_eq!(reply["stdout"], "begun\n");
}

#[test]
fn a_supervisor_that_its_script_stops_hears_a_cancel() {
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let text = format!("kill -STOP $PPID; : >{}; sleep 1000", mark.display());
    let id = node.send(&script(&text));
    wait_until("the script runs", || mark.exists());
    node.cancel(&id);
    assert_cancelled(&node.reply(&id));
}

#[test]
fn a_script_that_stops_its_supervisor_and_ends_is_answered() {
    let mut node = Node::start();
    assert_eq!(
        node.ask(&script("kill -STOP $PPID; exit 3"))["exit_status"],
        3
    );
    node.logs("its supervisor was stopped, and is continued");
}
