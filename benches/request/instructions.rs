//! Instructions per request: a figure that stays the same on a busy machine, where times do not.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::client::Client;
use super::node::{Node, Place};

/// Enough to make what happens once, and in each second, small beside the rest.
const REQUESTS: [usize; 2] = [100, 400];

/// By valgrind, which counts instructions of the agent's own code and not the kernel's. Its fork server
/// cannot be started there (/proc/self/exe is valgrind), so each request is refused after it has become a
/// job: decoded, written, ended, answered, confirmed; all but the fork and the wait.
pub(crate) async fn per_request(url: &str, client: &mut Client) -> String {
    match count(url, client).await {
        Ok(instructions) => format!("instructions of the agent per request: {instructions}"),
        Err(error) => format!("instructions: not counted, {error:#}"),
    }
}

async fn count(url: &str, client: &mut Client) -> Result<u64> {
    let dir = Place::Memory.scratch()?;
    let mut totals = [0; 2];
    for (total, requests) in totals.iter_mut().zip(REQUESTS) {
        let out = dir.path().join(format!("callgrind.{requests}"));
        let file = format!("--callgrind-out-file={}", out.display());
        let wrapper = ["valgrind", "--quiet", "--tool=callgrind", &file];
        let node = Node::start(url, Place::Memory, &wrapper).context("starting valgrind")?;
        client.startup(&node).await?;
        client.run(&node, requests, 1).await?;
        node.stop()?;
        *total = read(&out)?;
    }
    Ok((totals[1] - totals[0]) / (REQUESTS[1] - REQUESTS[0]) as u64)
}

fn read(out: &Path) -> Result<u64> {
    let text = fs::read_to_string(out).context("reading what callgrind wrote")?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(line.context("callgrind wrote no totals")?.trim().parse()?)
}
