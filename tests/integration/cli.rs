//! `ur` from end to end: real agents answer it.

use std::fs;

use serde_json::Value;

use crate::support::agent::{Agent, Setup};
use crate::support::operator::{Said, Ur, json_lines};
use crate::support::{Node, wait_until};

fn spawn(node: &Node, args: &[&str]) -> Ur {
    Ur::start(&node.vhost.url, node.agent.dir(), args)
}

fn ur(node: &Node, args: &[&str]) -> Said {
    spawn(node, args).end()
}

#[test]
fn nodes_shows_who_is_there() {
    let node = Node::start();
    let out = ur(&node, &["nodes"]).exits(0);
    assert!(out.contains(&node.agent.uuid), "{out}");
    assert!(out.contains("testnode"), "{out}");
    let lines = json_lines(&ur(&node, &["nodes", "-J"]).exits(0));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["UUID"], node.agent.uuid.as_str());
}

#[test]
fn a_url_comes_from_a_file_and_a_password_in_an_argument_gets_a_warning() {
    let node = Node::start();
    let url = node.vhost.url.as_str();
    let path = node.agent.dir().join("amqp-url");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, format!("{url}\na comment\n").as_bytes()).unwrap();
    // What is typed comes before the environment.
    let end = |args: &[&str]| Ur::start("no URL", node.agent.dir(), args).end();
    let said = end(&["nodes", "--amqp-url-file", path.to_str().unwrap()]);
    assert!(!said.err.contains("warning"), "{}", said.err);
    assert!(said.exits(0).contains("testnode"));
    let said = end(&["nodes", "--amqp-url", url]);
    assert!(said.err.contains("--amqp-url-file"), "{}", said.err);
    said.exits(0);
    end(&["nodes"]).exits(2);
    end(&["nodes", "--amqp-url-file", "/no/such/file"]).exits(1);
}

#[test]
fn another_command_line_under_the_same_request_id_is_refused_and_the_same_one_is_answered_again() {
    let node = Node::start();
    let exec = |line: &str| ur(&node, &["exec", "-a", "--request", "deploy-1", line]);
    assert!(exec("echo A").exits(0).contains("A\n"));
    assert!(exec("echo A").exits(0).contains("A\n"));
    let said = exec("echo B");
    assert_ne!(said.exit, 0);
    assert!(!said.out.contains("  A\n"), "{}", said.out);
    assert!(
        said.out.contains("another content"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn exec_runs_a_command_line_and_tells_its_end_by_its_own() {
    let node = Node::start();
    let uuid = node.agent.uuid.as_str();
    let out = ur(&node, &["exec", "-n", uuid, "echo $((40 + 2))"]).exits(0);
    assert!(out.contains("42\n"), "{out}");
    ur(&node, &["exec", "-a", "exit 7"]).exits(3);
    ur(&node, &["exec", "-a", "kill -9 $$"]).exits(3);
    ur(&node, &["exec", "-a", "--timeout", "0.5", "sleep 1000"]).exits(3);
    ur(&node, &["exec", "-a", "kill -9 $PPID; sleep 1000"]).exits(21);
}

#[test]
fn a_named_node_that_is_missing_stops_everything_before_anything_runs() {
    let node = Node::start();
    let mark = node.agent.dir().join("mark");
    let names = format!("{},nosuch", node.agent.uuid);
    let command = format!("touch {}", mark.display());
    let said = ur(&node, &["exec", "-n", &names, &command]);
    assert!(said.err.contains("nosuch"), "{}", said.err);
    said.exits(10);
    assert!(!mark.exists());
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let node = Node::start();
    ur(&node, &["exec", "true"]).exits(2);
    ur(&node, &["exec", "-a", "-n", "x", "true"]).exits(2);
    ur(&node, &["exec", "-w", ".UUID ==", "true"]).exits(2);
}

#[test]
fn a_node_that_gives_no_final_answer_in_time_is_told_as_that() {
    let node = Node::start();
    ur(&node, &["exec", "-a", "--wait", "1", "sleep 1000"]).exits(20);
}

#[test]
fn script_sends_a_local_file_with_its_arguments() {
    let node = Node::start();
    let path = node.agent.dir().join("local.sh");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, b"#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
    let path = path.to_str().unwrap();
    let out = ur(&node, &["script", "-a", path, "a b", "-c"]).exits(0);
    assert!(out.contains("<a b><-c>"), "{out}");
    ur(&node, &["script", "-a", "/no/such/file"]).exits(1);
}

#[test]
fn file_runs_what_is_on_the_node() {
    let node = Node::start();
    let out = ur(&node, &["file", "-a", "/bin/echo", "from", "the node"]).exits(0);
    assert!(out.contains("from the node\n"), "{out}");
    ur(&node, &["file", "-a", "/no/such/file"]).exits(3);
}

#[test]
fn json_output_has_the_reply_of_every_node() {
    let node = Node::start();
    let command = "echo out; echo err >&2; exit 3";
    let array = ur(&node, &["exec", "-a", "-j", command]).exits(3);
    let array: Value = serde_json::from_str(&array).unwrap();
    let lines = json_lines(&ur(&node, &["exec", "-a", "-J", command]).exits(3));
    for result in [&array[0], &lines[0]] {
        assert_eq!(result["uuid"], node.agent.uuid.as_str(), "{result}");
        assert_eq!(result["hostname"], "testnode", "{result}");
        assert_eq!(result["result"]["exit_status"], 3, "{result}");
        assert_eq!(result["result"]["stdout"], "out\n", "{result}");
        assert_eq!(result["result"]["stderr"], "err\n", "{result}");
    }
}

#[test]
fn nodes_that_say_the_same_are_shown_once() {
    let node = Node::start();
    let url = node.vhost.url.as_str();
    let others = ["n2", "n3"].map(|name| Agent::start(name, url, Setup::default()));
    wait_until("all are there", || {
        json_lines(&ur(&node, &["nodes", "-J"]).out).len() == 3
    });
    let command = format!(
        "echo common; test $UR_NODE != {} || echo special",
        others[0].uuid
    );
    let out = ur(&node, &["exec", "-a", &command]).exits(0);
    assert_eq!(out.matches("common\n").count(), 2, "{out}");
    assert_eq!(out.matches("special\n").count(), 1, "{out}");
}

#[test]
fn ping_measures_and_fails_if_a_node_is_missing() {
    let node = Node::start();
    let out = ur(&node, &["ping", "-a"]).exits(0);
    assert!(out.contains("testnode") && out.contains("ms"), "{out}");
    ur(&node, &["ping", "-n", "nosuch"]).exits(10);
}

#[test]
fn cancel_ends_what_another_ur_waits_for_and_why_shows_the_status() {
    let node = Node::start();
    let (mark, uuid) = (node.agent.dir().join("mark"), node.agent.uuid.as_str());
    let command = format!("touch {}; sleep 1000", mark.display());
    let waiting = spawn(&node, &["exec", "-a", "--request", "r1", &command]);
    wait_until("the script runs", || mark.exists());
    let running = ur(&node, &["why", uuid, "r1"]).exits(0);
    assert!(running.contains("running"), "{running}");
    ur(&node, &["cancel", "-n", uuid, "r1"]).exits(0);
    waiting.end().exits(3);
    let status = ur(&node, &["why", uuid, "r1"]).exits(0);
    for word in ["published", "accepted", "started", "cancelled"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    ur(&node, &["cancel", "-n", uuid, "unknown"]).exits(3);
}
