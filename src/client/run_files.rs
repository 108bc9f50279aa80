//! The files of this user's runs, one each: what it takes to collect the answers of a run whose `ur` was
//! killed. Written line by line as the run goes on, the targets before the first message leaves. Replies are in a file
//! beside, where they are to be kept.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::kept_replies::{self, KeptReplies};
use super::past_run::{RunLine, read};
use super::state_dir::state_dir;
use super::{PastRun, RunEvent, Start, Target};
use protocol::{NodeId, Outcome, Reply, RequestId};

/// The latest runs that are kept. A node keeps an answer for an hour; the rest is history.
const KEEP: usize = 100;
/// And so many older ones that have not ended, or may not have.
const KEEP_OPEN: usize = 100;
/// Bytes of output that are kept of all runs.
const MAX_ALL_KEPT: u64 = 256 * 1024 * 1024;
/// Ids that are named where a beginning means several.
const MAX_NAMED: usize = 5;
/// The mode of a file that could not be written to its end.
pub(super) const BROKEN_OFF: u32 = 0o400;

/// The directory of the files: `$XDG_STATE_HOME/ur/runs`.
#[derive(Clone, Debug)]
pub struct RunFiles(PathBuf);

/// The file of a run that goes on.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    replies: Option<KeptReplies>,
    /// What an earlier `ur` has kept, for nodes that have forgotten it.
    kept: HashMap<NodeId, Box<Reply>>,
    /// Nodes of which only the outcome is known.
    without_output: Vec<Arc<Target>>,
}

impl RunFiles {
    pub fn of_this_user() -> Result<Self> {
        Ok(Self(state_dir()?.join("runs")))
    }

    /// Writes how a run begins, and forgets the oldest runs.
    pub fn create(&self, start: Start, keep: bool) -> Result<RunFile> {
        let path = self.path(&start.request);
        let replies = self.replies(&start.request);
        let write = || -> Result<RunFile> {
            let mut dir = DirBuilder::new();
            dir.recursive(true).mode(0o700).create(&self.0)?;
            self.forget_the_oldest()?;
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o600);
            // An id may be used again, by --request: then this is about the latest run of it.
            remove(&replies)?;
            remove(&path)?;
            let mut file = RunFile::of(options.open(&path)?);
            if keep {
                let replies = options.open(&replies)?;
                file.replies = Some(KeptReplies::of(replies, start.targets.len()));
            }
            file.write(&RunLine::Run(start))?;
            file.file.sync_data()?;
            Ok(file)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// The file of an earlier run, to write on.
    pub fn append(&self, run: &PastRun) -> Result<RunFile> {
        let request = &run.start.request;
        let append = |path: &Path| {
            let file = OpenOptions::new().append(true).open(path);
            file.with_context(|| format!("opening {}", path.display()))
        };
        let nodes = run.start.targets.len();
        let replies = append(&self.replies(request)).ok();
        Ok(RunFile {
            replies: replies.map(|file| KeptReplies::of(file, nodes)),
            kept: self.kept(request)?,
            ..RunFile::of(append(&self.path(request))?)
        })
    }

    /// The replies that were kept.
    pub fn kept(&self, request: &RequestId) -> Result<HashMap<NodeId, Box<Reply>>> {
        kept_replies::read(&self.replies(request))
    }

    /// The id that is meant by an id, by a beginning that one recorded run alone has, or by `last`. An id that is not
    /// recorded may be one of another machine.
    pub fn resolve(&self, named: &RequestId) -> Result<RequestId> {
        if named.as_str() == "last" {
            let last = self.list()?.into_iter().next();
            let last = last.context("there is no last run: none is recorded here")?;
            return Ok(last.start.request);
        }
        if self.path(named).exists() {
            return Ok(named.clone());
        }
        let paths = self.by_age()?;
        let ids = paths
            .iter()
            .rev()
            .filter_map(|path| path.file_stem()?.to_str());
        let ids: Vec<&str> = ids.filter(|id| id.starts_with(named.as_str())).collect();
        match ids[..] {
            [] => Ok(named.clone()),
            [id] => Ok(RequestId::parse(id).unwrap_or_else(|_| named.clone())),
            _ => {
                let more = if ids.len() > MAX_NAMED { ", …" } else { "" };
                let few: Vec<&str> = ids.iter().copied().take(MAX_NAMED).collect();
                bail!(
                    "several requests begin with {named}: {}{more}",
                    few.join(", ")
                )
            }
        }
    }

    /// Whether an `ur` waits for its answers at this moment.
    pub fn is_going(&self, request: &RequestId) -> bool {
        let file = File::open(self.path(request));
        let lock = file.map(|file| flock(&file, FlockOperation::NonBlockingLockExclusive));
        lock.is_ok_and(|lock| lock.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
    }

    pub fn find(&self, request: &RequestId) -> Result<Option<PastRun>> {
        read(&self.path(request))
    }

    /// The latest first. What is no run is passed over.
    pub fn list(&self) -> Result<Vec<PastRun>> {
        let paths = self.by_age()?;
        let runs = paths.iter().rev();
        let mut runs: Vec<_> = runs.filter_map(|path| read(path).ok().flatten()).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.start.at));
        Ok(runs)
    }

