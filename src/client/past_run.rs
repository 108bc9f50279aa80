//! A run as its file tells it: how it began, whom it was sent to, how it ended where, and for whom it is not done.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Target;
use super::run_files::BROKEN_OFF;
use protocol::{NodeId, Outcome, RequestId, State};

/// How a run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    pub request: RequestId,
    pub at: Timestamp,
    /// What was sent, for people.
    pub what: String,
    /// How long a node may take to answer, if not as long as it says that it runs.
    pub wait: Option<Duration>,
    pub targets: Vec<Target>,
    /// Of what was sent, without what differs each time. Runs of older versions have none.
    #[serde(default)]
    pub content: Option<String>,
    /// Nodes that were meant and did not answer the search.
    #[serde(default)]
    pub missing: Vec<Target>,
}

/// A run as its file tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRun {
    pub start: Start,
    pub sent: HashSet<NodeId>,
    pub ended: HashMap<NodeId, Outcome>,
    /// How far it was where no answer came, if the node had said anything.
    pub heard: HashMap<NodeId, State>,
    /// Its `ur` could not write the file to its end.
    pub is_broken_off: bool,
}

/// For whom a run is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// An answer came, and it is no success.
    Failed,
    /// No answer came, or nothing was sent.
    Unanswered,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunLine {
    Run(Start),
    /// The request is about to be published, or was.
    Sent(NodeId),
    Ended {
        node: NodeId,
        outcome: Outcome,
        /// The last that the node had said, where it has not answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard: Option<State>,
    },
}

impl PastRun {
    /// The nodes that it was or may have been sent to, and those whose turn had not come.
    pub fn sent_and_not(&self) -> (Vec<Target>, Vec<Target>) {
        let targets = self.start.targets.iter().cloned();
        targets.partition(|target| self.is_broken_off || self.sent.contains(&target.id))
    }

    /// Whether it may still run somewhere, or be sent.
    pub(super) fn is_open(&self) -> bool {
        self.known().count() < self.start.targets.len()
    }

    /// The nodes for whom it is not done in that way.
    pub fn undone(&self, how: Undone) -> Vec<&Target> {
        let is_so = |target: &&Target| match self.ended.get(&target.id) {
            Some(Outcome::NoAnswer | Outcome::NotConnected) | None => how == Undone::Unanswered,
            Some(outcome) => how == Undone::Failed && !outcome.is_success(),
        };
        let targets = self.start.targets.iter().filter(is_so);
        let missing = self.start.missing.iter();
        targets
            .chain(missing.filter(|_| how == Undone::Unanswered))
            .collect()
    }

    /// The nodes that it was or may have been sent to, and of which no end is recorded.
    pub fn without_end(&self) -> Vec<Target> {
        let (mut sent, _) = self.sent_and_not();
        sent.retain(|target| !self.ended.contains_key(&target.id));
        sent
    }

    /// How it ended where that is known, whichever way.
    pub fn known(&self) -> impl Iterator<Item = (&NodeId, &Outcome)> {
        let ended = self.ended.iter();
        ended.filter(|(_, outcome)| **outcome != Outcome::NoAnswer)
    }
}

pub(super) fn read(path: &Path) -> Result<Option<PastRun>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    // The last line may be half written.
    let mut lines = text
        .lines()
        .map_while(|line| serde_json::from_str(line).ok());
    let Some(RunLine::Run(start)) = lines.next() else {
        return Ok(None);
    };
    let mode = fs::metadata(path)?.permissions().mode();
    let mut run = PastRun {
        start,
        is_broken_off: mode & 0o777 == BROKEN_OFF,
        sent: HashSet::new(),
        ended: HashMap::new(),
        heard: HashMap::new(),
    };
    for line in lines {
        match line {
            RunLine::Sent(node) => {
                run.sent.insert(node);
            }
            RunLine::Ended {
                node,
                outcome,
                heard,
            } => {
                run.heard.extend(heard.map(|state| (node.clone(), state)));
                run.ended.insert(node, outcome);
            }
            RunLine::Run(_) => {}
        }
    }
    Ok(Some(run))
}
