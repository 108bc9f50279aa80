//! The commands of `ur-agent` besides `run`: exec, check, sysinfo.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Node, code, script};

/// Runs `ur-agent` to its end with something on its standard input. Returns its standard output.
fn ur_agent(args: &[&str], stdin: &str) -> String {
    let mut child = Command::new("timeout")
        .args(["60", &ur_tests::program("ur-agent")])
        .args(args)
        .env("UR_AMQP_URL", "amqp://u:s3cr3t@127.0.0.1:1")
        .env("NOTIFY_SOCKET", "/nonexistent")
        .env("UR_TEST_KEPT", "kept")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starting ur-agent");
    let mut to = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut to, stdin.as_bytes()).expect("a reader");
    drop(to);
    let output = child.wait_with_output().expect("its output");
    String::from_utf8(output.stdout).expect("text")
}

fn exec(request: &Value) -> Value {
    let reply = ur_agent(&["exec", "-"], &request.to_string());
    serde_json::from_str(&reply).expect("a reply")
}

#[test]
fn exec_runs_a_request_without_a_broker_and_prints_its_reply() {
    let reply = exec(&script("echo out; echo err >&2; exit 7"));
    assert_eq!(reply["exit_status"], 7);
    assert_eq!(
        (&reply["stdout"], &reply["stderr"]),
        (&json!("out\n"), &json!("err\n"))
    );
    let missing = exec(&json!({"type": "file", "file": "/no/such/file"}));
    assert_eq!(code(&missing), "not_found");
}

#[test]
fn exec_keeps_from_a_script_what_the_agent_would() {
    let reply = exec(&script("env; cat /proc/$PPID/environ"));
    let seen = reply["stdout"].as_str().expect("text");
    assert!(seen.contains("UR_TEST_KEPT=kept"), "{seen}");
    assert!(
        !seen.contains("s3cr3t") && !seen.contains("NOTIFY_SOCKET"),
        "{seen}"
    );
}

#[test]
fn check_beside_a_running_agent_finds_it_and_says_where_the_broker_is() {
    let mut node = Node::start();
    let (dir, state) = (node.agent.dir(), node.agent.state_dir());
    let sysinfo = dir.join("sysinfo");
    let paths = [&state, &sysinfo].map(|path| path.to_str().unwrap().to_owned());
    let args = [
        "--amqp-url",
        &node.vhost.url,
        "--state-dir",
        &paths[0],
        "--sysinfo",
        &paths[1],
    ];
    let said = ur_agent(&[&["check"], &args[..]].concat(), "");
    assert!(said.contains(&node.agent.uuid), "{said}");
    assert!(said.contains("held by the agent that runs here"), "{said}");
    assert!(said.contains("connected, from"), "{said}");
    assert!(!said.contains("not usable"), "{said}");
    assert_eq!(node.shell("echo undisturbed"), "undisturbed\n");
}
