//! Replies made of job directories: the same bytes each time one is asked for.

use std::time::Duration;

use anyhow::Result;
use tracing::error;

use super::follower;
use job::capture::Captured;
use job::{Job, OutcomeRecord};
use protocol::{Label, Message, Outcome, Progress, Reply, Request, State, Text};

/// What RabbitMQ 4 takes in one message, less room for what stands around the output.
pub(super) const MAX_BODY: usize = 15 * 1024 * 1024;

/// What a reply needs to know of its request.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplyTerms {
    /// The digest of the request's content.
    pub content: Option<String>,
    pub label: Label,
    /// Bytes kept of each stream.
    pub max_output: u64,
    /// Whether output is published as it comes, too.
    pub stream: bool,
    pub timeout: Option<Duration>,
}

impl ReplyTerms {
    pub(super) fn of(request: Request) -> Self {
        Self {
            content: Some(request.content()),
            label: request.label,
            max_output: request.max_output,
            stream: request.stream,
            timeout: request.timeout,
        }
    }

    pub(super) fn read(job: &Job) -> Option<Self> {
        match job.message() {
            Ok(Message::Run(request)) => Some(Self::of(*request)),
            Ok(Message::Status { .. } | Message::Jobs) | Err(_) => None,
        }
    }
}

/// A reply that is owed. Its output, and what is not `known`, is read when its turn comes.
#[derive(Debug)]
pub(super) struct OwedReply {
    pub job: Job,
    pub known: Option<(OutcomeRecord, ReplyTerms)>,
}

impl From<Job> for OwedReply {
    fn from(job: Job) -> Self {
        Self { job, known: None }
    }
}

impl OwedReply {
    /// The body that answers for a job that has ended, in at most `max_body` bytes: output that is too
    /// long for the broker is shortened in the middle, and `stdout_bytes` tells.
    pub(super) fn body(&self, max_body: usize) -> Vec<u8> {
        match &self.known {
            Some((outcome, terms)) => shortened_to(max_body, &self.job, outcome, Some(terms)),
            None => of(&self.job, max_body).unwrap_or_else(|error| {
                let error = format!("{error:#}");
                error!(request = %self.job.id, error, "cannot read a job");
                unreadable(&error)
            }),
        }
    }
}

/// The same for a job of which nothing is known but its directory.
pub(super) fn of(job: &Job, max_body: usize) -> Result<Vec<u8>> {
    let outcome = job
        .outcome()?
        .unwrap_or_else(|| OutcomeRecord::unseen(undetermined("the job has no outcome")));
    let terms = ReplyTerms::read(job);
    Ok(shortened_to(max_body, job, &outcome, terms.as_ref()))
}

fn shortened_to(
    max_body: usize,
    job: &Job,
    outcome: &OutcomeRecord,
    terms: Option<&ReplyTerms>,
) -> Vec<u8> {
    // No body can hold more of a stream than its own length.
    let mut keep = max_body;
    loop {
        let (reply, kept) = build(job, outcome, terms, keep);
        let bytes = match reply.encode_within(max_body) {
            Ok(body) => return body,
            Err(_) if kept == 0 => return reply.encode(),
            Err(bytes) => bytes,
        };
        keep = shortened(kept, bytes, max_body);
    }
}

/// What to keep of each stream next, after a body that was too long with `kept` bytes of one. A byte takes
/// up to six in JSON, so the first guess is rarely the last.
fn shortened(kept: usize, body: usize, max_body: usize) -> usize {
    let share = max_body as f64 / body as f64;
    (kept as f64 * share * 0.9) as usize
}

/// The answer for a job whose files cannot be read: that it was accepted is all that is known.
fn unreadable(error: &str) -> Vec<u8> {
    let message = format!("the node cannot read what it has of the request: {error}");
    Reply::of(&undetermined(message)).encode()
}

