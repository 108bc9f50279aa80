//! The memory that an agent takes at the worst, as `docs/operating.md` says.

use std::fs;

use crate::support::{Node, and, script, wait_until};

const MIB: u64 = 1024 * 1024;
/// What the page allows, besides messages.
const WORST: u64 = 256 * MIB;

/// The most that the agent has had in memory.
fn peak(node: &Node) -> u64 {
    let path = format!("/proc/{}/status", node.agent.pid());
    let status = fs::read_to_string(path).expect("an agent that lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number
        .and_then(|text| text.parse().ok())
        .expect("VmHWM in kB");
    kib * 1024
}

fn hold(node: &Node, largest: u64) {
    let (peak, allowed) = (peak(node), WORST + 4 * largest);
    println!("at most {} MiB, {} are allowed", peak / MIB, allowed / MIB);
    assert!(peak <= allowed, "{} MiB", peak / MIB);
}

#[test]
fn the_page_says_what_these_tests_hold() {
    let page = fs::read_to_string("../docs/operating.md").unwrap();
    let page = page.replace('\n', " ");
    assert!(page.contains("256 MiB and four times the largest message"));
}

#[test]
fn many_large_requests_at_once_wait_at_the_broker() {
    let mut node = Node::start();
    const LARGE: usize = 10 << 20;
    let request = script(&format!("exit 0\n{}", "#".repeat(LARGE))).to_string();
    let ids: Vec<String> = (0..40).map(|i| format!("large{i}")).collect();
    for id in &ids {
        node.send_as(id, request.as_bytes());
    }
    for id in &ids {
        assert_eq!(node.reply(id)["exit_status"], 0);
    }
    hold(&node, LARGE as u64);
}

#[test]
fn a_large_origin_is_kept_and_not_repeated() {
    /// As many as would be too much if each answer waited with its origin.
    const QUESTIONS: usize = 80;
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let text = format!(">{}; sleep 1000", mark.display());
    let request = and(script(&text), "origin", "x".repeat(4 << 20));
    node.send_as("r1", request.to_string().as_bytes());
    wait_until("it runs", || mark.exists());
    for _ in 0..QUESTIONS {
        node.send_as("r1", br#"{"type":"status"}"#);
    }
    for _ in 0..QUESTIONS {
        let status = node.progress("r1", "running");
        assert_eq!(status.get("origin"), None);
    }
    hold(&node, 4 * MIB);
    node.cancel("r1");
    node.reply("r1");
}

#[test]
fn small_values_in_great_number_are_not_read_as_such() {
    let mut node = Node::start();
    let many = "1,".repeat(1 << 20);
    for field in ["origin", "unknown"] {
        let body = format!(r#"{{"type":"script","script":"exit 0","{field}":[{many}1]}}"#);
        assert_eq!(node.ask_raw(body.as_bytes())["exit_status"], 0);
    }
    hold(&node, 2 * MIB);
}

#[test]
fn output_that_takes_six_bytes_for_one_is_shortened_before_it_is_written() {
    let mut node = Node::start();
    let text = "for fd in 1 2; do head -c 6000000 /dev/zero >&$fd; done";
    let request = and(script(text), "max_output", 64 << 20);
    let reply = node.ask(&request);
    assert_eq!(reply["stdout_bytes"], 6_000_000);
    hold(&node, MIB);
}
