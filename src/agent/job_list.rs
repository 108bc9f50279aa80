//! The list of jobs that run and wait, for a sender that asks: made of their directories when its turn comes.

use std::fs;

use job::Job;
use protocol::{JobList, ListedJob, Message, Outcome, Program, Progress, Reply, RoutingKey, State};
use serde_json::{Map, Value, json};

use super::jobs::Jobs;
use super::reply::status;

/// Jobs that are listed, and bytes of a request that is read for that: the list must not keep replies waiting.
const MAX_LISTED: usize = 100;
const MAX_READ: u64 = 1024 * 1024;
/// Characters of what is run.
const MAX_WHAT: usize = 60;

/// Who has asked, and what is to be listed.
#[derive(Debug)]
pub(super) struct Listing {
    pub key: RoutingKey,
    pub running: usize,
    pub waiting: usize,
    /// And how many wait before each.
    pub jobs: Vec<(Job, Option<usize>)>,
}

impl Listing {
    pub(super) fn of(jobs: &Jobs, key: RoutingKey) -> Self {
        Self {
            key,
            running: jobs.running(),
            waiting: jobs.waiting(),
            jobs: jobs.all().take(MAX_LISTED).collect(),
        }
    }

    /// A reply as any other, with the list beside it.
    pub(super) fn body(&self) -> Vec<u8> {
        let list = JobList {
            running: self.running,
            waiting: self.waiting,
            jobs: self.jobs.iter().filter_map(listed).collect(),
        };
        let mut body: Map<String, Value> = Map::new();
        for part in [
            json!(Reply::of(&Outcome::Exited { status: 0 })),
            json!(list),
        ] {
            body.extend(part.as_object().cloned().unwrap_or_default());
        }
        Value::Object(body).to_string().into_bytes()
    }
}

/// `None` for one that has ended since.
fn listed((job, before): &(Job, Option<usize>)) -> Option<ListedJob> {
    let state = job.state();
    if matches!(state, State::Ended | State::Replied) {
        return None;
    }
    let is_short = fs::metadata(job.path("request.json")).is_ok_and(|it| it.len() <= MAX_READ);
    let (progress, what) = match is_short {
        true => (status(job, *before), what(job)),
        false => (Progress::now(state), None),
    };
    Some(ListedJob {
        request: job.id.clone(),
        what,
        progress,
    })
}

/// A task's name, or the first line of a script that is not about its interpreter, or the path of a file.
fn what(job: &Job) -> Option<String> {
    let Ok(Message::Run(request)) = job.message() else {
        return None;
    };
    if let Some(name) = request.label.name {
        return Some(name);
    }
    let text = match &request.program {
        Program::Script(text) => text.lines().find(|line| !line.starts_with("#!"))?,
        Program::File(path) => path,
    };
    Some(text.chars().take(MAX_WHAT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, Request, RequestId, reply_key};

    #[test]
    fn a_job_is_listed_with_what_it_is_and_whose_and_a_long_one_without() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let node = NodeId::parse("n1").unwrap();
        let create = |id: &str, script: String| {
            let mut request = Request::script(script);
            request.origin = Some(json!({"user": "root"}));
            let id = RequestId::parse(id).unwrap();
            match spool.create(&id, (&node, "k"), &request.encode()) {
                Ok(Created::New(job)) => job,
                other => panic!("{other:?}"),
            }
        };
        let jobs = [
            create("r1", "#!/bin/sh\nsleep 1000\n".to_owned()),
            create("r2", "x".repeat(MAX_READ as usize)),
        ];
        let listing = Listing {
            key: reply_key(&node, "q"),
            running: 0,
            waiting: 2,
            jobs: jobs.into_iter().zip([Some(0), Some(1)]).collect(),
        };
        let body = listing.body();
        assert_eq!(Reply::decode(&body).unwrap().0.exit_status, 0);
        let list: JobList = serde_json::from_slice(&body).unwrap();
        assert_eq!((list.waiting, list.jobs.len()), (2, 2));
        let first = &list.jobs[0];
        assert_eq!(first.what.as_deref(), Some("sleep 1000"));
        assert_eq!(first.progress.before, Some(0));
        assert_eq!(first.progress.origin, Some(json!({"user": "root"})));
        let long = &list.jobs[1];
        assert_eq!((&long.what, long.progress.state), (&None, State::Queued));
    }
}
