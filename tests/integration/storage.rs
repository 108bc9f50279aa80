//! A state directory that is full or read-only: nothing is lost, and everything gets an answer. The agent
//! has a small tmpfs of its own there, in a mount namespace that ends with it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::support::agent::{Agent, Setup};
use crate::support::{Node, and, code, is_root, runs, script, text_of, wait_until};

/// An agent whose state directory is a tmpfs with these options. `None` where that is not allowed.
fn on_tmpfs(options: &str) -> Option<Setup> {
    if !is_root() || !runs(&["unshare", "--mount"], &["true"]) {
        return None;
    }
    let mount =
        format!("mount -t tmpfs -o mode=700,{options} tmpfs \"$UR_TEST_DIR/state\" && exec \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    Some(Setup {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        ..Setup::default()
    })
}

/// A file of the job, as the agent sees it.
fn seen_by_agent(node: &Node, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", node.agent.pid()));
    root.join(path.strip_prefix("/").expect("a whole path"))
}

#[test]
fn output_that_fills_the_state_directory_is_counted_and_answered_in_part() {
    let Some(setup) = on_tmpfs("size=256k") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let request = script("echo HEAD; head -c 6000000 /dev/zero | tr '\\0' x; exit 7");
    let reply = node.ask(&request);
    assert_eq!(reply["exit_status"], 7, "{reply}");
    assert_eq!(reply["stdout_bytes"], 6_000_005);
    let stdout = text_of(&reply["stdout"]);
    assert!(stdout.starts_with("HEAD\nxxx"), "{}", stdout.len());
    assert!(stdout.len() < 256 * 1024, "{}", stdout.len());
}

#[test]
fn a_request_that_finds_no_room_is_refused_and_runs_when_there_is_room() {
    let Some(setup) = on_tmpfs("size=256k") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let id = node.send(&script(
        "cat /dev/zero >\"$UR_JOB_DIR/filler\" 2>/dev/null; echo full",
    ));
    let reply = node.reply(&id);
    assert_eq!(reply["exit_status"], 0, "{reply}");
    let refused = node.ask(&script("echo never"));
    assert_eq!(code(&refused), "storage", "{refused}");
    assert_eq!(refused["exit_status"], 125);
    node.ping();
    let filler = seen_by_agent(&node, &node.work(&id).join("filler"));
    std::fs::remove_file(filler).unwrap();
    assert_eq!(node.shell("echo room"), "room\n");
}

#[test]
fn a_script_larger_than_the_room_is_refused_and_leaves_nothing_behind() {
    let Some(setup) = on_tmpfs("size=256k") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let large = script(&"# a comment\n".repeat(50_000));
    for request in [&large, &and(script("true"), "stdin", "x".repeat(500_000))] {
        let reply = node.ask(request);
        assert_eq!(code(&reply), "storage", "{reply}");
    }
    assert_eq!(node.shell("echo room"), "room\n");
}

#[test]
fn requests_to_a_full_state_directory_are_each_run_or_refused() {
    let Some(setup) = on_tmpfs("size=512k") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let ids: Vec<String> = (0..50).map(|_| node.send(&script("echo x"))).collect();
    let replies: Vec<_> = ids.iter().map(|id| node.reply(id)).collect();
    // Of what one prints there may be no room for a byte: it is counted all the same.
    let ran = replies.iter().filter(|reply| reply["exit_status"] == 0);
    let ran = ran.filter(|reply| reply["stdout_bytes"] == 2).count();
    let refused = replies.iter().filter(|reply| code(reply) == "storage");
    assert_eq!(ran + refused.count(), 50, "{replies:#?}");
    assert!((1..50).contains(&ran), "{ran} of 50 ran");
}

/// Runs a command where the agent's own mounts are.
fn runs_within(node: &Node, words: &[&str]) -> bool {
    let pid = node.agent.pid().to_string();
    runs(&["nsenter", "--mount", "--target", &pid], words)
}

fn make_jobs_read_only(node: &Node) -> String {
    let jobs = node.agent.state_dir().join("jobs");
    let jobs = jobs.to_str().expect("a path that is text");
    for words in [
        &["mount", "--bind", jobs, jobs][..],
        &["mount", "-o", "remount,bind,ro", jobs],
    ] {
        assert!(runs_within(node, words));
    }
    jobs.to_owned()
}

#[test]
fn a_state_directory_that_became_read_only_refuses_requests() {
    let Some(setup) = on_tmpfs("size=1m") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let jobs = make_jobs_read_only(&node);
    let reply = node.ask(&script("true"));
    assert_eq!(code(&reply), "storage", "{reply}");
    assert!(
        text_of(&reply["error"]["message"]).contains("Read-only"),
        "{reply}"
    );
    node.ping();
    assert!(runs_within(&node, &["umount", &jobs]));
    assert_eq!(node.shell("echo writable"), "writable\n");
}

