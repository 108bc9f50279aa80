//! The replies of a run that are kept, as they come: a line for each. Of a node that has several, the last counts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::answer;
use super::run_files::write;
use protocol::{NodeId, Reply};

/// Bytes of output that are kept of a run, and of a stream of one node.
const MAX_KEPT: u64 = 16 * 1024 * 1024;
const MAX_KEPT_STREAM: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct KeptReplies {
    file: File,
    /// Bytes of a stream.
    share: u64,
}

/// A line of it.
#[derive(Serialize, Deserialize)]
struct Kept {
    node: NodeId,
    reply: Box<Reply>,
}

impl KeptReplies {
    /// Of a run on so many nodes.
    pub(super) fn of(file: File, nodes: usize) -> Self {
        let share = (MAX_KEPT / 2 / nodes.max(1) as u64).min(MAX_KEPT_STREAM);
        Self { file, share }
    }

    pub(super) fn keep(&mut self, node: NodeId, reply: &Reply) -> Result<()> {
        let mut reply = Box::new(reply.clone());
        answer::shorten(&mut reply, self.share);
        write(&mut self.file, &Kept { node, reply })
    }
}

pub(super) fn read(path: &Path) -> Result<HashMap<NodeId, Box<Reply>>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(lines.map(|Kept { node, reply }| (node, reply)).collect())
}
