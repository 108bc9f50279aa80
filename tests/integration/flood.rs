//! Floods: more of everything than a node should ever see, at once: nothing is lost or doubled, memory has bounds,
//! and a ping is answered all the while. `make flood` runs these, one after the other, and they print the
//! table of docs/reliability.md. How long something took is told and never judged.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::agent::Setup;
use crate::support::client::Client;
use crate::support::{Node, script, wait_until};

/// What an agent and a supervisor may have in memory at the worst moment, whatever is asked of them.
const MAX_AGENT: u64 = 256 << 20;
const MAX_SUPERVISOR: u64 = 16 << 20;

/// A ping that is not answered by then never will be.
const PING_PATIENCE: Duration = Duration::from_secs(600);

/// What was seen from beside during a flood.
#[derive(Default)]
struct Seen {
    pings: u32,
    slowest: Duration,
    supervisors: usize,
    /// Resident memory of the largest one, in bytes.
    supervisor: u64,
}

/// Pings the agent and weighs its supervisors until it is told that the flood is over.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    fn begin(node: &Node) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, url) = (Arc::clone(&is_over), node.vhost.url.clone());
        let (uuid, state) = (node.agent.uuid.clone(), node.agent.state_dir());
        let thread = std::thread::spawn(move || {
            let mut client = Client::listening(&url, &[format!("ur.ackwatch.{uuid}")]);
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                client.publish(
                    &format!("ur.ping.{uuid}"),
                    br#"{"client_id":"watch","id":1}"#,
                );
                // Behind thousands of requests in its queue, it takes as long as they do.
                let ack = client.take(PING_PATIENCE, |_| true);
                ack.expect("an answer to a ping");
                seen.pings += 1;
                seen.slowest = seen.slowest.max(sent.elapsed());
                let sizes = supervisors(&state);
                seen.supervisors = seen.supervisors.max(sizes.len());
                let largest = sizes.into_iter().max().unwrap_or_default();
                seen.supervisor = seen.supervisor.max(largest);
                std::thread::park_timeout(Duration::from_millis(200));
            }
            seen
        });
        Self { is_over, thread }
    }

    fn end(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every ping is answered")
    }
}

