//! A day without a broker, in a hurry: thousands of attempts leave nothing behind in the agent, are spread
//! as they should be, and the first good one is taken. The long one is part of `make flood`.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::agent::{Agent, Setup};
use crate::support::broker::Vhost;
use crate::support::client::Client;
use crate::support::fake_broker::{FakeBroker, Fault};
use crate::support::{Node, wait_until, wait_until_bound};

/// The back-off's thirty seconds become 30 ms.
const HURRY: u32 = 1000;
/// As many attempts take the back-off to its most, and the agent's heap to its size.
const FIRST: usize = 60;
/// What a heap may be larger by and not have grown: pages that happen to be in use when we look.
const SLACK: usize = 512;

/// What an agent holds.
#[derive(Clone, Copy, Debug)]
struct Weight {
    resident_kib: usize,
    threads: usize,
    descriptors: usize,
}

impl Weight {
    fn of(agent: &Agent) -> Self {
        let proc = format!("/proc/{}", agent.pid());
        let status = fs::read_to_string(format!("{proc}/status")).expect("an agent that lives");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).expect("a number")
        };
        Self {
            resident_kib: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors: fs::read_dir(format!("{proc}/fd"))
                .expect("its descriptors")
                .count(),
        }
    }

    /// The least of many looks, because an attempt under way has a thread and a descriptor or two.
    fn least(agent: &Agent) -> Self {
        let mut least = Self::of(agent);
        for _ in 0..200 {
            std::thread::park_timeout(Duration::from_millis(2));
            let now = Self::of(agent);
            least.resident_kib = least.resident_kib.min(now.resident_kib);
            least.threads = least.threads.min(now.threads);
            least.descriptors = least.descriptors.min(now.descriptors);
        }
        least
    }
}

fn attempts(agent: &Agent) -> usize {
    agent.log().matches("no broker").count()
}

fn wait_for_attempts(agent: &Agent, count: usize) {
    let mut seen = 0;
    while seen < count {
        // A machine that is busy makes fewer, but some.
        wait_until("another attempt", || attempts(agent) > seen);
        seen = attempts(agent);
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The waits that the agent drew, in milliseconds, once they are drawn from the whole range.
fn waits(log: &str) -> Vec<f64> {
    let drawn = log.lines().filter_map(|line| line.split_once("retry_in="));
    let drawn = drawn.map(|(_, rest)| rest.split_whitespace().next().expect("a time"));
    let millis = |text: &str| {
        let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix("µs")) {
            (Some(number), _) => (number, 1.0),
            (_, Some(number)) => (number, 1e-3),
            _ => (text.trim_end_matches("ns"), 1e-6),
        };
        number.parse::<f64>().expect("a number") * factor
    };
    drawn.skip(10).map(millis).collect()
}

/// Full jitter: every wait up to the most is as likely as any other.
fn assert_spread(waits: &[f64]) {
    let most = 30_000.0 / f64::from(HURRY);
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    let share = |from: f64, to: f64| {
        let within = waits
            .iter()
            .filter(|&&wait| wait >= from * most && wait < to * most);
        within.count() as f64 / waits.len() as f64
    };
    assert!(waits.iter().all(|&wait| wait <= most), "{waits:?}");
    // With 140 waits the mean is off by more than this once in 10^5 runs, a quarter's share likewise.
    assert!((0.38..0.62).contains(&(mean / most)), "{mean} of {most}");
    for quarter in 0..4 {
        let from = f64::from(quarter) / 4.0;
        let share = share(from, from + 0.25);
        assert!((0.08..0.42).contains(&share), "{share} from {from}");
    }
}

/// A way of not getting in.
struct Case {
    what: String,
    /// What the agent's log says of it.
    said: &'static str,
    attempts: usize,
}

/// The agent is kept out, weighed, and let in. Returns the row of a table.
fn outage(
    case: &Case,
    url: &str,
    vhost: Vhost,
    let_in: impl FnOnce(Vhost) -> Vhost,
) -> (String, Node) {
    let setup = Setup {
        env: vec![("UR_HURRY".to_owned(), HURRY.to_string())],
        ..Setup::default()
    };
    let uuid = uuid::Uuid::new_v4().to_string();
    let agent = Agent::start(&uuid, url, setup);
    wait_for_attempts(&agent, FIRST);
    let (before, since, begun) = (Weight::least(&agent), Instant::now(), attempts(&agent));
    wait_for_attempts(&agent, case.attempts);
    let (took, made) = (since.elapsed(), attempts(&agent) - begun);
    let log = agent.log();
    assert!(log.contains(case.said), "{log}");
    assert_spread(&waits(&log));
    let after = settled(&agent, before);
    let vhost = let_in(vhost);
    let client = Client::connect(&vhost.url, &uuid);
    wait_until_bound(&client);
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    assert_eq!(node.shell("echo back"), "back\n");
    let row = format!(
        "| {} | {} | {:.0} ms | {} → {} KiB | {} → {} | {} → {} |",
        case.what,
        attempts(&node.agent),
        took.as_secs_f64() * 1e3 / made as f64,
        before.resident_kib,
        after.resident_kib,
        before.threads,
        after.threads,
        before.descriptors,
        after.descriptors
    );
    (row, node)
}

/// Weighs the agent again, and finds no more than before.
fn settled(agent: &Agent, before: Weight) -> Weight {
    let mut after = Weight::least(agent);
    wait_until("no more threads and descriptors than at the start", || {
        let now = Weight::of(agent);
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

/// The parts of `amqp://login@address/vhost`.
fn parts(url: &str) -> (&str, SocketAddr, &str) {
    let (login, rest) = url.rsplit_once('@').expect("a login");
    let (address, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    (login, address.parse().expect("an address"), vhost)
}

fn with_a_fake_broker(fault: Fault, said: &'static str, attempts: usize) {
    let vhost = Vhost::new();
    let (login, broker, name) = parts(&vhost.url);
    let mut fake = FakeBroker::start(fault, broker);
    let url = format!("{login}@{}/{name}", fake.address());
    let case = Case {
        what: format!("{fault:?}"),
        said,
        attempts,
    };
    let let_in = |vhost| {
        fake.let_in();
        vhost
    };
    println!("{}", outage(&case, &url, vhost, let_in).0);
}

fn with_a_wrong_password(attempts: usize) {
    let vhost = Vhost::new();
    let Some(name) = vhost.name.clone() else {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    };
    let user = format!("ur-kept-out-{name}");
    let (_, broker, _) = parts(&vhost.url);
    let url = format!("amqp://{user}:s3cr3t@{broker}/{name}");
    let case = Case {
        what: "Password".to_owned(),
        said: "ACCESS_REFUSED",
        attempts,
    };
    let let_in = |vhost: Vhost| vhost.with_user(&user, "s3cr3t").expect("a management");
    let (row, node) = outage(&case, &url, vhost, let_in);
    println!("{row}");
    node.vhost.delete_user(&user);
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
    // Each of these waits for what does not come, a tenth of a second at least.
    with_a_fake_broker(Fault::Silent, "no answer to AMQP", 2000);
    with_a_wrong_password(2000);
}
