//! Progress and output of a running job, as far as they are not published yet. Polled now and then; how
//! far the files have been read is all the state there is.

use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;
use tracing::warn;

use job::{Job, capture};
use protocol::{Output, Progress, RoutingKey, State, Stream, Text};

use super::reply::ReplyTerms;

/// Bytes a message of output holds.
const PIECE: u64 = 64 * 1024;
/// A progress line longer than this is skipped.
const LINE: u64 = 64 * 1024;
/// Lines of progress that are told at a time: the latest, for each replaces the one before. A script that writes
/// thousands must not keep replies and pings waiting.
const MAX_LINES: usize = 16;

pub(super) struct Follower {
    job: Job,
    node: String,
    pub terms: ReplyTerms,
    /// Of a job whose sender knows only that it waits, or was running before the agent was started anew.
    has_news_of_start: bool,
    progress: u64,
    stdout: u64,
    stderr: u64,
}

impl Follower {
    pub(super) fn new(job: &Job, node: String, terms: ReplyTerms) -> Self {
        Self {
            job: job.clone(),
            node,
            terms,
            has_news_of_start: false,
            progress: 0,
            stdout: 0,
            stderr: 0,
        }
    }

    /// For a job that waited, or that an earlier agent started.
    pub(super) fn read(job: &Job) -> Self {
        let node = job.record().map(|record| record.node.to_string());
        let terms = ReplyTerms::read(job).unwrap_or_default();
        Self {
            has_news_of_start: true,
            ..Self::new(job, node.unwrap_or_default(), terms)
        }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Output is published from now on, and once more from its beginning: who has that knows it by its offset.
    pub(super) fn stream(&mut self) {
        self.terms.stream = true;
        (self.stdout, self.stderr) = (0, 0);
    }

    /// Notices of what is new, at most one piece of each stream. After the `last` time the reply has the
    /// rest.
    pub(super) fn poll(&mut self, last: bool) -> Vec<(RoutingKey, Vec<u8>)> {
        let mut news = self.news_of_start(last);
        news.extend(self.new_progress());
        if self.terms.stream {
            let max = self.terms.max_output;
            news.extend(self.new_output(Stream::Stdout, max, last));
            news.extend(self.new_output(Stream::Stderr, max, last));
        }
        news
    }

    /// That it runs now; its end is told by the reply.
    fn news_of_start(&mut self, last: bool) -> Vec<(RoutingKey, Vec<u8>)> {
        let is_told = !std::mem::take(&mut self.has_news_of_start) || last;
        let body = serde_json::to_vec(&Progress::now(State::Running));
        let body = body.ok().filter(|_| !is_told);
        body.map(|body| (self.key(true), body))
            .into_iter()
            .collect()
    }

    fn new_progress(&mut self) -> Vec<(RoutingKey, Vec<u8>)> {
        let lines = self.progress_lines().unwrap_or_default();
        let left_out = lines.lines().count().saturating_sub(MAX_LINES);
        let news = lines.lines().skip(left_out).filter_map(|line| {
            let progress = progress_of(line)?;
            Some((self.key(true), serde_json::to_vec(&progress).ok()?))
        });
        news.collect()
    }

    /// Whole lines only; the rest of one is read when it is there.
    fn progress_lines(&mut self) -> std::io::Result<String> {
        let mut file = self.job.open_progress()?;
        file.seek(SeekFrom::Start(self.progress))?;
        let mut bytes = Vec::new();
        file.take(LINE).read_to_end(&mut bytes)?;
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if bytes.len() as u64 == LINE => bytes.len(),
            None => 0,
        };
        bytes.truncate(whole);
        self.progress += whole as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn new_output(
        &mut self,
        stream: Stream,
        max: u64,
        last: bool,
    ) -> Option<(RoutingKey, Vec<u8>)> {
        let (name, offset) = match stream {
            Stream::Stdout => ("stdout", &mut self.stdout),
            Stream::Stderr => ("stderr", &mut self.stderr),
        };
        let found = capture::follow(&self.job.path(name), max, *offset, PIECE);
        let (from, mut bytes) = match found {
            Ok(found) => found?,
            Err(error) => {
                warn!(request = %self.job.id, error = format!("{error:#}"), "cannot follow output");
                return None;
            }
        };
        if !last {
            keep_characters_whole(&mut bytes);
        }
        if bytes.is_empty() {
            return None;
        }
        *offset = from + bytes.len() as u64;
        let text = Text::of(bytes);
        let output = Output {
            stream,
            offset: from,
            data: text.text,
            data_base64: text.base64,
        };
        Some((self.key(false), serde_json::to_vec(&output).ok()?))
    }

    fn key(&self, progress: bool) -> RoutingKey {
        let (node, request) = (self.node.clone(), self.job.id.to_string());
        match progress {
            true => RoutingKey::Progress { node, request },
            false => RoutingKey::Output { node, request },
        }
    }
}

fn progress_of(line: &str) -> Option<Progress> {
    let said: Value = serde_json::from_str(line).ok()?;
    Some(Progress {
        percent: said.get("percent").and_then(Value::as_f64),
        eta: said.get("eta").and_then(Value::as_f64),
        msg: said.get("msg").and_then(Value::as_str).map(str::to_owned),
        ..Progress::now(State::Running)
    })
}

/// What a running job's script has said last, as far as it has said anything.
pub(super) fn latest_progress(job: &Job) -> Progress {
    let end = || -> std::io::Result<Vec<u8>> {
        let mut file = job.open_progress()?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LINE)))?;
        let mut bytes = Vec::new();
        file.take(LINE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = end().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let latest = text.lines().rev().find_map(progress_of);
    latest.unwrap_or_else(|| Progress::now(State::Running))
}

