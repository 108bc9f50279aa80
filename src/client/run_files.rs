//! The files of this user's runs, one each: what it takes to collect the answers of a run whose `ur` was
//! killed. Written line by line as the run goes on, the targets before the first message leaves.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunEvent, Target};
use protocol::{NodeId, Outcome, RequestId};

/// The latest runs that are kept. A node keeps an answer for an hour; the rest is history.
const KEEP: usize = 100;

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
}

/// A run as its file tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRun {
    pub start: Start,
    pub sent: HashSet<NodeId>,
    pub ended: HashMap<NodeId, Outcome>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run(Start),
    /// The request is about to be published, or was.
    Sent(NodeId),
    Ended {
        node: NodeId,
        outcome: Outcome,
    },
}

/// The directory of the files: `$XDG_STATE_HOME/ur/runs`.
#[derive(Clone, Debug)]
pub struct RunFiles(PathBuf);

/// The file of a run that goes on.
#[derive(Debug)]
pub struct RunFile(File);

impl RunFiles {
    pub fn of_this_user() -> Result<Self> {
        Ok(Self(state_dir()?.join("runs")))
    }

    /// Writes how a run begins, and forgets the oldest runs.
    pub fn create(&self, start: Start) -> Result<RunFile> {
        let path = self.path(&start.request);
        let write = || -> Result<RunFile> {
            let mut dir = DirBuilder::new();
            dir.recursive(true).mode(0o700).create(&self.0)?;
            self.forget_the_oldest()?;
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o600);
            let mut file = RunFile(options.open(&path)?);
            // An id may be used again, by --request: then this is about the latest run of it.
            file.0.set_len(0)?;
            file.write(&Line::Run(start))?;
            file.0.sync_data()?;
            Ok(file)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// The file of an earlier run, to write on.
    pub fn append(&self, request: &RequestId) -> Result<RunFile> {
        let path = self.path(request);
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(RunFile(file))
    }

    pub fn find(&self, request: &RequestId) -> Result<Option<PastRun>> {
        read(&self.path(request))
    }

    /// The latest first. What is no run is passed over.
    pub fn list(&self) -> Result<Vec<PastRun>> {
        let paths = self.by_age()?;
        Ok(paths
            .iter()
            .rev()
            .filter_map(|path| read(path).ok().flatten())
            .collect())
    }

    fn path(&self, request: &RequestId) -> PathBuf {
        self.0.join(format!("{request}.jsonl"))
    }

    /// The oldest first.
    fn by_age(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("reading {}", self.0.display()))?,
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|it| it == "jsonl"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    fn forget_the_oldest(&self) -> Result<()> {
        let paths = self.by_age()?;
        for path in paths.iter().rev().skip(KEEP - 1) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where `ur` keeps what it is to know the next time.
pub(super) fn state_dir() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from);
    let state = absolute("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = state.or_else(home);
    let state = state.context("neither HOME nor XDG_STATE_HOME is set")?;
    Ok(state.join("ur"))
}

impl RunFile {
    /// Writes what has to be known later.
    pub fn note(&mut self, event: &RunEvent<'_>) -> Result<()> {
        match event {
            RunEvent::Publishing(target) => self.write(&Line::Sent(target.id.clone())),
            RunEvent::Ended(result) => self.write(&Line::Ended {
                node: result.target.id.clone(),
                outcome: result.outcome.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        Ok(self.0.write_all(&bytes)?)
    }
}

impl PastRun {
    /// How it ended where that is known, whichever way.
    pub fn known(&self) -> impl Iterator<Item = (&NodeId, &Outcome)> {
        let ended = self.ended.iter();
        ended.filter(|(_, outcome)| **outcome != Outcome::NoAnswer)
    }
}

fn read(path: &Path) -> Result<Option<PastRun>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    // The last line may be half written.
    let mut lines = text
        .lines()
        .map_while(|line| serde_json::from_str(line).ok());
    let Some(Line::Run(start)) = lines.next() else {
        return Ok(None);
    };
    let mut run = PastRun {
        start,
        sent: HashSet::new(),
        ended: HashMap::new(),
    };
    for line in lines {
        match line {
            Line::Sent(node) => {
                run.sent.insert(node);
            }
            Line::Ended { node, outcome } => {
                run.ended.insert(node, outcome);
            }
            Line::Run(_) => {}
        }
    }
    Ok(Some(run))
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::super::{NodeResult, Selector};
    use super::*;

    fn start(request: &str) -> Start {
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        Start {
            request: RequestId::parse(request).unwrap(),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            what: "uptime".to_owned(),
            wait: Some(Duration::from_secs(60)),
            targets: Selector::All.select(&nodes).unwrap().targets,
            content: None,
        }
    }

    fn ended(target: &Target, outcome: Outcome) -> NodeResult {
        NodeResult {
            target: target.clone().into(),
            outcome,
            reply: None,
            unknown_fields: serde_json::Map::new(),
            last_progress: None,
            silence: Duration::ZERO,
            unroutable: false,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_run_is_read_as_far_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, start) = (RunFiles(dir.path().join("runs")), start("r1"));
        let targets = start.targets.clone();
        let mut file = runs.create(start.clone()).unwrap();
        file.note(&RunEvent::Publishing(&targets[0])).unwrap();
        file.note(&RunEvent::Publishing(&targets[1])).unwrap();
        let exited = Outcome::Exited { status: 7 };
        let mut results = [
            ended(&targets[0], exited.clone()),
            ended(&targets[1], Outcome::NoAnswer),
        ];
        for result in &mut results {
            file.note(&RunEvent::Ended(result)).unwrap();
        }
        file.0.write_all(b"{\"ended\":{\"no").unwrap();
        let past = runs.find(&start.request).unwrap().unwrap();
        assert_eq!((&past.start, past.sent.len()), (&start, 2));
        let known: Vec<_> = past.known().collect();
        assert_eq!(known, [(&targets[0].id, &exited)]);
        assert_eq!(runs.find(&RequestId::parse("r2").unwrap()).unwrap(), None);
    }

    #[test]
    fn an_id_that_is_used_again_is_about_its_latest_run() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, start) = (RunFiles(dir.path().to_owned()), start("r1"));
        let mut file = runs.create(start.clone()).unwrap();
        file.note(&RunEvent::Publishing(&start.targets[0])).unwrap();
        runs.create(start.clone()).unwrap();
        let past = runs.find(&start.request).unwrap().unwrap();
        assert!(past.sent.is_empty());
    }

    #[test]
    fn the_latest_runs_are_kept_and_listed_first() {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunFiles(dir.path().to_owned());
        assert_eq!(runs.list().unwrap(), []);
        for i in 0..KEEP + 5 {
            let file = runs.create(start(&format!("r{i}"))).unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(i as u64);
            file.0.set_modified(at).unwrap();
        }
        let listed = runs.list().unwrap();
        let ids: Vec<&str> = listed.iter().map(|r| r.start.request.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[KEEP - 1]), (KEEP, "r104", "r5"));
    }
}
