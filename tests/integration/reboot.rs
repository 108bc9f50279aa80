//! A script that exits 113 asks for a reboot of its node.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::agent::Setup;
use crate::support::{Node, code, script, wait_until};

fn leaving_a_mark(dir: &TempDir) -> Setup {
    Setup {
        reboot: Some(format!("echo reboot >>{}", mark(dir).display())),
        ..Setup::args(&["--max-jobs", "1"])
    }
}

fn mark(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("mark")
}

fn marks(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn a_reboot_is_a_success_that_is_answered_and_then_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::with(leaving_a_mark(&dir));
    let reply = node.ask(&script("exit 113"));
    assert_eq!(reply["exit_status"], 0);
    assert_eq!(reply["reboot"], true);
    wait_until("the reboot", || marks(&mark(&dir)) > 0);
    node.agent.kill();
    node.agent.start_again();
    node.wait_until_announced();
    node.shell("true");
    assert_eq!(marks(&mark(&dir)), 1);
}

#[test]
fn a_reboot_waits_for_what_still_runs() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        args: Vec::new(),
        ..leaving_a_mark(&dir)
    };
    let mut node = Node::with(setup);
    let gate = node.agent.dir().join("gate");
    let long = node.send(&script(&format!(
        "while ! test -e {}; do sleep 0.05; done; cat {}",
        gate.display(),
        mark(&dir).display()
    )));
    node.progress(&long, "accepted");
    assert_eq!(node.ask(&script("exit 113"))["reboot"], true);
    assert_eq!(code(&node.ask(&script("true"))), "refused");
    assert_eq!(marks(&mark(&dir)), 0);
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&long)["exit_status"], 1, "there was no mark yet");
    wait_until("the reboot", || marks(&mark(&dir)) == 1);
}

#[test]
fn a_request_that_waits_is_refused_when_the_one_before_it_asks_for_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::with(leaving_a_mark(&dir));
    let gate = node.agent.dir().join("gate");
    let first = node.send(&script(&format!(
        "while ! test -e {}; do sleep 0.05; done; exit 113",
        gate.display()
    )));
    let started = node.agent.dir().join("started");
    let waits = script(&format!("touch {}", started.display()));
    let waiting = [node.send(&waits), node.send(&waits)];
    for id in &waiting {
        node.progress(id, "queued");
    }
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&first)["reboot"], true);
    for id in &waiting {
        let reply = node.reply(id);
        assert_eq!(code(&reply), "refused", "{reply}");
        assert_eq!(reply["exit_status"], 125);
    }
    wait_until("the reboot", || marks(&mark(&dir)) == 1);
    assert!(!started.exists());
}