/// Memory of each supervisor of this state directory.
fn supervisors(state: &std::path::Path) -> Vec<u64> {
    let state = state.to_str().expect("a path that is text");
    let is_ours = |proc: &PathBuf| {
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("ur-agent\0supervise\0") && line.contains(state)
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let procs = entries.map(|entry| entry.path()).filter(is_ours);
    procs.filter_map(|proc| memory(&proc, "VmRSS:")).collect()
}

/// A line of a process's status, in bytes. `None` if it is gone.
fn memory(proc: &std::path::Path, name: &str) -> Option<u64> {
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Floods a new node, watches it, and prints the row of a table.
fn flood(what: &str, flood: impl FnOnce(&mut Node)) {
    let mut node = Node::with(Setup::args(&["--max-jobs", "64"]));
    node.shell("true");
    let proc = PathBuf::from(format!("/proc/{}", node.agent.pid()));
    let of_agent = |name| memory(&proc, name).expect("an agent that lives");
    let before = of_agent("VmRSS:");
    let (watch, since) = (Watch::begin(&node), Instant::now());
    flood(&mut node);
    let (took, seen) = (since.elapsed(), watch.end());
    let (most, after) = (of_agent("VmHWM:"), of_agent("VmRSS:"));
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    println!(
        "| {what} | {:.0} s | {} → {} → {} | {} × ≤ {} | {} | {} ms |",
        took.as_secs_f64(),
        mib(before),
        mib(most),
        mib(after),
        seen.supervisors,
        mib(seen.supervisor),
        seen.pings,
        seen.slowest.as_millis()
    );
    assert!(seen.pings > 0);
    assert!(most <= MAX_AGENT, "the agent had {} MiB", mib(most));
    assert!(
        seen.supervisor <= MAX_SUPERVISOR,
        "a supervisor had {} MiB",
        mib(seen.supervisor)
    );
    assert!(!node.agent.log().contains("connection lost"));
}

/// Takes everything that comes until each of `ids` has its reply; a second reply to one fails.
fn replies(node: &mut Node, ids: &[String], mut check: impl FnMut(&str, &Value)) {
    let prefix = node.key("execute-reply", "");
    let mut open: HashMap<&str, bool> = ids.iter().map(|id| (id.as_str(), true)).collect();
    let mut missing = ids.len();
    while missing > 0 {
        let message = node.client.wait_for("a message", |_| true);
        let Some(id) = message.key.strip_prefix(&prefix) else {
            continue;
        };
        let is_open = open.get_mut(id).expect("a request of ours");
        assert!(std::mem::take(is_open), "{id} is answered twice");
        check(id, &message.json());
        missing -= 1;
    }
    let last = node.send(&script("true"));
    let mut next = || node.client.wait_for("a message", |_| true).key;
    loop {
        let key = next();
        if let Some(id) = key.strip_prefix(&prefix) {
            assert_eq!(id, last, "answered twice");
            return;
        }
    }
}

#[test]
#[ignore = "takes minutes: make flood"]
fn ten_thousand_requests_are_each_answered_once() {
    flood("10,000 requests, as fast as they can be sent", |node| {
        let request = script("echo $UR_REQUEST");
        let ids: Vec<String> = (0..10_000).map(|_| node.send(&request)).collect();
        replies(node, &ids, |id, reply| {
            assert_eq!(reply["stdout"], format!("{id}\n"), "{reply}");
        });
    });
}

#[test]
#[ignore = "takes minutes: make flood"]
fn a_thousand_at_once_are_each_answered_once_with_sixty_four_running() {
    flood("1000 requests at once, of which 64 run", |node| {
        let gate = node.agent.dir().join("gate");
        let text = format!(
            "while ! test -e {}; do sleep 0.2; done; echo $UR_REQUEST",
            gate.display()
        );
        let ids: Vec<String> = (0..1000).map(|_| node.send(&script(&text))).collect();
        let jobs = node.agent.state_dir().join("jobs");
        let running = || {
            let has_pid = |id: &&String| jobs.join(id).join("pid").exists();
            ids.iter().filter(has_pid).count()
        };
        wait_until("as many run as may", || running() >= 64);
        let last = ids.last().expect("a thousand");
        node.progress(last, "queued");
        assert_eq!(running(), 64);
        fs::create_dir(gate).unwrap();
        replies(node, &ids, |id, reply| {
            assert_eq!(reply["stdout"], format!("{id}\n"), "{reply}");
        });
    });
}

#[test]
#[ignore = "takes minutes: make flood"]
fn two_gigabytes_of_output_are_counted_and_both_ends_of_them_arrive() {
    flood("2 GB of output from one script", |node| {
        let text = "echo HEAD; yes 'a line of output' | head -c 2000000000; echo; echo TAIL";
        let ids = [node.send(&script(text))];
        replies(node, &ids, |_, reply| {
            assert_eq!(reply["stdout_bytes"], 2_000_000_011_u64);
            let stdout = reply["stdout"].as_str().expect("text");
            assert!(stdout.starts_with("HEAD\na line") && stdout.ends_with("\nTAIL\n"));
        });
    });
}

#[test]
#[ignore = "takes minutes: make flood"]
fn fifty_megabytes_from_each_of_64_scripts_are_counted_and_both_ends_arrive() {
    flood("50 MB of output from each of 64 scripts at once", |node| {
        let gate = node.agent.dir().join("gate");
        let text = format!(
            "while ! test -e {}; do sleep 0.2; done; echo $UR_REQUEST; \
             yes 'a line of output' | head -c 50000000; echo; echo TAIL",
            gate.display()
        );
        let ids: Vec<String> = (0..64).map(|_| node.send(&script(&text))).collect();
        fs::create_dir(gate).unwrap();
        replies(node, &ids, |id, reply| {
            assert_eq!(reply["exit_status"], 0, "{}", reply["error"]);
            assert_eq!(reply["stdout_bytes"], 50_000_007 + id.len());
            let stdout = reply["stdout"].as_str().expect("text");
            assert!(stdout.starts_with(id) && stdout.ends_with("\nTAIL\n"));
        });
    });
}
