//! The file of the remembered nodes: a line for each, replaced whole, by one `ur` at a time.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::{Node, Plain, Remembered};
use protocol::NodeId;

/// Nodes that are remembered. Of more, those that were not seen for the longest are forgotten.
const MAX_NODES: usize = 20_000;
/// How long another `ur` may take to write the same file.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// What the file holds.
pub(super) struct RememberedFile {
    pub(super) nodes: HashMap<NodeId, Remembered>,
    /// Lines that cannot be read.
    pub(super) damaged: usize,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct NodeLine {
    uuid: NodeId,
    hostname: Plain,
    mac: Option<String>,
    ip: Option<Plain>,
    agent: Option<Plain>,
    #[serde(default)]
    headnode: bool,
    seen: Timestamp,
}

impl RememberedFile {
    pub(super) fn add(&mut self, nodes: &[Node]) {
        let seen = Timestamp::now();
        for node in nodes {
            let node = Node {
                sysinfo: None,
                ..node.clone()
            };
            self.nodes
                .insert(node.id.clone(), Remembered { node, seen });
        }
    }

    pub(super) fn fault(&self, path: &Path) -> Option<String> {
        let Self { damaged, .. } = self;
        let (path, kept) = (path.display(), kept_aside(path));
        (*damaged > 0).then(|| {
            format!(
                "{path}: {damaged} of its lines cannot be read, so nodes may be missing unnoticed (it is kept as {} before it is replaced)",
                kept.display()
            )
        })
    }
}

/// Where a damaged file goes before it is replaced.
pub(super) fn kept_aside(path: &Path) -> PathBuf {
    path.with_extension("jsonl.damaged")
}

/// The right to change the file, until it is dropped. It is on a file beside, as the file itself is replaced.
pub(super) async fn lock(path: &Path) -> Result<File> {
    let locking = || format!("locking {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).with_context(locking)?;
    let file = File::create(path.with_extension("lock")).with_context(locking)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(error).with_context(locking);
            }
            Err(_) if Instant::now() >= until => {
                bail!(
                    "{}: timeout: another ur has held the lock for 1 s",
                    locking()
                );
            }
            Err(_) => sleep(LOCK_AGAIN).await,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<RememberedFile> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let mut memory = RememberedFile {
        nodes: HashMap::new(),
        damaged: 0,
    };
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line).map(NodeLine::into_entry) {
            Ok((id, known)) => drop(memory.nodes.insert(id, known)),
            Err(_) => memory.damaged += 1,
        }
    }
    Ok(memory)
}

/// Other searches may read it at the same time.
pub(super) fn write(path: &Path, memory: &RememberedFile) -> Result<()> {
    let mut nodes: Vec<&Remembered> = memory.nodes.values().collect();
    nodes.sort_by_key(|known| std::cmp::Reverse(known.seen));
    nodes.truncate(MAX_NODES);
    let writing = || format!("writing {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = BufWriter::new(NamedTempFile::new_in(dir).with_context(writing)?);
    for known in nodes {
        serde_json::to_writer(&mut file, &NodeLine::of(known)).with_context(writing)?;
        file.write_all(b"\n").with_context(writing)?;
    }
    let file = file.into_inner().with_context(writing)?;
    file.as_file().sync_data().with_context(writing)?;
    if memory.damaged > 0 {
        fs::copy(path, kept_aside(path)).with_context(writing)?;
    }
    file.persist(path).with_context(writing)?;
    Ok(())
}

impl NodeLine {
    fn of(known: &Remembered) -> Self {
        let node = &known.node;
        Self {
            uuid: node.id.clone(),
            hostname: node.hostname.clone(),
            mac: node.mac.clone(),
            ip: node.ip.clone(),
            agent: node.agent.clone(),
            headnode: node.is_headnode,
            seen: known.seen,
        }
    }

    fn into_entry(self) -> (NodeId, Remembered) {
        let node = Node {
            hostname: self.hostname,
            mac: self.mac,
            ip: self.ip,
            agent: self.agent,
            is_headnode: self.headnode,
            ..Node::unknown(self.uuid.clone())
        };
        let seen = self.seen;
        (self.uuid, Remembered { node, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_latest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let all = (0..MAX_NODES + 5).map(|i| {
            let id = NodeId::parse(&format!("u{i}")).unwrap();
            let seen = Timestamp::from_second(i64::try_from(i).unwrap()).unwrap();
            let node = Node::unknown(id.clone());
            (id, Remembered { node, seen })
        });
        let memory = RememberedFile {
            nodes: all.collect(),
            damaged: 0,
        };
        write(&path, &memory).unwrap();
        let kept = read(&path).unwrap().nodes;
        let has = |name: &str| kept.contains_key(&NodeId::parse(name).unwrap());
        assert_eq!(kept.len(), MAX_NODES);
        assert!(!has("u4") && has("u5"));
    }
}
