//! Nodes that lie about themselves: each costs itself its place, not others theirs, and not the operator's terminal.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::agent::{Agent, Setup};
use crate::support::broker::Vhost;
use crate::support::fake_nodes::{FakeNodes, accepted, modern};
use crate::support::operator::{Said, Ur, json_lines};
use crate::support::{Node, wait_until};

const HOSTILE: &str = "evil\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\nnode9  0";

fn state() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn ur(url: &str, args: &[&str]) -> Said {
    Ur::start(url, state().path(), args).end()
}

fn claim(uuid: &str, hostname: &str, mac: &str) -> Value {
    let mut sysinfo = modern(uuid);
    sysinfo["Hostname"] = json!(hostname);
    sysinfo["Network Interfaces"] = json!({"eth0": {"MAC Address": mac, "NIC Names": ["admin"]}});
    sysinfo
}

#[track_caller]
fn is_plain(said: &Said) {
    let all = format!("{}{}", said.out, said.err);
    let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!all.contains(obeyed), "{all:?}");
    let forged = all.lines().any(|line| line.starts_with("node9"));
    assert!(!forged, "a line of a node that is not there: {all}");
}

#[test]
fn nothing_that_a_node_says_reaches_the_terminal_as_it_came() {
    let vhost = Vhost::new();
    let mut sysinfo = claim("n1", HOSTILE, "02:00:00:00:00:01");
    for field in ["Setup", "MiB of Memory", "CPU Total Cores"] {
        sysinfo[field] = json!(HOSTILE);
    }
    sysinfo["Ur Agent"]["version"] = json!(HOSTILE);
    sysinfo["Network Interfaces"]["eth0"]["ip4addr"] = json!(HOSTILE);
    let _nodes = FakeNodes::start(&vhost.url, vec![sysinfo], true, |_, _| {
        let progress = json!({"state": "running", "at": "2026-01-01T00:00:00Z", "msg": HOSTILE,
            "percent": 1e308, "eta": 1e308, "origin": {"user": HOSTILE}});
        let piece = |offset: u64| {
            (
                "execute-output",
                json!({"stream": "stdout", "offset": offset, "data": "x\n"}),
            )
        };
        let refused = json!({"exit_status": 125, "error": {"code": "refused", "message": HOSTILE}});
        vec![
            ("execute-progress", progress),
            piece(u64::MAX),
            piece(5),
            ("execute-reply", refused),
        ]
    });
    for args in [
        &["nodes"][..],
        &["nodes", "-J"],
        &["exec", "-a", "-v", "true"],
        &["exec", "-a", "-N", "true"],
        &["exec", "-a", "-j", "true"],
        &["exec", "-a", "--stream", "true"],
        &["cancel", "-a", "r1", "--wait", "0.2"],
        &["ping", "-a", "--wait", "0.2"],
        &["why", "n1", "r1"],
        &["exec", "-n", HOSTILE, "true"],
    ] {
        is_plain(&ur(&vhost.url, args));
    }
}

#[test]
fn a_command_that_is_suggested_does_nothing_else_when_a_shell_runs_it() {
    let vhost = Vhost::new();
    let sysinfo = claim("n1", "$(reboot)", "02:00:00:00:00:01");
    let _nodes = FakeNodes::start(&vhost.url, vec![sysinfo], true, |_, _| vec![accepted()]);
    let said = ur(
        &vhost.url,
        &["exec", "-a", "--request", "r1", "--wait", "0.3", "true"],
    );
    assert!(said.err.contains("ur why n1 r1"), "{}", said.err);
    said.exits(20);
}

#[test]
fn one_that_claims_the_uuid_of_another_does_not_make_it_unreachable() {
    let node = Node::start();
    let uuid = node.agent.uuid.as_str();
    let liar = claim(uuid, "liar", "02:00:00:00:00:99");
    let _liar = FakeNodes::start(&node.vhost.url, vec![liar], false, |_, _| Vec::new());
    for target in [&["-n", "testnode"][..], &["-n", uuid], &["-a"]] {
        let args = [&["exec"], target, &["echo honest"]].concat();
        let said = ur(&node.vhost.url, &args);
        assert!(
            said.err.contains("liar (02:00:00:00:00:99) is left out"),
            "{}",
            said.err
        );
        assert!(said.exits(0).contains("honest\n"));
    }
    assert_eq!(
        json_lines(&ur(&node.vhost.url, &["nodes", "-J"]).exits(0)).len(),
        1
    );
}

