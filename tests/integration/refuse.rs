//! Requests that cannot be run: each gets an answer that says why, and the agent goes on.

use serde_json::{Value, json};

use crate::support::{Node, and, code, script, text_of, wait_until};

/// The reply has this code and status, and its message contains the text.
fn check(reply: &Value, wanted: (&str, i32), text: &str) {
    assert_eq!(
        (code(reply), &reply["exit_status"]),
        (wanted.0, &json!(wanted.1)),
        "{reply}"
    );
    let message = text_of(&reply["error"]["message"]);
    assert!(message.contains(text), "{message:?} lacks {text:?}");
}

const BAD: (&str, i32) = ("bad_request", 125);
const NOT_FOUND: (&str, i32) = ("not_found", 127);
const UNKNOWN: (&str, i32) = ("unknown_request", 125);
const NOT_EXECUTABLE: (&str, i32) = ("cannot_execute", 126);

#[test]
fn a_body_that_is_no_request_is_refused_with_what_is_wrong_in_it() {
    let mut node = Node::start();
    check(&node.ask_raw(b"\xff\xfe\x00"), BAD, "not JSON");
    check(&node.ask(&json!({"type": "scrpt"})), BAD, "scrpt");
}

#[test]
fn an_interpreter_that_does_not_exist_is_named() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "script", "script": "#!/no/such/interpreter\n"}));
    check(&reply, NOT_FOUND, "/no/such/interpreter");
}

#[test]
fn a_script_with_carriage_returns_is_told_so() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "script", "script": "#!/bin/sh\r\necho hi\r\n"}));
    check(&reply, NOT_FOUND, "carriage return");
}

#[test]
fn a_script_that_begins_with_a_byte_order_mark_is_run_by_the_interpreter_that_it_names() {
    let mut node = Node::start();
    let text = "\u{feff}#!/bin/cat\nby cat\n";
    let reply = node.ask(&json!({"type": "script", "script": text}));
    assert_eq!(reply["stdout"], "#!/bin/cat\nby cat\n");
}

#[test]
fn a_file_that_does_not_exist_is_named() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "file", "file": "/no/such/file"}));
    check(&reply, NOT_FOUND, "/no/such/file");
}

#[test]
fn a_file_that_is_a_directory_cannot_be_executed() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "file", "file": "/tmp"}));
    check(&reply, NOT_EXECUTABLE, "directory");
}

#[test]
fn a_file_without_permission_cannot_be_executed() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "file", "file": "/etc/passwd"}));
    check(&reply, NOT_EXECUTABLE, "/etc/passwd");
}

#[test]
fn arguments_beyond_the_limit_of_the_kernel_cannot_be_executed() {
    let mut node = Node::start();
    let too_long = "x".repeat(200 * 1024);
    for (name, value) in [
        ("args", json!([too_long])),
        ("env", json!({"LONG": too_long})),
    ] {
        let reply = node.ask(&and(script("true"), name, value));
        check(&reply, NOT_EXECUTABLE, "stdin");
    }
}

#[test]
fn a_working_directory_that_does_not_exist_is_refused() {
    let mut node = Node::start();
    let reply = node.ask(&and(script("true"), "cwd", "/no/such/place"));
    check(&reply, NOT_FOUND, "/no/such/place");
}

#[test]
fn a_request_id_that_is_too_long_or_odd_is_refused_on_its_own_key() {
    let mut node = Node::start();
    let long = "x".repeat(150);
    for id in [long.as_str(), "odd id!", "a%2fb", "ü"] {
        node.send_as(id, script("true").to_string().as_bytes());
        check(&node.reply(id), BAD, "request id");
        assert!(!node.job(id).exists());
    }
}

#[test]
fn status_and_cancel_of_a_request_nobody_knows_are_answered() {
    let mut node = Node::start();
    node.send_as("r8", br#"{"type":"status"}"#);
    check(&node.reply("r8"), UNKNOWN, "r8");
    node.cancel("r9");
    check(&node.reply("r9"), UNKNOWN, "r9");
}

#[test]
fn another_request_under_a_known_id_is_refused_and_the_first_one_is_answered_as_if_nothing_had_come()
 {
    let mut node = Node::start();
    let gate = node.agent.dir().join("gate");
    let first = script(&format!(
        "while ! test -e {}; do sleep 0.05; done; echo A",
        gate.display()
    ));
    node.send_as("r1", first.to_string().as_bytes());
    node.progress("r1", "accepted");
    node.send_as("r1", script("echo B").to_string().as_bytes());
    let refused = node.reply("r1");
    check(&refused, ("conflict", 125), "another content");
    let content = text_of(&refused["content"]);
    assert_eq!(content.len(), 64);
    // The first one's sender repeats it, as it does until it hears of it.
    let again = and(first, "timestamp", "another time");
    node.send_as("r1", again.to_string().as_bytes());
    std::fs::create_dir(gate).unwrap();
    assert_eq!(node.reply("r1")["stdout"], "A\n");
}

#[test]
fn a_message_with_a_wrong_routing_key_is_survived() {
    let mut node = Node::start();
    let prefix = format!("ur.request.{}", node.agent.uuid);
    let mut queue = None;
    if node.vhost.name.is_none() {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    }
    wait_until("the management knows the queue", || {
        queue = node.vhost.publish_to_queue(&prefix, "{}");
        queue.is_some()
    });
    assert_eq!(node.shell("echo still here"), "still here\n");
    let queue = queue.unwrap_or_default();
    let log = node.agent.log();
    assert!(log.contains(&queue), "the queue's name as a key: {log}");
}

#[test]
fn a_refused_request_leaves_nothing_behind_and_may_be_sent_again() {
    let mut node = Node::start();
    node.send_as("r1", b"rubbish");
    check(&node.reply("r1"), BAD, "not JSON");
    assert!(!node.job("r1").exists());
    node.send_as("r1", script("echo now").to_string().as_bytes());
    assert_eq!(node.reply("r1")["stdout"], "now\n");
}
