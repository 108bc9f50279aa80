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
