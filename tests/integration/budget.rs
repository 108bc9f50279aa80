//! Budgets of the agent: what it may weigh. A budget holds for what is shipped, the stripped release build; of any other
//! build the figures are printed and not judged.

use std::fs;

use serde_json::json;

use crate::support::{Node, script, wait_until};

const DISK: u64 = 6_500_000;
const RESIDENT: u64 = 5_500_000;
/// What a heap may be larger by and not have grown: pages that happen to be in use when we look. Within a minute
/// that is 53 KB; where the minute's housekeeping over the test's thousand jobs falls into it, 450 KB were seen.
const SLACK: u64 = 512 * 1024;

fn hold(what: &str, bytes: u64, budget: u64) {
    println!("{what}: {bytes} bytes, budget {budget}");
    assert!(
        cfg!(debug_assertions) || bytes <= budget,
        "{what}: {bytes} bytes, and {budget} are allowed"
    );
}

/// No more than it had `before`, and little more than when it had only connected: by then more of its code has been
/// used, which are clean pages of the file.
fn hold_still(what: &str, before: u64, after: u64) {
    println!("{what}: {before} bytes before");
    hold(what, after, RESIDENT.min(before) + SLACK);
}

/// Of the agent itself; supervisors are processes of their own.
fn resident(node: &Node) -> u64 {
    let path = format!("/proc/{}/status", node.agent.pid());
    let status = fs::read_to_string(path).expect("an agent that lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number
        .and_then(|text| text.parse().ok())
        .expect("VmRSS in kB");
    kib * 1024
}

/// For a session with TLS.
pub(crate) fn hold_resident(node: &mut Node) {
    hold("connected with TLS and idle", idle(node), RESIDENT);
}

/// Nothing runs and nothing is on its way, as far as the node says.
fn idle(node: &mut Node) -> u64 {
    let id = node.send(&script("true"));
    node.reply(&id);
    let replied = node.job(&id).join("replied");
    wait_until("the reply is confirmed", || replied.exists());
    resident(node)
}

#[test]
fn the_agent_has_at_most_6_5_mb_on_disk() {
    let file = fs::metadata(ur_tests::program("ur-agent")).unwrap();
    hold("ur-agent on disk", file.len(), DISK);
}

#[test]
fn the_agent_has_at_most_5_5_mb_in_memory_when_connected_and_idle() {
    let node = Node::start();
    hold("connected and idle", resident(&node), RESIDENT);
}

/// One request in ten is run to its end; four in ten are refused (no JSON, an unknown type); five in ten
/// repeat an id and get the earlier reply again. Each goes the whole way: queue, admission, disk where it
/// is run, ack, reply, confirm.
fn ten_requests(node: &mut Node) {
    let run = script("echo $UR_REQUEST").to_string();
    let ran = uuid::Uuid::new_v4().to_string();
    node.send_as(&ran, run.as_bytes());
    assert_eq!(node.reply(&ran)["exit_status"], 0);
    let refused: Vec<String> = [b"rubbish".as_slice(), br#"{"type":"x"}"#]
        .iter()
        .cycle()
        .take(4)
        .map(|body| {
            let id = uuid::Uuid::new_v4().to_string();
            node.send_as(&id, body);
            id
        })
        .collect();
    for _ in 0..5 {
        node.send_as(&ran, run.as_bytes());
    }
    for id in &refused {
        assert_eq!(node.reply(id)["error"]["code"], "bad_request");
    }
    for _ in 0..5 {
        assert_eq!(node.reply(&ran)["stdout"], format!("{ran}\n"));
    }
    node.client.forget();
}

#[test]
fn the_agent_does_not_grow_under_ten_thousand_requests() {
    let mut node = Node::start();
    // Buffers fill up and files are mapped in the course of the first thousand.
    (0..100).for_each(|_| ten_requests(&mut node));
    let before = idle(&mut node);
    (0..1000).for_each(|_| ten_requests(&mut node));
    hold_still("after 10,000 requests", before, idle(&mut node));
}

#[test]
fn the_agent_does_not_grow_under_a_gigabyte_of_output() {
    let mut node = Node::start();
    let output = |bytes: u64| script(&format!("yes 'a line of output' | head -c {bytes}"));
    // More than a reply holds. With the second long reply every buffer on its way has been used.
    for _ in 0..3 {
        assert_eq!(node.ask(&output(20_000_000))["exit_status"], 0);
    }
    let before = idle(&mut node);
    let reply = node.ask(&output(1_000_000_000));
    assert_eq!(reply["stdout_bytes"], json!(1_000_000_000));
    hold_still("after 1 GB of output", before, idle(&mut node));
}
