//! A day without a broker, in a minute: thousands of attempts to connect leave nothing behind in the
//! process that makes them, and the first good one is taken. The long one is part of `make flood`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Broker, Url, error_chain};

use crate::support::broker::Vhost;
use crate::support::fake_broker::{FakeBroker, Fault};
use crate::support::wait_until;

/// As many attempts take the heap to its size.
const FIRST: usize = 60;
/// What a heap may be larger by and not have grown: pages that happen to be in use when we look.
const SLACK: usize = 512;
/// How long an attempt waits for TCP, and again for AMQP; an agent waits for seconds.
const LIMIT: Duration = Duration::from_millis(100);
/// Tells the process that connects where to.
const URL: &str = "UR_TEST_ATTEMPTS";

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Weight {
    resident_kib: usize,
    threads: usize,
    descriptors: usize,
}

/// A process that tries to connect as the agent does, without its back-off.
struct Attempts {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Attempts {
    fn start(url: &str) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a log");
        let own = std::env::current_exe().expect("this program");
        let to = File::options().append(true).open(log.path());
        let child = Command::new(own)
            .args(["--exact", "long_outage::the_process_that_connects"])
            .args(["--ignored", "--nocapture"])
            .env(URL, url)
            .stdin(Stdio::null())
            .stdout(to.expect("an open log"))
            .spawn();
        Self {
            child: child.expect("this program again"),
            log,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("its log")
    }

    fn count(&self) -> usize {
        self.log().matches("failed: ").count()
    }

    fn wait_for(&self, count: usize) {
        let mut seen = 0;
        while seen < count {
            // A machine that is busy makes fewer, but some.
            wait_until("another attempt", || self.count() > seen);
            seen = self.count();
        }
    }

    fn weight(&self) -> Weight {
        let proc = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{proc}/status")).expect("a process that lives");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).expect("a number")
        };
        Weight {
            // Without the pages of the program's file: of those, half a megabyte comes in when code first runs.
            resident_kib: number("RssAnon:"),
            threads: number("Threads:"),
            descriptors: fs::read_dir(format!("{proc}/fd"))
                .expect("its descriptors")
                .count(),
        }
    }

    /// The least of many looks, because an attempt under way has a thread and a descriptor or two.
    fn least_weight(&self) -> Weight {
        let mut least = self.weight();
        for _ in 0..200 {
            std::thread::park_timeout(Duration::from_millis(2));
            let now = self.weight();
            least.resident_kib = least.resident_kib.min(now.resident_kib);
            least.threads = least.threads.min(now.threads);
            least.descriptors = least.descriptors.min(now.descriptors);
        }
        least
    }

    /// Weighs the process again, and finds no more than before.
    fn settled(&self, before: Weight) -> Weight {
        let mut after = self.least_weight();
        wait_until("no more threads and descriptors than at the start", || {
            let now = self.weight();
            after.threads = after.threads.min(now.threads);
            after.descriptors = after.descriptors.min(now.descriptors);
            after.threads <= before.threads && after.descriptors <= before.descriptors
        });
        assert!(
            after.resident_kib <= before.resident_kib + SLACK,
            "{before:?} {after:?}"
        );
        after
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
#[ignore = "the process that the other tests of this file start"]
fn the_process_that_connects() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let url: Url = url.parse().expect("a URL");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        loop {
            match Broker::connect_within(&url, "ur test", LIMIT).await {
                Ok(broker) => {
                    broker.close().await.expect("a goodbye");
                    return println!("connected");
                }
                Err(error) => println!("failed: {}", error_chain(&error)),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// The process is kept out, weighed, and let in. Prints the row of a table.
fn outage((what, expected): (&str, &str), attempts: usize, url: &str, let_in: impl FnOnce()) {
    let process = Attempts::start(url);
    process.wait_for(FIRST);
    let (before, since, begun) = (process.least_weight(), Instant::now(), process.count());
    process.wait_for(attempts);
    let (took, made) = (since.elapsed(), process.count() - begun);
    let log = process.log();
    assert!(log.contains(expected), "{log}");
    let after = process.settled(before);
    let_in();
    wait_until("the first good attempt", || {
        process.log().contains("connected")
    });
    println!(
        "| {what} | {} | {:.0} ms | {} → {} KiB | {} → {} | {} → {} |",
        process.count(),
        took.as_secs_f64() * 1e3 / made as f64,
        before.resident_kib,
        after.resident_kib,
        before.threads,
        after.threads,
        before.descriptors,
        after.descriptors
    );
}

/// The parts of `amqp://login@address/vhost`.
fn parts(url: &str) -> (&str, SocketAddr, &str) {
    let (login, rest) = url.rsplit_once('@').expect("a login");
    let (address, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    (login, address.parse().expect("an address"), vhost)
}

fn with_a_fake_broker(fault: Fault, expected: &str, attempts: usize) {
    let vhost = Vhost::new();
    let (login, broker, name) = parts(&vhost.url);
    let mut fake = FakeBroker::start(fault, broker);
    let url = format!("{login}@{}/{name}", fake.address());
    let what = format!("{fault:?}");
    outage((&what, expected), attempts, &url, || fake.let_in());
}

fn with_a_wrong_password(attempts: usize) {
    let vhost = Vhost::new();
    let Some(name) = vhost.name.clone() else {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    };
    let user = format!("ur-kept-out-{name}");
    let (_, broker, _) = parts(&vhost.url);
    let url = format!("amqp://{user}:s3cr3t@{broker}/{name}");
    let mut vhost = Some(vhost);
    outage(("Password", "ACCESS_REFUSED"), attempts, &url, || {
        let with_user = vhost.take().expect("once").with_user(&user, "s3cr3t");
        vhost = Some(with_user.expect("a management"));
    });
    vhost.expect("let in").delete_user(&user);
}

#[test]
fn two_hundred_attempts_that_are_refused_leave_nothing_behind() {
    with_a_fake_broker(Fault::Refused, "Connection refused", 200);
}

#[test]
fn two_hundred_attempts_whose_syn_is_dropped_leave_nothing_behind() {
    with_a_fake_broker(Fault::Dropped, "no answer to TCP", 200);
}

#[test]
fn a_hundred_and_fifty_attempts_that_meet_silence_leave_nothing_behind() {
    with_a_fake_broker(Fault::Silent, "no answer to AMQP", 150);
}

#[test]
fn two_hundred_attempts_that_meet_tls_leave_nothing_behind() {
    with_a_fake_broker(Fault::Tls, "connecting to", 200);
}

#[test]
fn a_hundred_and_fifty_attempts_with_a_wrong_password_leave_nothing_behind() {
    with_a_wrong_password(150);
}

#[test]
#[ignore = "takes minutes: make flood"]
fn a_day_of_attempts_leaves_nothing_behind() {
    println!(
        "| | attempts | one each | resident | threads | descriptors |\n|---|---|---|---|---|---|"
    );
    with_a_fake_broker(Fault::Refused, "Connection refused", 2000);
    with_a_fake_broker(Fault::Dropped, "no answer to TCP", 2000);
    with_a_fake_broker(Fault::Tls, "connecting to", 2000);
    with_a_fake_broker(Fault::Silent, "no answer to AMQP", 2000);
    with_a_wrong_password(2000);
}
