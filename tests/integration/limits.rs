//! Limits of broker, kernel and keys, exceeded: each request is answered, or the log says why not.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use broker::Routing;
use serde_json::Value;

use crate::support::agent::{Agent, Setup};
use crate::support::broker::{PrivateBroker, Vhost};
use crate::support::client::{Client, Received};
use crate::support::{
    Node, and, code, is_root, runs, script, text_of, wait_until, wait_until_bound,
};

#[test]
fn a_reply_longer_than_the_broker_takes_is_shortened_and_the_session_goes_on() {
    let broker = PrivateBroker::with("max_message_size = 100000");
    let mut node = Node::at(broker.vhost(), Setup::default());
    let text = "echo HEAD; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo TAIL";
    for _ in 0..2 {
        let id = node.send(&script(text));
        let message = node.reply_message(&id);
        assert!(message.body.len() <= 100_000, "{}", message.body.len());
        let reply = message.json();
        assert_eq!(reply["exit_status"], 0);
        assert_eq!(reply["stdout_bytes"], 1_000_011);
        let stdout = text_of(&reply["stdout"]);
        assert!(stdout.starts_with("HEAD\nxxx") && stdout.ends_with("xxx\nTAIL\n"));
    }
    // Pieces of output have 64 KiB, and twice that where they are no text: these are left out.
    let binary = "head -c 200000 /dev/zero | tr '\\0' '\\377'; sleep 1";
    let reply = node.ask(&and(script(binary), "stream", true));
    assert_eq!(reply["stdout_bytes"], 200_000);
    let log = node.agent.log();
    assert!(!log.contains("connection lost"), "{log}");
    assert!(!log.contains("publishing stopped"), "{log}");
}

#[test]
fn a_request_id_that_is_too_long_is_refused_or_logged_where_no_key_can_answer() {
    let mut node = Node::start();
    let request = script("true").to_string();
    let longest_answered = 255 - node.key("execute-reply", "").len();
    for len in [129, longest_answered] {
        let id = "x".repeat(len);
        node.send_as(&id, request.as_bytes());
        assert_eq!(code(&node.reply(&id)), "bad_request");
    }
    let longest_sent = 255 - node.key("execute", "").len();
    assert!(longest_sent > longest_answered);
    for len in longest_answered + 1..=longest_sent {
        node.send_as(&"y".repeat(len), request.as_bytes());
    }
    assert_eq!(node.shell("echo still here"), "still here\n");
    let log = node.agent.log();
    let told = log.matches("no key can answer it").count();
    assert_eq!(told, longest_sent - longest_answered, "{log}");
    assert!(!log.contains("connection lost"), "{log}");
}

#[test]
fn a_routing_key_with_a_wrong_number_of_words_is_unroutable_for_its_sender() {
    let vhost = Vhost::new();
    // One that does not itself listen to what it sends.
    let sender = Client::connect(&vhost.url, "nobody");
    let agent = Agent::start("n1", &vhost.url, Setup::default());
    wait_until_bound(&sender);
    for key in [
        "ur.execute.n1",
        "ur.execute.n1.r1.x",
        "ur.cancel.n1",
        "ur.cancel.n1.r1.x",
        "ur.ping.n1.x",
        "ur.broadcast.sysinfo",
        "ur.broadcast.sysinfo.r1.x",
    ] {
        let routing = sender.publish(key, script("true").to_string().as_bytes());
        assert_eq!(routing, Routing::Unroutable, "{key}");
    }
    let client = Client::connect(&vhost.url, "n1");
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    assert_eq!(node.shell("echo still here"), "still here\n");
}

#[test]
fn a_thousand_requests_at_once_are_each_answered_once_and_a_ping_too() {
    let mut node = Node::with(Setup::args(&["--max-jobs", "8"]));
    let gate = node.agent.dir().join("gate");
    let request = script(&format!(
        "while ! test -e {}; do sleep 0.1; done; echo $UR_REQUEST",
        gate.display()
    ));
    let ids: Vec<String> = (0..1000).map(|_| node.send(&request)).collect();
    // Eight run and none can end: whatever answers now does so beside them.
    node.ping();
    fs::create_dir(gate).unwrap();
    for id in &ids {
        let reply = node.reply(id);
        assert_eq!(reply["stdout"], format!("{id}\n"), "{reply}");
    }
    node.shell("true");
    let is_reply = |message: &Received| message.key.starts_with("ur.execute-reply.");
    assert_eq!(node.client.take(Duration::ZERO, is_reply), None);
}

