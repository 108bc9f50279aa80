//! Crashes of agents, supervisors and scripts: every request runs at most once and is answered.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use broker::Routing;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::agent::{Setup, processes_of};
use crate::support::client::Received;
use crate::support::{Node, code, script, text_of, wait_until};

/// A script that tells `mark` that it runs, and goes on when `gate` is there.
fn gated(mark: &Path, gate: &Path) -> serde_json::Value {
    script(&format!(
        "echo before; echo ran >>{}; while ! test -e {}; do sleep 0.05; done; echo after",
        mark.display(),
        gate.display()
    ))
}

fn no_other_reply(node: &mut Node) {
    node.shell("true");
    let is_reply = |message: &Received| message.key.starts_with("ur.execute-reply.");
    assert_eq!(node.client.take(Duration::ZERO, is_reply), None);
}

#[test]
fn a_script_outlives_its_agent_and_the_next_one_answers_with_all_its_output() {
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&gated(&mark, &gate));
    wait_until("the script runs", || mark.exists());
    node.agent.kill();
    node.agent.start_again();
    node.wait_until_announced();
    fs::create_dir(gate).unwrap();
    let reply = node.reply(&id);
    assert_eq!(reply["exit_status"], 0);
    assert_eq!(reply["stdout"], "before\nafter\n");
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
    no_other_reply(&mut node);
}

#[test]
fn a_script_that_ends_while_there_is_no_agent_is_answered_by_the_next() {
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&gated(&mark, &gate));
    wait_until("the script runs", || mark.exists());
    node.agent.kill();
    fs::create_dir(gate).unwrap();
    let outcome = node.job(&id).join("outcome.json");
    wait_until("the script ended", || outcome.exists());
    node.agent.start_again();
    assert_eq!(node.reply(&id)["stdout"], "before\nafter\n");
    no_other_reply(&mut node);
}

#[test]
fn a_supervisor_that_is_stopped_outlives_its_agent() {
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&script(&format!(
        "kill -STOP $PPID; : >{}; while ! test -e {}; do sleep 0.05; done; echo after",
        mark.display(),
        gate.display()
    )));
    wait_until("the script runs", || mark.exists());
    let pid = fs::read_to_string(node.job(&id).join("pid")).unwrap();
    let pid: serde_json::Value = serde_json::from_str(&pid).unwrap();
    let supervisor = pid["supervisor"]["pid"].as_i64().unwrap();
    node.agent.kill();
    node.agent.start_again();
    node.wait_until_announced();
    fs::create_dir(gate).unwrap();
    let supervisor = Pid::from_raw(i32::try_from(supervisor).unwrap()).unwrap();
    kill_process(supervisor, Signal::CONT).unwrap();
    assert_eq!(node.reply(&id)["stdout"], "after\n");
}

#[test]
fn a_waiting_request_survives_its_agent() {
    let mut node = Node::with(Setup::args(&["--max-jobs", "1"]));
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let first = node.send(&gated(&mark, &gate));
    let second = node.send(&script("echo second"));
    node.progress(&second, "queued");
    wait_until("the first runs", || mark.exists());
    node.agent.kill();
    node.agent.start_again();
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&first)["stdout"], "before\nafter\n");
    assert_eq!(node.reply(&second)["stdout"], "second\n");
}

#[test]
fn a_script_that_kills_its_supervisor_is_answered_as_undetermined() {
    let mut node = Node::start();
    let reply = node.ask(&script("kill -9 $PPID; sleep 1000"));
    assert_eq!(code(&reply), "undetermined", "{reply}");
    assert_eq!(reply["exit_status"], 125);
    assert!(text_of(&reply["error"]["message"]).contains("supervisor"));
}

#[test]
fn a_supervisor_that_dies_without_an_agent_is_answered_as_undetermined_once() {
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let request = script(&format!(
        "echo ran >>{}; while ! test -e {}; do sleep 0.05; done; kill -9 $PPID",
        mark.display(),
        gate.display()
    ));
    let id = node.send(&request);
    wait_until("the script runs", || mark.exists());
    node.agent.kill();
    fs::create_dir(gate).unwrap();
    wait_until("supervisor and script are gone", || {
        processes_of(node.agent.dir()).is_empty()
    });
    node.agent.start_again();
    assert_eq!(code(&node.reply(&id)), "undetermined");
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
    no_other_reply(&mut node);
}

