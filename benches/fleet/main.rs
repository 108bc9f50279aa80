//! The cost of `ur` over a fleet, beside a bare client that publishes and consumes the same messages on the
//! same broker in the same run; and how soon real agents are back after their broker was restarted.
//! Figures, never pass or fail.

mod fake_nodes;
mod floor;
mod program;
mod restart;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use broker::Url;
use comfy_table::{CellAlignment, Table, presets};

use program::{Run, ur};

const NODES: [usize; 3] = [100, 1_000, 10_000];
const AGENTS: usize = 300;
/// Of each figure the median of so many is shown; the floor's and `ur`'s alternate.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = std::env::var("UR_AMQP_URL");
    if let [word, count] = args.as_slice()
        && word == "serve"
    {
        let url: Url = url?.parse()?;
        return runtime.block_on(fake_nodes::serve(&url, count.parse()?));
    }
    let url = url.context("UR_AMQP_URL is not set: run make bench-fleet")?;
    runtime.block_on(measure(&url))
}

async fn measure(url: &str) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "nodes",
        "what",
        "floor s",
        "ur s",
        "ratio",
        "ur CPU s",
        "ur peak MiB",
        "answered",
    ]);
    for column in [0, 2, 3, 4, 5, 6, 7] {
        let column = table.column_mut(column).context("a column of the header")?;
        column.set_cell_alignment(CellAlignment::Right);
    }
    for count in counts()? {
        let mut fleet = Fleet::start(url, count)?;
        for row in fleet.rows(url).await? {
            table.add_row(row);
        }
        eprintln!("{}", table.lines().last().unwrap_or_default());
    }
    println!("{table}");
    println!(
        "Of exec and ping, the time from the first request at a node to the end, discovery not counted; of exec -n, all of it. The first of {ROUNDS} rounds knows no nodes from before."
    );
    if let Some(agents) = number("AGENTS")?
        .or(Some(AGENTS))
        .filter(|&count| count > 0)
    {
        restart::measure(url, agents).await?;
    }
    Ok(())
}

/// The usual ones up to NODES, and NODES.
fn counts() -> Result<Vec<usize>> {
    let Some(most) = number("NODES")? else {
        return Ok(NODES.to_vec());
    };
    let mut counts: Vec<usize> = NODES.into_iter().filter(|&count| count < most).collect();
    counts.push(most);
    Ok(counts)
}

fn number(variable: &str) -> Result<Option<usize>> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            let number = text.parse();
            Ok(Some(number.with_context(|| format!("{variable}={text}"))?))
        }
        _ => Ok(None),
    }
}

/// Simulated nodes, in a process of their own: what they take is not taken for ours.
struct Fleet {
    count: usize,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    fn start(url: &str, count: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &count.to_string()])
            .env("UR_AMQP_URL", url)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let lines = BufReader::new(stdout).lines();
        let mut fleet = Self {
            count,
            child,
            lines,
        };
        ensure!(
            fleet.line()? == "ready",
            "the simulated nodes did not start"
        );
        Ok(fleet)
    }

    fn line(&mut self) -> Result<String> {
        let line = self.lines.next().context("the simulated nodes ended")?;
        Ok(line?)
    }

    /// When the first message of that kind came to a node: the one that nothing was said of yet.
    fn began(&mut self, what: &str) -> Result<f64> {
        let line = self.line()?;
        let Some((kind, at)) = line.split_once(' ') else {
            bail!("the simulated nodes said {line:?}");
        };
        ensure!(
            kind == what,
            "the simulated nodes said {line:?}, not {what}"
        );
        Ok(at.parse()?)
    }

    async fn rows(&mut self, url: &str) -> Result<Vec<Vec<String>>> {
        let broker: Url = url.parse()?;
        let count = self.count;
        let state = tempfile::tempdir()?;
        let ur = |args: &[&str]| ur(url, state.path(), args);
        let (mut nodes, mut exec) = (Pairs::default(), Pairs::default());
        let (mut ping, mut named) = (Pairs::default(), Pairs::default());
        for _ in 0..ROUNDS {
            let seconds = floor::discover(&broker, count).await?;
            let run = ur(&["nodes", "-q"])?;
            nodes.add(seconds, run.seconds, &run);

            let ended = floor::execute(&broker, count).await?;
            let seconds = ended - self.began("execute")?;
            let run = ur(&["exec", "-a", "-q", "hostname"])?;
            exec.add(seconds, run.ended - self.began("execute")?, &run);

            let ended = floor::ping(&broker, count).await?;
            let seconds = ended - self.began("ping")?;
            let run = ur(&["ping", "-a"])?;
            ping.add(seconds, run.ended - self.began("ping")?, &run);

            let started = floor::now()?;
            let ended = floor::execute(&broker, 1).await?;
            self.began("execute")?;
            let run = ur(&["exec", "-q", "-n", &fake_nodes::uuid(count - 1), "hostname"])?;
            self.began("execute")?;
            named.add(ended - started, run.seconds, &run);
        }
        Ok(vec![
            nodes.row(count, "ur nodes"),
            exec.row(count, "ur exec -a"),
            ping.row(count, "ur ping -a"),
            named.row(count, "ur exec -n UUID"),
        ])
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.expect("a child of ours can be killed");
    }
}

/// What was measured of one command, round by round.
#[derive(Default)]
struct Pairs {
    floor: Vec<f64>,
    ur: Vec<f64>,
    cpu: Vec<f64>,
    peak: Vec<f64>,
    answered: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, floor: f64, seconds: f64, run: &Run) {
        self.floor.push(floor);
        self.ur.push(seconds);
        self.cpu.push(run.cpu_seconds);
        self.peak.push(run.peak_mib);
        self.answered.push(run.lines as f64);
    }

    fn row(self, count: usize, what: &str) -> Vec<String> {
        let (floor, ur) = (median(self.floor), median(self.ur));
        let peak = self.peak.into_iter().fold(0.0, f64::max);
        let answered = self.answered.into_iter().fold(f64::INFINITY, f64::min);
        vec![
            count.to_string(),
            what.to_owned(),
            format!("{floor:.3}"),
            format!("{ur:.3}"),
            format!("{:.2}", ur / floor),
            format!("{:.2}", median(self.cpu)),
            format!("{peak:.1}"),
            format!("{answered}"),
        ]
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
