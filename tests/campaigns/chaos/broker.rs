//! A RabbitMQ of the campaign's own, and its faults.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::clock::{Clock, between};
use super::journal::Journal;

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    dir: PathBuf,
}

impl Broker {
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        tool(&["start"], dir, &[])?;
        let broker = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port(dir)?)),
            url: format!("amqp://guest:guest@127.0.0.1:{}?heartbeat=5", port(dir)?),
            dir: dir.to_owned(),
        };
        Ok(broker)
    }

    pub(crate) fn disturb(
        &mut self,
        clock: &Clock,
        mut rng: Rng,
        journal: &mut Journal,
    ) -> Result<()> {
        while clock.is_foul() {
            clock.pause(&mut rng, Duration::from_secs(1), Duration::from_secs(10));
            match rng.u32(..14) {
                verb @ 0..4 => {
                    let time = between(&mut rng, Duration::ZERO, Duration::from_secs(8));
                    let (verb, fault) = match verb {
                        0..2 => ("stop", "broker: stopped, and started"),
                        _ => ("kill", "broker: killed, and started"),
                    };
                    journal.note(fault, format!("after {time:?}"));
                    tool(&[verb], &self.dir, &[])?;
                    clock.wait(time);
                    tool(&["start"], &self.dir, &[])?;
                }
                4 => {
                    journal.note("broker: restarted", "");
                    tool(&["restart"], &self.dir, &[])?;
                }
                5 => {
                    journal.note("broker: killed, its data wiped, and started", "");
                    tool(&["kill"], &self.dir, &[])?;
                    let data = self.dir.join("data");
                    fs::remove_dir_all(&data)
                        .with_context(|| format!("wiping {}", data.display()))?;
                    tool(&["start"], &self.dir, &[])?;
                }
                6..8 => {
                    journal.note("broker: closes every connection", "");
                    self.ctl(&["close_all_user_connections", "guest", "chaos"])?;
                }
                8..10 => {
                    journal.note("broker: deletes a queue, and cancels its consumer", "");
                    let which = "Q = lists:nth(rand:uniform(length(L)), L), rabbit_amqqueue:delete(Q, false, false, <<\"chaos\">>)";
                    self.eval("rabbit_amqqueue:list()", which)?;
                }
                10..12 => {
                    journal.note("broker: closes a channel by an error", "");
                    // As if its client had acknowledged what it was never sent.
                    let which = "rabbit_channel:do(lists:nth(rand:uniform(length(L)), L), {'basic.ack', 99999999, false})";
                    self.eval("rabbit_channel:list()", which)?;
                }
                _ => {
                    let time = between(&mut rng, Duration::from_secs(1), Duration::from_secs(15));
                    journal.note(
                        "broker: memory alarm, publishers blocked",
                        format!("for {time:?}"),
                    );
                    self.block_publishers(clock, time)?;
                }
            }
        }
        Ok(())
    }

    fn block_publishers(&self, clock: &Clock, time: Duration) -> Result<()> {
        self.ctl(&["set_vm_memory_high_watermark", "0.00001"])?;
        clock.wait(time);
        self.ctl(&["set_vm_memory_high_watermark", "0.4"])
    }

    fn ctl(&self, words: &[&str]) -> Result<()> {
        tool(&["ctl"], &self.dir, words)
    }

    /// Does something to one of what `list` gives, in the broker's own language.
    fn eval(&self, list: &str, then: &str) -> Result<()> {
        self.ctl(&[
            "eval",
            &format!("case {list} of [] -> none; L -> {then} end."),
        ])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = tool(&["kill"], &self.dir, &[]) {
            eprintln!("chaos: {error:#}");
        }
    }
}

fn port(dir: &Path) -> Result<u16> {
    let path = dir.join("port");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    // The first of its ports is epmd's, the second AMQP's.
    Ok(text
        .trim()
        .parse::<u16>()
        .context("understanding the broker's port")?
        + 1)
}

/// Runs tools/private-broker. What it prints is in the broker's log too.
fn tool(verb: &[&str], dir: &Path, more: &[&str]) -> Result<()> {
    let tool = ur_tests::checkout().join("tools/private-broker");
    let mut command = Command::new(tool);
    command
        .args(verb)
        .arg(dir)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = command.status().context("starting tools/private-broker")?;
    ensure!(
        status.success(),
        "tools/private-broker {verb:?} {} {more:?} failed: {status}",
        dir.display()
    );
    Ok(())
}
