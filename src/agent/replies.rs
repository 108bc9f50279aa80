//! Replies that are owed, and what else waits to be published: queued, in flight, unroutable. Lives as
//! long as a session; what must not be lost is on disk, and queued anew when the next session begins.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use job::Job;
use protocol::RequestId;

use super::outbox::Outgoing;
use super::reply::OwedReply;
use super::unroutable::UnroutableReplies;

/// Beyond this many queued messages, output waits in its files.
const MAX_QUEUED: usize = 1000;

#[derive(Default)]
pub(super) struct Replies {
    /// In the order in which they go to the outbox.
    queue: VecDeque<Outgoing>,
    /// Jobs whose replies are queued or wait for their confirm.
    in_flight: HashSet<RequestId>,
    unroutable: UnroutableReplies,
}

impl Replies {
    pub(super) fn enqueue(&mut self, message: Outgoing) {
        self.queue.push_back(message);
    }

    /// Heartbeats and ping acks overtake queued replies: hundreds of megabytes of those must not make a
    /// node that lives look dead.
    pub(super) fn enqueue_urgent(&mut self, message: Outgoing) {
        let is_reply = |queued: &Outgoing| matches!(queued, Outgoing::Reply(_));
        let before = self.queue.iter().position(is_reply);
        self.queue
            .insert(before.unwrap_or(self.queue.len()), message);
    }

    pub(super) fn enqueue_reply(&mut self, owed: OwedReply) {
        self.in_flight.insert(owed.job.id.clone());
        self.queue.push_back(Outgoing::Reply(Box::new(owed)));
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_QUEUED
    }

    pub(super) fn is_in_flight(&self, id: &RequestId) -> bool {
        self.in_flight.contains(id)
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = &RequestId> {
        self.in_flight.iter()
    }

    /// The broker has the reply in a queue.
    pub(super) fn taken(&mut self, id: &RequestId) {
        self.in_flight.remove(id);
        self.unroutable.forget(id);
    }

    /// The broker had no queue for the reply. Returns when it is sent again.
    pub(super) fn unroutable(&mut self, job: Job) -> Duration {
        self.in_flight.remove(&job.id);
        self.unroutable.put(job)
    }

    pub(super) fn has_unroutable(&self) -> bool {
        !self.unroutable.is_empty()
    }

    /// Queues the unroutable replies whose time has come.
    pub(super) fn retry_due(&mut self) {
        for job in self.unroutable.take_due() {
            self.enqueue_reply(job.into());
        }
    }

    /// The job's directory is gone.
    pub(super) fn forget(&mut self, id: &RequestId) {
        self.unroutable.forget(id);
    }

    /// Whether a reply may still be taken soon, and the node should not go down before. The sender of one that was
    /// unroutable for two seconds has gone.
    pub(super) fn has_pending_replies(&self) -> bool {
        let waits = |id: &RequestId| !self.unroutable.is_given_up(id);
        self.in_flight.iter().any(waits) || self.unroutable.has_fresh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use job::{Created, Spool};
    use protocol::{NodeId, Request};

    fn notice(key: &str) -> Outgoing {
        Outgoing::Notice {
            key: key.to_owned(),
            body: Vec::new(),
        }
    }

    fn job(spool: &Spool) -> Job {
        let (request, node) = (Request::script("true"), NodeId::parse("n1").unwrap());
        let id = RequestId::random();
        match spool.create(&id, (&node, "k"), &request.encode()) {
            Ok(Created::New(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    fn queued(replies: &mut Replies) -> Vec<String> {
        let name = |message| match message {
            Outgoing::Notice { key, .. } => key,
            Outgoing::Reply(_) => "reply".to_owned(),
            _ => "other".to_owned(),
        };
        std::iter::from_fn(|| replies.pop()).map(name).collect()
    }

    #[test]
    fn an_urgent_notice_overtakes_replies_and_no_other_notice() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let mut replies = Replies::default();
        replies.enqueue(notice("sysinfo"));
        replies.enqueue_reply(job(&spool).into());
        replies.enqueue(notice("progress"));
        replies.enqueue_urgent(notice("ack"));
        replies.enqueue_urgent(notice("heartbeat"));
        let order = queued(&mut replies);
        assert_eq!(order, ["sysinfo", "ack", "heartbeat", "reply", "progress"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unroutable_reply_waits_is_queued_again_and_settled_when_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let (mut replies, job) = (Replies::default(), job(&spool));
        replies.enqueue_reply(job.clone().into());
        assert_eq!(queued(&mut replies), ["reply"]);
        let wait = replies.unroutable(job.clone());
        assert!(!replies.is_in_flight(&job.id) && replies.has_pending_replies());
        replies.retry_due();
        assert!(replies.is_empty());
        tokio::time::advance(wait).await;
        replies.retry_due();
        assert_eq!(queued(&mut replies), ["reply"]);
        assert!(replies.is_in_flight(&job.id));
        replies.taken(&job.id);
        assert!(!replies.has_pending_replies() && !replies.has_unroutable());
    }
}