/// The reply, and how many bytes of the longer stream are in it.
fn build(
    job: &Job,
    end: &OutcomeRecord,
    terms: Option<&ReplyTerms>,
    keep: usize,
) -> (Reply, usize) {
    let mut kept = 0;
    let mut reply = Reply::of(&end.outcome);
    reply.started_at = end.started_at;
    reply.duration_ms = end.duration_ms;
    reply.usage = end.usage;
    if let Some(terms) = terms {
        reply.set_label(terms.label.clone());
        reply.content.clone_from(&terms.content);
        let mut stream = |name, seen| {
            let (captured, total) = output(job, name, terms.max_output, (seen, keep));
            kept = kept.max(captured.head.len() + captured.tail.len());
            (text(captured, total), total)
        };
        let (text, total) = stream("stdout", end.stdout_bytes);
        reply.set_stdout(text, total);
        let (text, total) = stream("stderr", end.stderr_bytes);
        reply.set_stderr(text, total);
    }
    (reply, kept)
}

/// What there is of a stream, and how much was produced. How a script ended is worth telling even if what
/// it wrote cannot be read any more; that it is missing shows in the second number.
fn output(job: &Job, name: &str, max: u64, (seen, keep): (u64, usize)) -> (Captured, u64) {
    match Captured::read(&job.path(name), max, keep as u64) {
        Ok(captured) => {
            let total = captured.total.max(seen);
            (captured, total)
        }
        Err(error) => {
            error!(request = %job.id, error = format!("{error:#}"), "cannot read output");
            (Captured::default(), seen)
        }
    }
}

/// With a mark where the middle was.
fn text(captured: Captured, total: u64) -> Text {
    let kept = (captured.head.len() + captured.tail.len()) as u64;
    match total.saturating_sub(kept) {
        lost if lost > 0 && !captured.tail.is_empty() => {
            Text::of_ends(captured.head, &captured.tail, lost)
        }
        _ => Text::of(captured.bytes()),
    }
}

/// A job's life so far, in answer to a status or a second delivery.
pub(super) fn status(job: &Job, before: Option<usize>) -> Progress {
    let mut progress = match job.state() {
        State::Running => follower::latest_progress(job),
        state => Progress::now(state),
    };
    progress.before = before;
    if let Ok(record) = job.record() {
        progress.accepted_at = Some(record.received_at);
    }
    if let Ok(Message::Run(request)) = job.message() {
        progress.timestamp = request.timestamp;
        progress.origin = request.origin;
    }
    if let Ok(Some(pids)) = job.pids() {
        progress.started_at = Some(pids.started_at);
    }
    if let Ok(Some(end)) = job.outcome() {
        progress.ended_at = Some(end.ended_at);
        progress.replied_at = job.replied_at();
    } else if progress.state == State::Running && progress.started_at.is_none() {
        progress.state = State::Accepted;
    }
    progress
}

pub(super) fn undetermined(message: impl Into<String>) -> Outcome {
    Outcome::Undetermined {
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, RequestId};

    #[test]
    fn a_reply_that_must_be_shortened_is_so_in_a_few_steps_however_much_was_produced() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let mut request = Request::script("true");
        request.max_output = 10_000;
        let (id, node) = (RequestId::random(), NodeId::parse("n1").unwrap());
        let body = request.encode();
        let Created::New(job) = spool.create(&id, (&node, "k"), &body).unwrap() else {
            panic!("a new job")
        };
        let mut file = std::fs::File::create(job.path("stdout")).unwrap();
        std::io::Write::write_all(&mut file, &[b'x'; 10_000]).unwrap();
        let mut end = OutcomeRecord::unseen(Outcome::Exited { status: 0 });
        // As after a script that wrote for years: each step once shortened no more than a tenth of this.
        end.stdout_bytes = u64::MAX;
        job.write_outcome(&end).unwrap();
        assert!(shortened(10_000, 10_300, 10_000) < 10_000);
        let body = of(&job, 5_000).unwrap();
        assert!((4_000..=5_000).contains(&body.len()), "{}", body.len());
        let reply: Reply = serde_json::from_slice(&body).unwrap();
        assert_eq!(reply.stdout_bytes, Some(u64::MAX));
    }
}