/// Leaves a character that is only half there for the next piece.
fn keep_characters_whole(bytes: &mut Vec<u8>) {
    if let Err(error) = std::str::from_utf8(bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, Request, RequestId};

    #[test]
    fn of_much_progress_that_is_written_at_once_the_latest_lines_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (id, node) = (RequestId::random(), NodeId::parse("n1").unwrap());
        let body = Request::script("true").encode();
        let Created::New(job) = spool.create(&id, (&node, "k"), &body).unwrap() else {
            panic!("a new job")
        };
        std::fs::create_dir_all(job.work_dir()).unwrap();
        let mut file = std::fs::File::create(job.work_dir().join("progress")).unwrap();
        for percent in 0..100 {
            writeln!(file, "{{\"percent\":{percent}}}").unwrap();
        }
        let mut follower = Follower::new(&job, "n1".to_owned(), ReplyTerms::default());
        let told: Vec<Progress> = follower
            .poll(false)
            .iter()
            .map(|(_, body)| serde_json::from_slice(body).unwrap())
            .collect();
        assert_eq!(told.len(), MAX_LINES);
        assert_eq!(told.last().unwrap().percent, Some(99.0));
        assert!(follower.poll(true).is_empty());
        write!(file, "{{\"percent\":10").unwrap();
        assert_eq!(latest_progress(&job).percent, Some(99.0), "a whole line");
        let states = |follower: &mut Follower, last| -> Vec<State> {
            let news = follower.poll(last).into_iter();
            let news = news.map(|(_, body)| serde_json::from_slice::<Progress>(&body).unwrap());
            news.map(|progress| progress.state).take(1).collect()
        };
        // Who asks later for the output has it from its beginning, and goes on with it.
        let mut stdout = std::fs::File::create(job.path("stdout")).unwrap();
        stdout.write_all(b"begun\n").unwrap();
        let outputs = |follower: &mut Follower| -> Vec<String> {
            let news = follower.poll(false).into_iter();
            let outputs = news.filter_map(|(_, body)| serde_json::from_slice(&body).ok());
            outputs.map(|output: Output| output.data).collect()
        };
        assert_eq!(outputs(&mut follower), [""; 0]);
        follower.terms.max_output = 100;
        for _ in 0..2 {
            follower.stream();
            assert_eq!(outputs(&mut follower), ["begun\n"]);
        }
        assert_eq!(outputs(&mut follower), [""; 0]);
        // One that waited before is told to run, unless its end is told at once.
        std::fs::remove_file(job.work_dir().join("progress")).unwrap();
        assert_eq!(states(&mut Follower::read(&job), false), [State::Running]);
        assert_eq!(states(&mut Follower::read(&job), true), []);
    }

    #[test]
    fn a_character_that_is_half_there_waits_for_its_other_half() {
        let mut bytes = "aé".as_bytes().to_vec();
        bytes.pop();
        keep_characters_whole(&mut bytes);
        assert_eq!(bytes, b"a");
        let mut broken = b"a\xffb".to_vec();
        keep_characters_whole(&mut broken);
        assert_eq!(broken, b"a\xffb");
    }
}