#[test]
fn a_request_repeated_until_it_is_answered_runs_once_under_kills_of_the_agent() {
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let request = script(&format!("echo $UR_REQUEST >>{}; sleep 0.1", mark.display()));
    let body = request.to_string();
    let ids: Vec<String> = (0..40).map(|i| format!("r{i}")).collect();
    for (i, id) in ids.iter().enumerate() {
        let key = node.key("execute", id);
        node.client.publish(&key, body.as_bytes());
        if i % 4 == 3 {
            // A moment that is another one each time, and not too late for anything.
            std::thread::park_timeout(Duration::from_micros(fastrand::u64(0..30_000)));
            node.agent.kill();
            node.agent.start_again();
        }
    }
    for id in &ids {
        let keys = (node.key("execute", id), node.key("execute-reply", id));
        let is_reply = |message: &Received| message.key == keys.1;
        let mut reply = node.client.take(Duration::from_millis(500), is_reply);
        wait_until("the reply", || {
            if reply.is_none() && node.client.publish(&keys.0, body.as_bytes()) == Routing::Taken {
                reply = node.client.take(Duration::from_millis(500), is_reply);
            }
            reply.is_some()
        });
        assert_eq!(reply.unwrap().json()["exit_status"], 0);
    }
    let ran = fs::read_to_string(mark).unwrap();
    let mut ran: Vec<&str> = ran.lines().collect();
    ran.sort_unstable();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(ran, wanted);
}

#[test]
fn a_second_agent_on_the_same_state_directory_does_not_start() {
    let mut node = Node::start();
    let first = node.agent.log().matches("ur-agent is up").count();
    let status = node.agent.start_another();
    assert!(!status.success());
    assert_eq!(node.agent.log().matches("ur-agent is up").count(), first);
    assert_eq!(node.shell("echo the first lives"), "the first lives\n");
}

#[test]
fn a_script_that_fills_the_process_table_does_not_take_the_agent_with_it() {
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let binary = &ur_tests::program("ur-agent");
    if !crate::support::is_root() || !crate::support::runs(&nobody, &["test", "-x", binary]) {
        return eprintln!("skipped: only root can run an agent as nobody");
    }
    let limited = ["prlimit", "--nproc=60"].iter().chain(&nobody);
    let mut node = Node::with(Setup {
        wrapper: limited.map(|&word| word.to_owned()).collect(),
        prepare: Some(|dir| {
            assert!(crate::support::runs(
                &["chown", "-R", "65534:65534"],
                &[dir.to_str().unwrap()]
            ));
        }),
        ..Setup::default()
    });
    let mark = node.agent.dir().join("mark");
    let id = node.send(&script(&format!(
        "exec 2>/dev/null; (while :; do sleep 1000 & done); : >{}; exec sleep 1000",
        mark.display()
    )));
    wait_until("the table is full", || mark.exists());
    assert_eq!(code(&node.ask(&script("true"))), "busy");
    node.cancel(&id);
    assert_eq!(node.reply(&id)["cancelled"], true);
    assert_eq!(node.shell("echo room again"), "room again\n");
}

#[test]
fn a_job_directory_that_this_version_cannot_read_is_reported_and_left_alone() {
    let mut node = Node::start();
    node.agent.kill();
    let later = node.job("later");
    fs::create_dir(&later).unwrap();
    let record = later.join("request.json");
    let mut file = fs::File::create(&record).unwrap();
    write!(file, r#"{{"format":1000,"script":"of another kind"}}"#).unwrap();
    node.agent.start_again();
    node.wait_until_announced();
    assert_eq!(node.shell("echo well"), "well\n");
    let log = node.agent.log();
    assert!(
        log.contains("cannot read a job; its directory is left alone request=later"),
        "{log}"
    );
    assert!(!later.join("pid").exists() && record.exists());
}

#[test]
fn a_fork_server_that_is_killed_is_replaced() {
    let mut node = Node::start();
    for _ in 0..3 {
        assert_eq!(node.shell("echo well"), "well\n");
        let agent = Pid::from_raw(node.agent.pid().cast_signed());
        for pid in processes_of(&node.agent.state_dir()) {
            if Some(pid) != agent {
                kill_process(pid, Signal::KILL).unwrap();
            }
        }
    }
    assert_eq!(node.shell("echo still"), "still\n");
}
