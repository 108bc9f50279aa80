//! An agent that is stopped and started again, from the same file or another: scripts do not notice.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::agent::Setup;
use crate::support::{Node, runs, script, text_of, wait_until};

/// By a child: see `write_program`.
fn copy(from: &Path, to: &Path) {
    let words = [from, to].map(|path| path.to_str().expect("a path that is text"));
    assert!(runs(&["cp"], &words));
}

/// A node whose agent runs from a file of its own.
fn node_of_a_copy() -> (Node, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let binary = dir.path().join("ur-agent");
    copy(Path::new(&ur_tests::program("ur-agent")), &binary);
    let node = Node::with(Setup {
        binary: Some(binary.clone()),
        ..Setup::default()
    });
    (node, binary, dir)
}

/// A script that writes while it waits for `gate`, and says at both ends which process it is.
fn chatty(mark: &Path, gate: &Path) -> Value {
    script(&format!(
        "echo $$ >>{}; echo $$; seq 1 20000; while ! test -e {}; do sleep 0.05; done; seq 20001 40000; echo $$; exit 5",
        mark.display(),
        gate.display()
    ))
}

fn assert_unbroken(reply: &Value, mark: &Path) {
    let pid = fs::read_to_string(mark).expect("the pid");
    let lines: String = (1..=40_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(reply["exit_status"], 5, "{}", reply["error"]);
    // One pid in the file: started once. The same at both ends: never replaced.
    assert_eq!(text_of(&reply["stdout"]), format!("{pid}{lines}{pid}"));
}

#[test]
fn a_script_goes_on_while_its_agent_is_restarted_from_three_other_files() {
    let (mut node, binary, _dir) = node_of_a_copy();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&chatty(&mark, &gate));
    wait_until("the script runs", || mark.exists());
    for version in ["a", "b", "c"] {
        assert!(node.agent.stop().success(), "SIGTERM is a good end");
        let next = binary.with_extension(version);
        copy(&binary, &next);
        fs::remove_file(&binary).ok();
        node.agent.start_again_from(&next);
        node.wait_until_announced();
        assert_eq!(node.shell("echo beside"), "beside\n");
        copy(&next, &binary);
    }
    fs::create_dir(gate).unwrap();
    let reply = node.reply(&id);
    assert_unbroken(&reply, &mark);
}

#[test]
fn an_agent_whose_file_is_replaced_goes_on_and_its_successor_answers() {
    let (mut node, binary, _dir) = node_of_a_copy();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    // As a package manager does it; and what it puts there is not even a program yet.
    fs::remove_file(&binary).unwrap();
    fs::create_dir(&binary).unwrap();
    for _ in 0..3 {
        assert_eq!(node.shell("echo as before"), "as before\n");
    }
    let id = node.send(&chatty(&mark, &gate));
    wait_until("the script runs", || mark.exists());
    fs::remove_dir(&binary).unwrap();
    copy(Path::new(&ur_tests::program("ur-agent")), &binary);
    assert!(node.agent.stop().success());
    node.agent.start_again();
    node.wait_until_announced();
    fs::create_dir(gate).unwrap();
    let reply = node.reply(&id);
    assert_unbroken(&reply, &mark);
}
