//! The sender's half: each node is sent a request until it has it, runs it once, and ends in one state.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::agent::{Agent, Setup};
use crate::support::broker::{PrivateBroker, Vhost};
use crate::support::fake_nodes::{FakeNodes, accepted, exited, modern, node_js, slow};
use crate::support::operator::{Said, Ur, json_lines};
use crate::support::{Node, wait_until};

fn state() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn ur(url: &str, args: &[&str]) -> Said {
    Ur::start(url, state().path(), args).end()
}

/// A command line that leaves a line in `dir/ran` and goes on when `dir/gate` is there.
pub(crate) fn gated(dir: &Path) -> String {
    let dir = dir.display();
    format!("echo $UR_NODE >>{dir}/ran; while ! test -e {dir}/gate; do sleep 0.05; done; echo done")
}

pub(crate) fn ran(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("ran")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_request_that_is_not_accepted_is_sent_again_under_the_same_id_until_it_is() {
    let vhost = Vhost::new();
    let nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], true, |n, _| match n {
        1 => Vec::new(),
        _ => vec![accepted(), exited(0)],
    });
    let out = ur(&vhost.url, &["exec", "-a", "-J", "true"]).exits(0);
    assert_eq!(json_lines(&out).len(), 1);
    let requests: Vec<_> = nodes.requests.try_iter().collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[0].id, requests[1].id);
    let left = |i: usize| requests[i].expiration.unwrap();
    assert!(left(1) < left(0) && left(0) <= 60_000, "{requests:?}");
}

#[test]
fn a_silent_node_js_agent_is_sent_a_request_once_though_the_connection_is_lost() {
    let vhost = Vhost::new();
    let nodes = FakeNodes::start(&vhost.url, vec![node_js("old")], true, |_, _| Vec::new());
    let said = Ur::start(
        &vhost.url,
        state().path(),
        &["exec", "-a", "--wait", "14", "true"],
    );
    nodes.requests.recv().unwrap();
    wait_until("ur's connection is cut", || {
        vhost.close_connections("ur").is_some_and(|n| n > 0)
    });
    said.wait_for("ur: reconnected");
    said.end().exits(20);
    assert_eq!(nodes.count(), 0, "a second time");
}

#[test]
fn a_node_js_agent_is_driven_to_its_reply() {
    let vhost = Vhost::new();
    let nodes = FakeNodes::start(&vhost.url, vec![node_js("old")], true, |_, _| {
        vec![exited(7)]
    });
    ur(&vhost.url, &["exec", "-a", "exit 7"]).exits(3);
    let request = nodes.requests.recv().unwrap();
    assert_eq!(request.body.get("start_before"), None);
}

#[test]
fn a_node_that_listens_no_more_is_not_connected() {
    let vhost = Vhost::new();
    let _nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], false, |_, _| Vec::new());
    let out = ur(&vhost.url, &["exec", "-a", "-J", "true"]).exits(20);
    assert_eq!(json_lines(&out)[0]["state"], "not_connected");
}

#[test]
fn a_request_not_picked_up_in_time_is_gone_when_the_node_is_back() {
    let vhost = Vhost::new();
    let _nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], false, |_, _| Vec::new());
    vhost.declare_queue("ur.request.n1", "ur.execute.n1.*");
    let said = ur(&vhost.url, &["exec", "-a", "--pickup", "1", "true"]);
    assert!(
        said.err.contains("did not acknowledge the request"),
        "{}",
        said.err
    );
    said.exits(20);
    assert_eq!(vhost.drain("ur.request.n1"), 0);
}

#[test]
fn every_node_ends_once_and_runs_once_though_the_broker_restarts() {
    let broker = PrivateBroker::start();
    let (vhost, dir) = (broker.vhost(), state());
    let names = ["n1", "n2", "n3", "n4", "n5"];
    let _agents = names.map(|name| Agent::start(name, &vhost.url, Setup::default()));
    let nodes = names.join(",");
    wait_until("all are there", || {
        ur(&vhost.url, &["ping", "-n", &nodes]).exit == 0
    });
    let command = gated(dir.path());
    let args = ["exec", "-n", &nodes, "-J", "--concurrency", "3", &command];
    let running = Ur::start(&vhost.url, dir.path(), &args);
    wait_until("three run", || ran(dir.path()).len() == 3);
    broker.again("restart");
    running.wait_for("ur: reconnected");
    fs::create_dir(dir.path().join("gate")).unwrap();
    let lines = json_lines(&running.end().exits(0));
    let mut ended: Vec<_> = lines
        .iter()
        .map(|line| line["uuid"].as_str().unwrap())
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, names);
    assert_eq!(ran(dir.path()), names);
}