#[test]
fn a_job_whose_state_directory_became_read_only_is_answered_and_can_be_cancelled() {
    let Some(setup) = on_tmpfs("size=1m") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let [mark, gate] = ["mark", "gate"].map(|name| node.agent.dir().join(name));
    let until = |name: &str| {
        let (mark, gate) = (mark.display(), gate.display());
        script(&format!(
            ": >{mark}.{name}; while ! test -e {gate}.{name}; do sleep 0.05; done"
        ))
    };
    let ids = ["ends", "cancelled"];
    for id in ids {
        node.send_as(id, until(id).to_string().as_bytes());
        wait_until("it runs", || mark.with_extension(id).exists());
    }
    make_jobs_read_only(&node);
    std::fs::create_dir(gate.with_extension("ends")).unwrap();
    node.cancel("cancelled");
    for id in ids {
        let reply = node.reply(id);
        assert_eq!(code(&reply), "undetermined", "{reply}");
        // Asked again, it is no other answer.
        node.send_as(id, until(id).to_string().as_bytes());
        assert_eq!(node.reply(id), reply);
    }
    node.ping();
}

#[test]
fn an_agent_whose_state_directory_is_read_only_says_so_and_does_not_start() {
    let Some(setup) = on_tmpfs("ro") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut agent = Agent::start("n1", "amqp://127.0.0.1:1", setup);
    wait_until("it gives up", || agent.has_ended());
    let log = agent.log();
    let state = agent.state_dir();
    assert!(
        log.contains("Read-only") && log.contains(state.to_str().unwrap()),
        "{log}"
    );
}

#[test]
fn a_request_of_a_known_id_is_answered_again_though_the_disk_is_full() {
    let Some(setup) = on_tmpfs("size=256k") else {
        return eprintln!("skipped: only root can mount");
    };
    let mut node = Node::with(setup);
    let body = script("cat /dev/zero >\"$UR_JOB_DIR/filler\" 2>/dev/null; echo full").to_string();
    node.send_as("r1", body.as_bytes());
    let first = node.reply_message("r1");
    node.send_as("r1", body.as_bytes());
    assert_eq!(node.reply_message("r1").body, first.body);
    assert_eq!(first.json()["exit_status"], 0);
}

/// An agent whose state directory is on a disk of its own, and a file of memory that the disk is.
fn on_own_disk() -> Option<(Setup, OwnedFd)> {
    let disk = memfd_create("disk", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    ftruncate(&disk, 32 * 1024 * 1024).ok()?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), disk.as_raw_fd());
    let make =
        format!("mkfs.ext4 -q -F -O ^has_journal {path} && mount -o loop,errors=continue {path}");
    if !is_root()
        || !runs(
            &["unshare", "--mount", "sh", "-c"],
            &[&format!("{make} /mnt")],
        )
    {
        return None;
    }
    let make =
        format!("{make} \"$UR_TEST_DIR/state\" && chmod 700 \"$UR_TEST_DIR/state\" && exec \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &make, "sh"];
    let setup = Setup {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        ..Setup::default()
    };
    Some((setup, disk))
}

#[test]
fn on_a_disk_that_fails_everything_is_answered_and_a_job_can_be_cancelled() {
    let Some((setup, disk)) = on_own_disk() else {
        return eprintln!("skipped: only root can mount, and a loop device");
    };
    let mut node = Node::with(setup);
    let [mark, gate] = ["mark", "gate"].map(|name| node.agent.dir().join(name));
    let started = format!(": >{}.$UR_REQUEST", mark.display());
    let until = format!(
        "{started}; until test -e {}; do sleep 0.05; done",
        gate.display()
    );
    let endless = format!("{started}; exec sleep 1000");
    let ids = [until, endless].map(|text| node.send(&script(&text)));
    for id in &ids {
        wait_until("it runs", || mark.with_extension(id).exists());
    }
    // From now on every write to the disk is an I/O error.
    fcntl_add_seals(&disk, SealFlags::WRITE).unwrap();
    let refused = node.ask(&script("true"));
    assert_eq!(code(&refused), "storage", "{refused}");
    std::fs::create_dir(gate).unwrap();
    node.cancel(&ids[1]);
    for id in &ids {
        let reply = node.reply(id);
        assert_eq!(code(&reply), "undetermined", "{reply}");
    }
    node.ping();
}
