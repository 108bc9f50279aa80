//! The cost of a request beside its floor: what broker, fork and exec cost alone, in the same run and on the
//! same broker, so that a busy machine slows both. Figures, never pass or fail.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark runs programs and waits for them"
)]

mod client;
mod instructions;
mod node;
mod ssh;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use protocol::Request;

use client::Client;
use node::{Node, Place};

pub(crate) const SCRIPT: &str = "#!/bin/bash\ntrue\n";
const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// How many requests are sent.
#[derive(Clone, Copy)]
struct Size {
    one_at_a_time: usize,
    at_once: usize,
}

const WHOLE: Size = Size {
    one_at_a_time: 500,
    at_once: 2000,
};
/// To see that the benchmark works.
const GLANCE: Size = Size {
    one_at_a_time: 5,
    at_once: 10,
};

fn main() -> Result<()> {
    let url = std::env::var("UR_AMQP_URL").ok();
    // `cargo test` runs benchmarks too, without the flag.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (size, url) = match (is_bench, url) {
        (true, url) => (
            WHOLE,
            url.context("UR_AMQP_URL is not set: run make bench")?,
        ),
        (false, Some(url)) => (GLANCE, url),
        (false, None) => return Ok(()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&url, size))
}

async fn measure(url: &str, size: Size) -> Result<()> {
    let mut client = Client::connect(url).await?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "what",
        "p50 ms",
        "p99 ms",
        "/s, 1 in flight",
        "/s, 16",
        "/s, 64",
        "CPU s per 1000: agent",
        "in all",
    ]);
    let broker = client.round_trips(size.one_at_a_time).await?;
    table.add_row(row("floor: broker and back, no exec", &broker));
    let exec = fork_and_exec(size.one_at_a_time)?;
    table.add_row(row("floor: fork and exec of the script", &exec));
    let floor = median(&broker) + median(&exec);

    let mut notes = Vec::new();
    for (name, place, cores) in [
        ("ur, state in memory", Place::Memory, None),
        ("ur, state on a disk", Place::Disk, None),
        ("ur, state in memory, on one core", Place::Memory, Some("0")),
    ] {
        let node = Node::start(url, place, &wrapper(cores))?;
        let up = client.startup(&node).await?;
        let idle = node.resident_kib()?;
        let (cells, p50) = load(&mut client, &node, size).await?;
        table.add_row([vec![name.to_owned()], cells].concat());
        notes.push(format!(
            "{name}: p50 / floor = {:.2}; exec to ur.startup {:.1} ms; resident {idle} KiB idle, {} KiB after it all",
            p50 / floor,
            up.as_secs_f64() * 1e3,
            node.resident_kib()?
        ));
    }
    match ssh::measure(SCRIPT, size.one_at_a_time.div_ceil(5)) {
        Ok(times) => table.add_row(row("OpenSSH, ControlMaster, an ssh for each", &times)),
        Err(error) => table.add_row([format!("OpenSSH: not measured, {error:#}")]),
    };
    println!("{table}");
    notes.iter().for_each(|note| println!("{note}"));
    for place in [Place::Memory, Place::Disk] {
        println!(
            "the job directory, {place}: {:.2} ms to write and flush one",
            job_directory(place, size.one_at_a_time)?
        );
    }
    if is_whole(size) {
        println!("{}", instructions::per_request(url, &mut client).await);
    }
    Ok(())
}

fn is_whole(size: Size) -> bool {
    size.at_once == WHOLE.at_once
}

fn wrapper(cores: Option<&'static str>) -> Vec<&'static str> {
    let words = cores.map(|cores| ["taskset", "--cpu-list", cores]);
    words.into_iter().flatten().collect()
}

/// Cells of a row, and the median.
async fn load(client: &mut Client, node: &Node, size: Size) -> Result<(Vec<String>, f64)> {
    let before = node.cpu()?;
    let single = client.run(node, size.one_at_a_time, 1).await?;
    let [p50, p99] = [0.5, 0.99].map(|part| percentile(&single.times, part));
    let mut cells = vec![format!("{p50:.2}"), format!("{p99:.2}")];
    let mut count = size.one_at_a_time;
    for in_flight in IN_FLIGHT {
        let requests = match in_flight {
            1 => size.one_at_a_time,
            _ => size.at_once,
        };
        let run = client.run(node, requests, in_flight).await?;
        cells.push(format!("{:.0}", run.per_second));
        count += requests;
    }
    let spent = node.cpu()? - before;
    for seconds in [spent.agent, spent.agent + spent.others] {
        cells.push(format!("{:.2}", seconds * 1000.0 / count as f64));
    }
    Ok((cells, p50))
}

/// Milliseconds, sorted.
pub(crate) type Times = Vec<f64>;

fn percentile(times: &[f64], part: f64) -> f64 {
    times[((times.len() - 1) as f64 * part) as usize]
}

fn median(times: &[f64]) -> f64 {
    percentile(times, 0.5)
}

pub(crate) fn sorted(mut times: Times) -> Times {
    times.sort_by(f64::total_cmp);
    times
}

fn row(name: &str, times: &[f64]) -> Vec<String> {
    let cell = |part| format!("{:.2}", percentile(times, part));
    vec![name.to_owned(), cell(0.5), cell(0.99)]
}

pub(crate) fn timed(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(sorted(times))
}

/// The least that running a script can cost: write it, execute it, wait for it.
fn fork_and_exec(count: usize) -> Result<Times> {
    let dir = Place::Memory.scratch()?;
    let path = dir.path().join("script");
    timed(count, || {
        std::fs::write(&path, SCRIPT)?;
        Command::new("/bin/bash").arg(&path).output()?;
        Ok(())
    })
}

fn job_directory(place: Place, count: usize) -> Result<f64> {
    let dir = place.scratch()?;
    let spool = job::Spool::open(dir.path())?;
    let body = Request::script(SCRIPT).encode();
    let node = protocol::NodeId::parse("n").map_err(anyhow::Error::msg)?;
    let times = timed(count, || {
        let id = protocol::RequestId::random();
        spool
            .create(&id, (&node, "key"), &body)
            .map(|_| ())
            .map_err(|refusal| anyhow::anyhow!(refusal.message))
    })?;
    Ok(median(&times))
}