#[test]
fn after_so_many_failures_the_rest_is_not_sent() {
    let vhost = Vhost::new();
    let names = (1..=4).map(|i| modern(&format!("n{i}"))).collect();
    let nodes = FakeNodes::start(&vhost.url, names, true, |_, _| vec![accepted(), exited(1)]);
    let args = [
        "exec",
        "-a",
        "-j",
        "--concurrency",
        "1",
        "--max-fail",
        "2",
        "exit 1",
    ];
    let out = ur(&vhost.url, &args).exits(22);
    let results: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let states: Vec<_> = results
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["exited", "exited", "not_sent", "not_sent"]);
    assert_eq!(nodes.count(), 2);
}

#[test]
fn a_batch_follows_the_one_before_it_and_none_follows_a_failure() {
    let vhost = Vhost::new();
    let names = (1..=4).map(|i| modern(&format!("n{i}"))).collect();
    let nodes = FakeNodes::start(&vhost.url, names, true, |_, request| {
        vec![accepted(), exited(i32::from(request.node == "n2"))]
    });
    let args = ["exec", "-a", "-J", "--batch", "1,50%,rest", "true"];
    let said = ur(&vhost.url, &args);
    for line in ["batch 1 of 3 has ended; 2 nodes follow", "1 not sent (n4)"] {
        assert!(said.err.contains(line), "{}", said.err);
    }
    assert_eq!(json_lines(&said.exits(22)).len(), 4);
    let sent: Vec<String> = nodes.requests.try_iter().map(|it| it.node).collect();
    assert_eq!((sent.len(), sent[0].as_str()), (3, "n1"));
}

#[test]
fn an_interrupt_stops_the_waiting_and_not_the_script() {
    let mut node = Node::start();
    let dir = node.agent.dir().to_owned();
    let args = ["exec", "-a", "-v", "-J", "--request", "r1", &gated(&dir)];
    let running = Ur::start(&node.vhost.url, &dir, &args);
    wait_until("the script runs", || ran(&dir).len() == 1);
    running.wait_for(": accepted");
    running.interrupt();
    let said = running.end();
    assert!(said.err.contains("ur attach r1"), "{}", said.err);
    assert!(said.err.contains("may go on running"), "{}", said.err);
    let line = &json_lines(&said.exits(130))[0];
    assert_eq!(
        (&line["state"], &line["heard"]["state"]),
        (&json!("no_answer"), &json!("accepted"))
    );
    fs::create_dir(dir.join("gate")).unwrap();
    assert_eq!(node.reply("r1")["stdout"], "done\n");
}

#[test]
fn a_second_interrupt_ends_ur_wherever_it_is() {
    let vhost = Vhost::new();
    let nodes = vec![modern("n1"), modern("n2")];
    let _nodes = FakeNodes::start(&vhost.url, nodes, true, |_, request| {
        let (kind, mut reply) = exited(0);
        reply["stdout"] = json!("x\n".repeat(200_000));
        match request.node.as_str() {
            "n1" => vec![accepted(), (kind, reply)],
            _ => vec![accepted()],
        }
    });
    let dir = state();
    // Nobody reads what it prints, so it hangs when the pipe is full.
    let (mut read, write) = std::io::pipe().unwrap();
    let args = ["exec", "-a", "-v", "true"];
    let running = Ur::start_into(&vhost.url, dir.path(), &args, Some(write));
    running.wait_for("n1: exit 0");
    running.interrupt();
    read.read_exact(&mut [0; 1]).unwrap();
    running.interrupt();
    running.end().exits(130);
}

#[test]
fn a_limit_beyond_every_clock_is_no_limit() {
    let node = Node::start();
    let args = [
        "exec",
        "-a",
        "--pickup",
        "1e18",
        "--wait",
        "1e18",
        "--timeout",
        "1e18",
        "true",
    ];
    ur(&node.vhost.url, &args).exits(0);
}