#[test]
fn two_machines_of_one_uuid_are_left_out_of_all_and_reached_by_name() {
    let node = Node::start();
    let uuid = node.agent.uuid.as_str();
    let others = Agent::start("other", &node.vhost.url, Setup::default());
    wait_until("the other is there", || {
        json_lines(&ur(&node.vhost.url, &["nodes", "-J"]).out).len() == 2
    });
    // A hundred answers, of which one counts: so it listens for everything, for its UUID with its MAC too.
    let twins = vec![claim(uuid, "twin", "02:00:00:00:00:99"); 100];
    let _twin = FakeNodes::start(&node.vhost.url, twins, true, |_, _| Vec::new());
    let said = ur(&node.vhost.url, &["exec", "-a", "echo $UR_NODE"]);
    assert!(
        said.err.contains("2 machines have the UUID"),
        "{}",
        said.err
    );
    let out = said.exits(20);
    assert!(out.contains(&others.uuid) && !out.contains(uuid), "{out}");
    ur(&node.vhost.url, &["exec", "-n", uuid, "true"]).exits(1);
}

#[test]
fn two_nodes_of_one_host_name_are_told_apart_and_their_name_means_neither() {
    let node = Node::start();
    let other = Agent::start("other", &node.vhost.url, Setup::default());
    wait_until("the other is there", || {
        json_lines(&ur(&node.vhost.url, &["nodes", "-J"]).out).len() == 2
    });
    let out = ur(&node.vhost.url, &["exec", "-a", "echo $UR_NODE"]).exits(0);
    for uuid in [&node.agent.uuid, &other.uuid] {
        assert!(out.contains(&format!("testnode({uuid})")), "{out}");
    }
    assert_eq!(
        ur(&node.vhost.url, &["nodes"])
            .exits(0)
            .matches("testnode !")
            .count(),
        2
    );
    let said = ur(&node.vhost.url, &["exec", "-n", "testnode", "true"]);
    said.is(1, &[&node.agent.uuid, &other.uuid]);
}

#[test]
fn answers_that_never_end_do_not_keep_a_run_from_starting() {
    let node = Node::start();
    let start = || {
        let liars = (0..200).map(|i| {
            let mut liar = modern(&format!("fake-{i}"));
            liar["answers_after"] = json!(100);
            liar
        });
        FakeNodes::start(&node.vhost.url, liars.collect(), false, |_, _| Vec::new())
    };
    let liars = start();
    let began = Instant::now();
    let uuid = node.agent.uuid.as_str();
    ur(&node.vhost.url, &["exec", "-n", uuid, "true"]).exits(0);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "of one that is named"
    );
    drop(liars);
    let _liars = start();
    let began = Instant::now();
    let chosen = format!(".UUID == \"{uuid}\"");
    let said = ur(&node.vhost.url, &["exec", "-w", &chosen, "true"]);
    assert!(
        began.elapsed() < Duration::from_secs(16),
        "{:?}",
        began.elapsed()
    );
    assert!(
        said.err.contains("though nodes still answered"),
        "{}",
        said.err
    );
    said.exits(0);
}

#[test]
fn a_long_reply_takes_no_more_memory_than_is_documented() {
    let vhost = Vhost::new();
    let _nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], true, |_, _| {
        let reply = json!({"exit_status": 0, "stdout": "x".repeat(20 * 1024 * 1024), "stderr": ""});
        vec![accepted(), ("execute-reply", reply)]
    });
    let args = ["exec", "-a", "--pickup", "600", "--wait", "600", "true"];
    let (said, peak) = Ur::start(&vhost.url, state().path(), &args).end_with_peak();
    said.exits(0);
    assert!(peak < 180, "{peak} MiB");
}

#[test]
fn output_beyond_what_was_asked_for_is_cut_and_counted() {
    let vhost = Vhost::new();
    let _nodes = FakeNodes::start(&vhost.url, vec![modern("n1")], true, |_, _| {
        let long = "x".repeat(8 * 1024 * 1024);
        let reply = json!({"exit_status": 0, "stdout": long, "stderr": ""});
        vec![accepted(), ("execute-reply", reply)]
    });
    let out = ur(&vhost.url, &["exec", "-a", "true"]).exits(0);
    assert!(out.len() < 6 * 1024 * 1024, "{}", out.len());
    assert!(out.contains("3145728 bytes of stdout are left out"));
}
