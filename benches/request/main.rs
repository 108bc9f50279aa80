//! What a request costs, beside what it must cost: the floors are measured in the same run, on the
//! same broker, so that a busy machine slows both. Figures, never pass or fail.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark runs programs and waits for them"
)]

mod node;
mod ssh;

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::{Broker, Publisher, Subscription, Url};
use comfy_table::{Table, presets};
use futures_util::StreamExt;
use protocol::Request;

use node::Node;

const SCRIPT: &str = "#!/bin/bash\ntrue\n";
const ONE_AT_A_TIME: usize = 500;
const IN_FLIGHT: [usize; 3] = [1, 16, 64];

fn main() -> Result<()> {
    // `cargo test` runs benches too, to see that they start.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let url = std::env::var("UR_AMQP_URL").context("UR_AMQP_URL is not set: run make bench")?;
    let mut client = Client::connect(&url).await?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "what",
        "p50 ms",
        "p99 ms",
        "/s, 1 in flight",
        "/s, 16",
        "/s, 64",
        "CPU s per 1000",
    ]);
    let broker = client.round_trips().await?;
    table.add_row(row("floor: broker and back, no exec", &broker));
    let exec = fork_and_exec()?;
    table.add_row(row("floor: fork and exec of the script", &exec));

    let node = Node::start(&url)?;
    let up = client.startup(&node).await?;
    let before = node.cpu()?;
    let single = client.run(&node, ONE_AT_A_TIME, 1).await?;
    let mut cells = row("ur: publish to reply", &single.times);
    let mut count = ONE_AT_A_TIME;
    for in_flight in IN_FLIGHT {
        let requests = if in_flight == 1 { 500 } else { 2000 };
        let run = client.run(&node, requests, in_flight).await?;
        cells.push(format!("{:.0}", run.per_second));
        count += requests;
    }
    let spent = node.cpu()? - before;
    let per_thousand = |seconds: f64| seconds * 1000.0 / count as f64;
    cells.push(format!(
        "agent {:.2}, with supervisors and scripts {:.2}",
        per_thousand(spent.own),
        per_thousand(spent.own + spent.children)
    ));
    table.add_row(cells);
    match ssh::measure(SCRIPT, ONE_AT_A_TIME / 5) {
        Ok(times) => table.add_row(row("OpenSSH, ControlMaster, an ssh for each", &times)),
        Err(error) => table.add_row([format!("OpenSSH: not measured, {error:#}")]),
    };
    println!("{table}");
    rest(&node, &single.times, median(&broker) + median(&exec), up)
}

/// What the table has no room for.
fn rest(node: &Node, single: &[f64], floor: f64, up: Duration) -> Result<()> {
    println!(
        "ur p50 / (broker + fork and exec) = {:.2}",
        median(single) / floor
    );
    println!(
        "exec of ur-agent to ur.startup on the broker: {:.1} ms",
        up.as_secs_f64() * 1e3
    );
    println!(
        "resident memory of the agent after it: {} KiB",
        node.resident_kib()?
    );
    println!(
        "where the rest goes: the job directory ({:.2} ms to write and flush); and, for as many as run at a time, the exec of the next supervisor ({:.2} ms)",
        job_directory()?,
        supervisor_exec()?
    );
    Ok(())
}

/// Milliseconds, sorted.
type Times = Vec<f64>;

struct Run {
    times: Times,
    per_second: f64,
}

fn percentile(times: &[f64], part: f64) -> f64 {
    times[((times.len() - 1) as f64 * part) as usize]
}

fn median(times: &[f64]) -> f64 {
    percentile(times, 0.5)
}

fn sorted(mut times: Times) -> Times {
    times.sort_by(f64::total_cmp);
    times
}

fn row(name: &str, times: &[f64]) -> Vec<String> {
    let cell = |part| format!("{:.2}", percentile(times, part));
    vec![name.to_owned(), cell(0.5), cell(0.99)]
}

fn timed(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Times> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(sorted(times))
}

