//! `ur attach`: the answers of a run whose `ur` is gone.

use std::fs;

use crate::sender::{gated, ran};
use crate::support::agent::{Agent, Setup};
use crate::support::operator::{Said, Ur, json_lines};
use crate::support::{Node, wait_until};

fn ur(node: &Node, args: &[&str]) -> Said {
    Ur::start(&node.vhost.url, node.agent.dir(), args).end()
}

/// A run whose `ur` is killed when as many scripts run as may.
fn killed(node: &Node, request: &str, more: &[&str]) {
    let (dir, command) = (node.agent.dir(), gated(node.agent.dir()));
    let args = [&["exec", "-a", "--request", request], more, &[&command]].concat();
    let running = Ur::start(&node.vhost.url, dir, &args);
    wait_until("the script runs", || ran(dir).len() == 1);
    running.kill();
}

#[test]
fn the_replies_of_a_run_whose_ur_was_killed_are_collected_again_and_again() {
    let node = Node::start();
    killed(&node, "r1", &[]);
    let listed = ur(&node, &["attach"]).exits(0);
    assert!(
        listed.contains("r1") && listed.contains("echo $UR_NODE"),
        "{listed}"
    );
    ur(&node, &["attach", "r1", "--wait", "1"]).exits(20);
    fs::create_dir(node.agent.dir().join("gate")).unwrap();
    for _ in 0..2 {
        let lines = json_lines(&ur(&node, &["attach", "r1", "-J"]).exits(0));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["result"]["stdout"], "done\n");
    }
    assert_eq!(ran(node.agent.dir()).len(), 1);
}

#[test]
fn nodes_whose_turn_had_not_come_are_told_and_not_sent_to() {
    let node = Node::start();
    let other = Agent::start("another", &node.vhost.url, Setup::default());
    wait_until("both are there", || {
        let uuids = format!("{},{}", node.agent.uuid, other.uuid);
        ur(&node, &["ping", "-n", &uuids]).exit == 0
    });
    killed(&node, "r1", &["--concurrency", "1"]);
    fs::create_dir(node.agent.dir().join("gate")).unwrap();
    let said = ur(&node, &["attach", "r1", "-J"]);
    assert_eq!(json_lines(&said.out).len(), 1);
    assert!(said.err.contains("not sent to testnode"), "{}", said.err);
    said.exits(20);
    assert_eq!(ran(node.agent.dir()).len(), 1);
}

#[test]
fn a_run_of_another_headnode_is_attached_to_by_its_nodes() {
    let node = Node::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let attach = |args: &[&str]| Ur::start(&node.vhost.url, elsewhere.path(), args).end();
    ur(&node, &["exec", "-a", "--request", "r1", "echo once"]).exits(0);
    attach(&["attach", "r1"]).exits(2);
    assert!(attach(&["attach", "r1", "-a"]).exits(0).contains("once"));
    attach(&["attach", "unknown", "-n", &node.agent.uuid]).exits(21);
}

#[test]
fn an_outcome_is_still_known_when_the_node_has_forgotten_it() {
    let node = Node::start();
    ur(&node, &["exec", "-a", "--request", "r1", "exit 7"]).exits(3);
    fs::remove_dir_all(node.job("r1")).unwrap();
    let lines = json_lines(&ur(&node, &["attach", "r1", "-J"]).exits(3));
    assert_eq!(lines[0]["state"], "exited");
}

#[test]
fn a_run_that_cannot_be_recorded_is_a_run_all_the_same() {
    let node = Node::start();
    let nowhere = std::path::Path::new("/proc");
    let said = Ur::start(&node.vhost.url, nowhere, &["exec", "-a", "echo ran"]).end();
    assert!(said.err.contains("recording the run"), "{}", said.err);
    assert!(said.exits(0).contains("ran"));
}

#[test]
fn a_run_is_named_by_the_beginning_of_its_id_or_as_the_last_and_shows_what_was_kept() {
    let node = Node::start();
    ur(
        &node,
        &[
            "exec",
            "-a",
            "--request",
            "first-run",
            "--keep",
            "echo kept; exit 7",
        ],
    )
    .exits(3);
    ur(&node, &["exec", "-a", "--request", "second", "echo gone"]).exits(0);
    for request in ["first-run", "second"] {
        fs::remove_dir_all(node.job(request)).unwrap();
    }
    ur(&node, &["runs"]).lists(&[
        "first-run",
        &sent_at(&node, "first-run"),
        "testnode",
        "echo",
        "kept;",
        "exit",
        "7",
        "1",
        "exit",
        "7",
        "(testnode)",
    ]);
    ur(&node, &["runs", "show", "fir"]).is(0, &["1 exit 7 (testnode)", "kept\n"]);
    ur(&node, &["runs", "show", "last"]).is(0, &["1 ok", "no output of this run is kept"]);
    ur(&node, &["runs", "show", "nosuch"]).exits(2);
    ur(&node, &["attach", "f"]).is(3, &["ur: request first-run", "kept\n"]);
    let words = ["ur: request second", "the output of testnode is not kept"];
    ur(&node, &["attach", "last"]).is(0, &words);
    ur(&node, &["why", "testnode", "last"]).is(10, &["second on testnode", "no record"]);
    ur(&node, &["exec", "-a", "--request", "firmware", "true"]).exits(0);
    ur(&node, &["attach", "fir"]).is(2, &["several requests begin with fir", "firmware"]);
}

fn sent_at(node: &Node, request: &str) -> String {
    let runs = json_lines(&ur(node, &["runs", "-J"]).exits(0));
    let run = runs.iter().find(|run| run["request"] == request);
    let at = run.and_then(|run| run["sent_at"].as_str());
    let at = at.expect("a recorded run");
    format!(
        "{}Z",
        at.split_once('.')
            .map_or(at, |(at, _)| at)
            .trim_end_matches('Z')
    )
}

#[test]
fn a_run_is_cancelled_where_it_was_sent_to_and_nodes_that_never_had_it_are_no_failure() {
    let node = Node::start();
    let other = Agent::start("another", &node.vhost.url, Setup::default());
    wait_until("both are there", || {
        let uuids = format!("{},{}", node.agent.uuid, other.uuid);
        ur(&node, &["ping", "-n", &uuids]).exit == 0
    });
    let (dir, command) = (node.agent.dir(), gated(node.agent.dir()));
    let args = [
        "exec",
        "-n",
        &node.agent.uuid,
        "--request",
        "job-1",
        &command,
    ];
    let running = Ur::start(&node.vhost.url, dir, &args);
    wait_until("the script runs", || ran(dir).len() == 1);
    // Of another user, who is told of all nodes.
    let elsewhere = tempfile::tempdir().unwrap();
    let all = |request: &str| {
        let args = ["cancel", request];
        Ur::start(&node.vhost.url, elsewhere.path(), &args).end()
    };
    all("job-2").is(
        10,
        &["has no such request", "none of them has a request job-2"],
    );
    ur(&node, &["cancel", "job-1"]).is(0, &["  cancelled\n"]);
    assert_eq!(running.end().exit, 3);
    all("job-1").is(0, &["  cancelled", "  has no such request"]);
}
