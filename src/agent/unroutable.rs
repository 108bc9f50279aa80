//! Unroutable replies, and when each is sent again: after a second, then after twice as long each time. Only for this
//! session; the next one sends every open reply at once.

use std::time::Duration;

use tokio::time::Instant;

use job::Job;
use protocol::RequestId;

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);
/// A client that asked before its queue was bound has it by then.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct UnroutableReplies(Vec<UnroutableReply>);

struct UnroutableReply {
    job: Job,
    delay: Duration,
    since: Instant,
    /// `None` while it is in flight.
    retry_at: Option<Instant>,
}

impl UnroutableReply {
    fn is_given_up(&self) -> bool {
        self.since.elapsed() >= GIVEN_UP_AFTER
    }
}

impl UnroutableReplies {
    /// Returns how long it will be until the job's reply is sent again.
    pub(super) fn put(&mut self, job: Job) -> Duration {
        let known = self.0.iter_mut().find(|entry| entry.job == job);
        let delay = known
            .as_ref()
            .map_or(FIRST, |entry| MAX.min(entry.delay * 2));
        let retry_at = Some(Instant::now() + delay);
        match known {
            Some(entry) => (entry.delay, entry.retry_at) = (delay, retry_at),
            None => self.0.push(UnroutableReply {
                job,
                delay,
                since: Instant::now(),
                retry_at,
            }),
        }
        delay
    }

    pub(super) fn forget(&mut self, id: &RequestId) {
        self.0.retain(|entry| entry.job.id != *id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has been unroutable for so long that its sender must have gone.
    pub(super) fn is_given_up(&self, id: &RequestId) -> bool {
        let mut entries = self.0.iter();
        entries.any(|entry| entry.job.id == *id && entry.is_given_up())
    }

    /// Whether one may be taken the next time.
    pub(super) fn has_fresh(&self) -> bool {
        self.0.iter().any(|entry| !entry.is_given_up())
    }

    pub(super) fn take_due(&mut self) -> Vec<Job> {
        let now = Instant::now();
        let due = |entry: &mut UnroutableReply| {
            entry
                .retry_at
                .take_if(|at| *at <= now)
                .map(|_| entry.job.clone())
        };
        self.0.iter_mut().filter_map(due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, Request};

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_sent_again_after_twice_as_long_each_time_up_to_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let (request, id) = (Request::script("true"), RequestId::random());
        let node = NodeId::parse("n1").unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let Ok(Created::New(job)) = spool.create(&id, (&node, "k"), &request.encode()) else {
            panic!("not admitted");
        };
        let mut unroutable = UnroutableReplies::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let delay = unroutable.put(job.clone());
            assert_eq!(delay, Duration::from_secs(seconds));
            tokio::time::advance(delay - Duration::from_millis(1)).await;
            assert_eq!(unroutable.take_due(), []);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(unroutable.take_due(), std::slice::from_ref(&job));
            assert_eq!(unroutable.take_due(), []);
        }
        unroutable.forget(&job.id);
        assert!(unroutable.is_empty());
    }
}