/// The least that running a script can cost: write it, execute it, wait for it.
fn fork_and_exec() -> Result<Times> {
    let dir = node::scratch()?;
    let path = dir.path().join("script");
    timed(ONE_AT_A_TIME, || {
        std::fs::write(&path, SCRIPT)?;
        Command::new("/bin/bash").arg(&path).output()?;
        Ok(())
    })
}

fn supervisor_exec() -> Result<f64> {
    let times = timed(100, || {
        Command::new(ur_tests::program("ur-agent"))
            .arg("--version")
            .output()?;
        Ok(())
    })?;
    Ok(median(&times))
}

fn job_directory() -> Result<f64> {
    let dir = node::scratch()?;
    let spool = job::Spool::open(dir.path())?;
    let (request, node) = (Request::script(SCRIPT), protocol::NodeId::parse("n"));
    let (body, node) = (request.encode(), node.map_err(anyhow::Error::msg)?);
    let times = timed(200, || {
        let id = protocol::RequestId::random();
        spool
            .create(&id, &request, (&node, "key"), &body)
            .map(|_| ())
            .map_err(|refusal| anyhow::anyhow!(refusal.message))
    })?;
    Ok(median(&times))
}

struct Client {
    broker: Broker,
    publisher: Publisher,
    replies: Subscription,
}

impl Client {
    async fn connect(url: &str) -> Result<Self> {
        let url: Url = url.parse()?;
        let broker = Broker::connect(&url, "bench").await?;
        let keys = ["ur.execute-reply.*.*", "ur.startup.*", "bench.*"].map(str::to_owned);
        let replies = broker.subscribe("ur.client.bench", &keys).await?;
        Ok(Self {
            publisher: broker.publisher().await?,
            broker,
            replies,
        })
    }

    /// Publish, deliver to an echo consumer, publish again, deliver to us: what a request and its
    /// reply cost the broker.
    async fn round_trips(&mut self) -> Result<Times> {
        let mut echo = self
            .broker
            .subscribe("ur.client.echo", &["echo.*".to_owned()])
            .await?;
        let answer = self.broker.publisher().await?;
        let echoing = tokio::spawn(async move {
            while let Some(Ok(delivery)) = echo.next().await {
                delivery.ack().await?;
                drop(answer.publish("bench.echo", &delivery.body).await?);
            }
            anyhow::Ok(())
        });
        let mut times = Vec::new();
        for _ in 0..ONE_AT_A_TIME {
            let start = Instant::now();
            let receipt = self.publisher.publish("echo.x", SCRIPT.as_bytes()).await?;
            self.next().await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            receipt.routing().await?;
        }
        echoing.abort();
        Ok(sorted(times))
    }

    async fn startup(&mut self, node: &Node) -> Result<Duration> {
        let wanted = format!("ur.startup.{}", node.uuid);
        while self.next().await? != wanted {}
        Ok(node.started.elapsed())
    }

    /// `total` requests, so many at a time; each reply makes room for the next.
    async fn run(&mut self, node: &Node, total: usize, in_flight: usize) -> Result<Run> {
        let body = Request::script(SCRIPT).encode();
        let mut sent = HashMap::new();
        let (mut times, mut count) = (Vec::new(), 0);
        let begin = Instant::now();
        while times.len() < total {
            while count < total && sent.len() < in_flight {
                let id = protocol::RequestId::random().to_string();
                sent.insert(id.clone(), Instant::now());
                let key = format!("ur.execute.{}.{id}", node.uuid);
                drop(self.publisher.publish(&key, &body).await?);
                count += 1;
            }
            let key = self.next().await?;
            let id = key.rsplit('.').next().unwrap_or_default();
            if let Some(start) = sent.remove(id) {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(Run {
            per_second: total as f64 / begin.elapsed().as_secs_f64(),
            times: sorted(times),
        })
    }

    async fn next(&mut self) -> Result<String> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.replies.next());
        let delivery = next.await.context("nothing came for 30 s")?;
        let delivery = delivery.context("the queue is gone")??;
        delivery.ack().await?;
        Ok(delivery.routing_key)
    }
}