    fn path(&self, request: &RequestId) -> PathBuf {
        self.0.join(format!("{request}.jsonl"))
    }

    fn replies(&self, request: &RequestId) -> PathBuf {
        self.0.join(format!("{request}.replies"))
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
        let (mut all_kept, mut open) = (0, 0);
        for (i, path) in self.by_age()?.iter().rev().enumerate() {
            let replies = path.with_extension("replies");
            all_kept += fs::metadata(&replies).map_or(0, |metadata| metadata.len());
            let mut is_old = i >= KEEP - 1;
            // What cannot be read is not kept for it.
            if is_old && open < KEEP_OPEN && matches!(read(path), Ok(Some(run)) if run.is_open()) {
                (is_old, open) = (false, open + 1);
            }
            if is_old || all_kept > MAX_ALL_KEPT {
                remove(&replies)?;
            }
            if is_old {
                remove(path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl RunFile {
    fn of(file: File) -> Self {
        // For as long as it is open. A file system that has no locks tells nobody that the run goes on.
        flock(&file, FlockOperation::NonBlockingLockShared).ok();
        Self {
            file,
            replies: None,
            kept: HashMap::new(),
            without_output: Vec::new(),
        }
    }

    /// Writes what has to be known later, and adds to what has ended what was kept of it. After an error nothing more
    /// is to be noted: the file is marked, so that a node is not said to have never been sent to.
    pub fn note(&mut self, event: &mut RunEvent<'_>) -> Result<()> {
        let noted = self.try_note(event);
        if noted.is_err() {
            // This takes no room on a full disk.
            let broken_off = Permissions::from_mode(BROKEN_OFF);
            drop(self.file.set_permissions(broken_off));
        }
        noted
    }

    fn try_note(&mut self, event: &mut RunEvent<'_>) -> Result<()> {
        match event {
            RunEvent::Publishing(target) => self.write(&RunLine::Sent(target.id.clone())),
            RunEvent::Ended(result) => {
                let node = result.target.id.clone();
                if let Some(reply) = &result.reply {
                    if let Some(replies) = &mut self.replies {
                        replies.keep(node.clone(), reply)?;
                    }
                } else if is_end_of_script(&result.outcome) {
                    result.reply = self.kept.remove(&node);
                    if result.reply.is_none() {
                        self.without_output.push(Arc::clone(&result.target));
                    }
                }
                let heard = result.last_progress.as_ref().map(|heard| heard.state);
                let outcome = result.outcome.clone();
                self.write(&RunLine::Ended {
                    node,
                    outcome,
                    heard,
                })
            }
            _ => Ok(()),
        }
    }

    /// The nodes whose outcome was recorded, and whose output is neither on them nor kept here.
    pub fn without_output(&self) -> &[Arc<Target>] {
        &self.without_output
    }

    fn write(&mut self, line: &RunLine) -> Result<()> {
        write(&mut self.file, line)
    }
}

fn is_end_of_script(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Exited { .. } | Outcome::Signalled { .. } | Outcome::TimedOut | Outcome::Cancelled
    )
}

pub(super) fn write(file: &mut File, line: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(file.write_all(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::super::{NodeResult, Selector, Undone};
    use super::*;
    use protocol::{Progress, State};
    use std::time::Duration;

    fn start(request: &str) -> Start {
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        let missing = Target::of(&node("u3", "m3", "n3"));
        Start {
            request: RequestId::parse(request).unwrap(),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            what: "uptime".to_owned(),
            wait: Some(Duration::from_secs(60)),
            targets: Selector::All.select(&nodes).unwrap().targets,
            content: None,
            missing: vec![missing],
        }
    }

    fn ended(target: &Target, outcome: Outcome) -> NodeResult {
        NodeResult::of(target.clone().into(), outcome)
    }

    #[test]
    fn a_run_is_read_as_far_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, start) = (RunFiles(dir.path().join("runs")), start("r1"));
        let targets = start.targets.clone();
        let mut file = runs.create(start.clone(), false).unwrap();
        assert!(runs.is_going(&start.request));
        file.note(&mut RunEvent::Publishing(&targets[0])).unwrap();
        file.note(&mut RunEvent::Publishing(&targets[1])).unwrap();
        let past = || runs.find(&start.request).unwrap().unwrap();
        assert_eq!(past().without_end(), targets);
        let exited = Outcome::Exited { status: 7 };
        let mut results = [
            ended(&targets[0], exited.clone()),
            ended(&targets[1], Outcome::NoAnswer),
        ];
        results[1].last_progress = Some(Box::new(Progress::now(State::Running)));
        for result in &mut results {
            file.note(&mut RunEvent::Ended(result)).unwrap();
        }
        file.file.write_all(b"{\"ended\":{\"no").unwrap();
        drop(file);
        assert!(!runs.is_going(&start.request));
        let past = past();
        assert_eq!((&past.start, past.sent.len()), (&start, 2));
        assert_eq!(past.without_end(), []);
        let heard = HashMap::from([(targets[1].id.clone(), State::Running)]);
        assert_eq!(past.heard, heard);
        assert_eq!(past.undone(Undone::Failed), [&targets[0]]);
        let unanswered = [&targets[1], &start.missing[0]];
        assert_eq!(past.undone(Undone::Unanswered), unanswered);
        let known: Vec<_> = past.known().collect();
        assert_eq!(known, [(&targets[0].id, &exited)]);
        assert_eq!(runs.find(&RequestId::parse("r2").unwrap()).unwrap(), None);
    }

    #[test]
    fn where_the_file_could_not_be_written_to_its_end_no_node_counts_as_not_sent_to() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, start) = (RunFiles(dir.path().join("runs")), start("r1"));
        let request = start.request.clone();
        let target = start.targets[0].clone();
        runs.create(start, false).unwrap();
        let not_sent = || runs.find(&request).unwrap().unwrap().sent_and_not().1.len();
        assert_eq!(not_sent(), 2);
        let mut unwritable = RunFile::of(File::open(runs.path(&request)).unwrap());
        let mut event = RunEvent::Publishing(&target);
        assert!(unwritable.note(&mut event).is_err());
        assert_eq!(not_sent(), 0);
    }

    #[test]
    fn an_id_that_is_used_again_is_about_its_latest_run() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, start) = (RunFiles(dir.path().to_owned()), start("r1"));
        let mut file = runs.create(start.clone(), false).unwrap();
        file.note(&mut RunEvent::Publishing(&start.targets[0]))
            .unwrap();
        runs.create(start.clone(), false).unwrap();
        let past = runs.find(&start.request).unwrap().unwrap();
        assert!(past.sent.is_empty());
    }