#[test]
fn a_fork_bomb_within_a_limit_is_ended_whole_by_its_time_limit() {
    // A user of its own: the limit counts all processes of a user.
    let other_user = [
        "prlimit",
        "--nproc=80",
        "setpriv",
        "--reuid=65533",
        "--regid=65533",
        "--clear-groups",
    ];
    if !is_root() || !runs(&other_user, &["test", "-x", &ur_tests::program("ur-agent")]) {
        return eprintln!("skipped: only root can run an agent as another user");
    }
    let mut node = Node::with(Setup {
        wrapper: other_user.map(str::to_owned).to_vec(),
        prepare: Some(|dir| {
            assert!(runs(
                &["chown", "-R", "65533:65533"],
                &[dir.to_str().unwrap()]
            ));
        }),
        ..Setup::default()
    });
    let bomb = script("exec 2>/dev/null; bomb() { bomb | bomb & }; bomb; wait; sleep 1000");
    let id = node.send(&and(bomb, "timeout", 2));
    node.progress(&id, "accepted");
    node.ping();
    let reply = node.reply(&id);
    assert_eq!(reply["timed_out"], true, "{reply}");
    assert_eq!(node.shell("echo room again"), "room again\n");
}

#[test]
fn an_agent_without_descriptors_refuses_and_believes_nothing_of_what_it_cannot_read() {
    let mut node = Node::start();
    let [mark, gate] = ["mark", "gate"].map(|name| node.agent.dir().join(name));
    let id = node.send(&script(&format!(
        ": >{}; until test -e {}; do sleep 0.05; done; echo whole",
        mark.display(),
        gate.display()
    )));
    wait_until("it runs", || mark.exists());
    let pid = format!("--pid={}", node.agent.pid());
    let limit = |files: &str| assert!(runs(&["prlimit", &pid], &[&format!("--nofile={files}:")]));
    // Of what is open, none is closed.
    limit("8");
    let refused = node.ask(&script("true"));
    assert_eq!(code(&refused), "storage", "{refused}");
    fs::create_dir(gate).unwrap();
    node.logs("cannot look at an outcome yet");
    limit("1024");
    assert_eq!(node.reply(&id)["stdout"], "whole\n");
    assert_eq!(node.shell("echo back"), "back\n");
}

/// Agent, supervisor and script, each in turn, find fewer than they need.
#[test]
fn with_any_number_of_descriptors_a_script_runs_whole_or_is_told_not_to_have_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| File::create(dir.path().join(name)).unwrap();
    let request = script("echo whole; exit 7").to_string();
    file("request").write_all(request.as_bytes()).unwrap();
    let mut ran = 0;
    for files in 4..24 {
        let mut exec = Command::new("prlimit");
        exec.arg(format!("--nofile={files}:"));
        exec.args([&ur_tests::program("ur-agent"), "exec"]);
        exec.arg(dir.path().join("request"));
        exec.env("TMPDIR", dir.path());
        exec.stdout(file("stdout"))
            .stderr(file("stderr"))
            .status()
            .unwrap();
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| {
            let text = fs::read_to_string(dir.path().join(name));
            text.unwrap()
        });
        let Ok(reply) = serde_json::from_str::<Value>(&stdout) else {
            assert!(!stderr.is_empty(), "{files}: {stdout}");
            continue;
        };
        match reply["exit_status"] == 7 {
            true => assert_eq!(reply["stdout"], "whole\n", "{files}"),
            false => assert_ne!(code(&reply), "no error", "{files}: {reply}"),
        }
        ran += u32::from(reply["exit_status"] == 7);
    }
    assert!(ran > 0);
}
