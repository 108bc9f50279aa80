//! The fault campaign: requests keep flowing while agents, supervisors, scripts, the broker, the
//! network and a disk fail at random, and in the end every single request is accounted for.
//! `make chaos`; what it proves is in docs/reliability.md.
//!
//! Each kind of fault has a lane of its own, a thread that owns what it breaks, so faults overlap as
//! they like. A lane's choices come from the seed; what the machine does meanwhile does not.

mod account;
mod broker;
mod clock;
mod disk;
mod journal;
mod network;
mod node;
mod processes;
mod proxy;
mod request;
mod sender;

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use fastrand::Rng;
use tempfile::TempDir;

use account::Account;
use broker::Broker;
use clock::Clock;
use disk::Disk;
use journal::Journal;
use node::Node;
use proxy::Cable;
use sender::Sender;

fn main() -> ExitCode {
    if !is_asked_for() {
        return ExitCode::SUCCESS;
    }
    match campaign() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo test NAME` and `cargo test -- --list` start every test binary with these words.
fn is_asked_for() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut names = words.iter().filter(|word| !word.starts_with('-'));
    let listing = words.iter().any(|word| word == "--list");
    !listing
        && (names.clone().next().is_none() || names.any(|name| "chaos".contains(name.as_str())))
}

/// Whether every request came out as it may.
fn campaign() -> Result<bool> {
    let seed = from_env("CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let seconds = from_env("CHAOS_SECONDS")?.unwrap_or(120);
    let dir = scratch()?;
    println!(
        "chaos: CHAOS_SEED={seed} CHAOS_SECONDS={seconds}, in {}",
        dir.path().display()
    );
    let mut site = Site::build(dir.path())?;
    let account = endure(&mut site, dir.path(), seed, &Clock::start(seconds)?)?;
    println!("{account}");
    if account.is_clean() {
        return Ok(true);
    }
    if let Some(disk) = &site.disk {
        disk.copy_to(&dir.path().join("chaos-2/disk-as-it-was"))?;
    }
    drop(site);
    let dir = dir.keep();
    println!(
        "chaos: FAILED. Agents' logs, jobs and the faults are kept in {}",
        dir.display()
    );
    Ok(false)
}

struct Site {
    broker: Broker,
    cables: Vec<Cable>,
    nodes: Vec<Node>,
    disk: Option<Disk>,
}

impl Site {
    /// Two nodes, each behind a cable of its own; the second keeps its jobs on a disk that can fill.
    fn build(dir: &Path) -> Result<Self> {
        let broker = Broker::start(&dir.join("broker"))?;
        let mut site = Self {
            broker,
            cables: Vec::new(),
            nodes: Vec::new(),
            disk: None,
        };
        for name in ["chaos-1", "chaos-2"] {
            let cable = Cable::lay(site.broker.address)?;
            let node_dir = dir.join(name);
            std::fs::create_dir(&node_dir)
                .with_context(|| format!("making {}", node_dir.display()))?;
            if name == "chaos-2" {
                site.disk = Disk::mount(&node_dir.join("disk"))?;
            }
            site.nodes.push(Node::start(name, &node_dir, &cable.url())?);
            site.cables.push(cable);
        }
        Ok(site)
    }
}

/// Lets it rain for the clock's time, clears up, and waits for the last answers.
fn endure(site: &mut Site, dir: &Path, seed: u64, clock: &Clock) -> Result<Account> {
    let Site {
        broker,
        cables,
        nodes,
        disk,
    } = site;
    let journal = || Journal::open(dir, clock);
    let rng = |lane| Rng::with_seed(seed.wrapping_mul(31).wrapping_add(lane));
    let sender = Sender::new(&broker.url, nodes, rng(0));
    let mut journals = [journal()?, journal()?, journal()?, journal()?];
    let [on_processes, on_broker, on_network, on_disk] = &mut journals;
    let (sender, kills) = thread::scope(|scope| {
        let sender = scope.spawn(|| sender.run(clock));
        let lanes = [
            scope.spawn(|| broker.disturb(clock, rng(1), on_broker)),
            scope.spawn(|| network::disturb(cables, clock, rng(2), on_network)),
            scope.spawn(|| disk::disturb(disk.as_ref(), clock, rng(3), on_disk)),
        ];
        let kills = processes::disturb(nodes, clock, rng(4), on_processes);
        let over = lanes.map(|lane| lane.join().expect("a lane that does not panic"));
        clock.clear_up();
        let kept_up = processes::keep_up(nodes, on_processes, || sender.is_finished());
        let sender = sender.join().expect("a sender that does not panic")?;
        over.into_iter().collect::<Result<()>>().and(kept_up)?;
        anyhow::Ok((sender, kills?))
    })?;
    Account::of(sender, nodes, kills, &journals)
}

/// In memory where that is possible: agents flush every job to disk.
fn scratch() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ur-chaos-");
    let dir = builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir());
    dir.context("making a directory for the campaign")
}

fn from_env(name: &str) -> Result<Option<u64>> {
    let text = std::env::var(name).ok();
    let number = text.map(|text| {
        text.parse()
            .with_context(|| format!("reading {name}={text}"))
    });
    number.transpose()
}