#[test]
fn no_broker_is_an_error_that_is_told_once() {
    let said = ur("amqp://127.0.0.1:1", &["exec", "-a", "true"]);
    assert_eq!(said.err.matches("refused").count(), 1, "{}", said.err);
    said.exits(1);
}

#[test]
fn the_time_limit_is_the_scripts_own_and_not_that_of_its_turn() {
    let mut node = Node::with(Setup::args(&["--max-jobs", "1"]));
    let dir = node.agent.dir().to_owned();
    let first = node.send(&crate::support::script(&gated(&dir)));
    wait_until("the first runs", || ran(&dir).len() == 1);
    let args = [
        "exec",
        "-a",
        "--timeout",
        "2",
        "--wait",
        "30",
        "--request",
        "r2",
        "echo in time",
    ];
    let second = Ur::start(&node.vhost.url, &dir, &args);
    node.progress("r2", "queued");
    std::thread::park_timeout(Duration::from_secs(3));
    fs::create_dir(dir.join("gate")).unwrap();
    assert_eq!(node.reply(&first)["exit_status"], 0);
    assert!(second.end().exits(0).contains("in time"));
}

#[test]
fn what_a_newer_agent_says_besides_passes_through_to_json() {
    let vhost = Vhost::new();
    let _nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], true, |_, _| {
        let (kind, mut reply) = exited(0);
        reply["cgroup"] = json!({"oom_kills": 1});
        vec![accepted(), (kind, reply)]
    });
    for view in ["-j", "-J"] {
        let out = ur(&vhost.url, &["exec", "-a", view, "true"]).exits(0);
        assert!(out.contains("oom_kills"), "{out}");
    }
}

#[test]
fn ping_and_cancel_speak_json() {
    let node = Node::start();
    let url = &node.vhost.url;
    let pong = &json_lines(&ur(url, &["ping", "-a", "-J"]).exits(0))[0];
    assert_eq!(pong["state"], "answered");
    assert!(pong["ms"].as_f64().unwrap() > 0.0, "{pong}");
    let out = ur(url, &["cancel", "-a", "-j", "unknown"]).exits(10);
    let results: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(results[0]["error"]["code"], "unknown_request");
}

#[test]
fn a_node_that_answers_later_than_all_others_is_found_every_time() {
    let (vhost, state) = (Vhost::new(), state());
    let quick = ["n1", "n2", "n3"].map(modern);
    let sysinfos = quick.into_iter().chain([slow("n4", 500)]).collect();
    let _nodes = FakeNodes::start(&vhost.url, sysinfos, true, |_, _| Vec::new());
    for _ in 0..3 {
        let out = Ur::start(&vhost.url, state.path(), &["nodes", "-q"]).end();
        assert_eq!(out.exits(0).lines().count(), 4);
    }
}

#[test]
fn a_node_that_is_new_is_found_by_the_next_search() {
    let (vhost, state) = (Vhost::new(), state());
    let search = || {
        // Those that answered; the table has those that did once, too.
        let out = Ur::start(&vhost.url, state.path(), &["nodes", "-J"]).end();
        out.exits(0).lines().count()
    };
    let _one = FakeNodes::start(&vhost.url, vec![modern("n1")], true, |_, _| Vec::new());
    assert_eq!(search(), 1);
    let two = FakeNodes::start(&vhost.url, vec![modern("n2")], true, |_, _| Vec::new());
    assert_eq!(search(), 2);
    drop(two);
    assert_eq!((search(), search()), (1, 1));
}

#[test]
fn two_thousand_nodes_answer_in_the_order_in_which_one_counts() {
    let vhost = Vhost::new();
    let sysinfos = (0..2_000).map(|i| modern(&format!("node{i}"))).collect();
    let nodes = FakeNodes::start(&vhost.url, sysinfos, true, |_, _| {
        vec![accepted(), exited(0)]
    });
    let out = ur(&vhost.url, &["exec", "-a", "-j", "--discover", "5", "true"]).exits(0);
    let results: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(results.len(), 2_000);
    let exited = |i: usize| results[i]["state"] == "exited";
    assert!((0..2_000).all(exited));
    let name = |i: usize| results[i]["hostname"].as_str().unwrap().to_owned();
    assert_eq!(
        (name(2), name(10)),
        ("node2".to_owned(), "node10".to_owned())
    );
    assert!(nodes.count() >= 2_000);
}
