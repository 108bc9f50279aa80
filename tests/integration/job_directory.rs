//! Scripts that damage their own directory, by accident or habit: each job is started once and answered with its
//! own end, though the agent is replaced meanwhile.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Node, script, text_of, wait_until};

/// Names that agent and supervisor have files of.
const NAMES: &str = "pid stdout stderr stdout.total replied unroutable cancel outcome.json \
                     outcome.room request.json script stdin rebooting progress .new-1";

/// The script tells `mark` that it began, does `what`, and ends with status 3 when `gate` is there.
fn gated(what: &str, mark: &Path, gate: &Path) -> Value {
    script(&format!(
        "echo $UR_REQUEST >>{}; {what}\n: >{0}.$UR_REQUEST; \
         while ! test -e {}; do sleep 0.05; done; echo done; exit 3",
        mark.display(),
        gate.display()
    ))
}

#[test]
fn a_script_may_do_anything_in_its_directory_and_is_started_once_and_answered() {
    let files = format!("for f in {NAMES}; do rm -rf $f; echo x >$f; done");
    let directories = format!("for f in {NAMES}; do rm -rf $f; mkdir $f; done");
    let links = format!("for f in {NAMES}; do rm -rf $f; ln -s /dev/zero $f; done");
    let sparse = format!("for f in {NAMES}; do rm -rf $f; truncate -s 2G $f; done");
    let deeds = [
        (
            "pid-file",
            "sleep 60 & echo $! >pid; kill $(cat pid); rm -f pid stdout stderr",
        ),
        ("own-pid", "echo $$ >pid"),
        ("files", files.as_str()),
        ("directories", directories.as_str()),
        ("links", links.as_str()),
        ("sparse", sparse.as_str()),
        ("pipe", "mkfifo progress pid outcome.json"),
        ("empties-it", "rm -rf ./* ../* .[a-z]*"),
        ("dirname", "cd \"$(dirname \"$0\")\"; rm -rf ./*"),
        ("itself", "rm -- \"$0\""),
        ("moves-it", "cd /; mv \"$UR_JOB_DIR\" \"$UR_JOB_DIR.old\""),
        (
            "link-to-root",
            "cd /; rm -r \"$UR_JOB_DIR\"; ln -s / \"$UR_JOB_DIR\"",
        ),
        ("closed", "chmod 0 . .."),
    ];
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    for (id, what) in deeds {
        node.send_as(id, gated(what, &mark, &gate).to_string().as_bytes());
    }
    for (id, _) in deeds {
        let done = mark.with_extension(id);
        wait_until(id, || done.exists());
    }
    node.agent.kill();
    node.agent.start_again();
    node.wait_until_announced();
    fs::create_dir(&gate).unwrap();
    for (id, what) in deeds {
        let reply = node.reply(id);
        assert_eq!(reply["exit_status"], 3, "{what}: {reply}");
        assert_eq!(text_of(&reply["stdout"]), "done\n", "{what}: {reply}");
        node.send_as(id, br#"{"type":"status"}"#);
        assert_eq!(node.reply(id), reply, "{what}");
    }
    let mut began: Vec<String> = fs::read_to_string(&mark)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    began.sort();
    let mut wanted = deeds.map(|(id, _)| id);
    wanted.sort_unstable();
    assert_eq!(began, wanted);
}

#[test]
fn a_script_that_has_a_pid_file_can_be_cancelled() {
    let mut node = Node::start();
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&gated("echo $$ >pid; : >cancel", &mark, &gate));
    let done = mark.with_extension(&id);
    wait_until("it runs", || done.exists());
    node.cancel(&id);
    assert_eq!(node.reply(&id)["cancelled"], true);
}

#[test]
fn a_script_that_removes_the_work_of_all_leaves_room_for_the_next() {
    let mut node = Node::start();
    node.shell("rm -rf ../../../work");
    assert_eq!(
        node.shell("pwd -P; echo \"$UR_JOB_DIR\"").lines().count(),
        2
    );
}