    #[test]
    fn the_latest_runs_are_kept_and_listed_first() {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunFiles(dir.path().to_owned());
        assert_eq!(runs.list().unwrap(), []);
        for i in 0..KEEP + 5 {
            whole(&runs, &format!("r{i}"), i);
        }
        let listed = runs.list().unwrap();
        let ids: Vec<&str> = listed.iter().map(|r| r.start.request.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[KEEP - 1]), (KEEP, "r104", "r5"));
    }

    /// A run that has ended everywhere, so many seconds after the first.
    fn whole(runs: &RunFiles, request: &str, second: usize) {
        let start = start(request);
        let mut file = runs.create(start.clone(), false).unwrap();
        for target in &start.targets {
            let mut result = ended(target, Outcome::Exited { status: 0 });
            file.note(&mut RunEvent::Ended(&mut result)).unwrap();
        }
        let at = std::time::UNIX_EPOCH + Duration::from_secs(second as u64);
        file.file.set_modified(at).unwrap();
    }

    #[test]
    fn a_run_that_has_not_ended_is_kept_though_it_is_old_but_not_any_number_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunFiles(dir.path().to_owned());
        for i in 0..KEEP_OPEN + 5 {
            let file = runs.create(start(&format!("open{i}")), false).unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(i as u64);
            file.file.set_modified(at).unwrap();
        }
        for i in 0..KEEP + 5 {
            whole(&runs, &format!("r{i}"), 1000 + i);
        }
        let is_there = |id: &str| runs.path(&RequestId::parse(id).unwrap()).exists();
        assert!(is_there("open5") && !is_there("open4"));
        assert!(is_there("r5") && !is_there("r4"));
    }
}
