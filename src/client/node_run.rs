//! A run on one node: how far it has come, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Action, NodeResult, Plan, Target, answer};
use protocol::{Outcome, Progress, Reply};

/// What the operator reads of a node that knows nothing of the request.
const FORGOTTEN: &str =
    "the node does not know the request: it never arrived, or the node has restarted since";

pub(super) struct NodeRun {
    pub(super) target: Arc<Target>,
    pub(super) stage: Stage,
    /// When the request was published first.
    pub(super) sent_at: Option<Instant>,
    /// The request may be in the hands of the node: a queue took it, or that is not known.
    pub(super) taken: bool,
    pub(super) last_progress: Option<Box<Progress>>,
    /// When a message is to be sent once more.
    pub(super) retry_at: Option<Instant>,
    /// It was asked what became of the request, and has said nothing since.
    pub(super) status_asked: bool,
    /// No queue took the last message for it.
    pub(super) unroutable: bool,
    pub(super) result: Option<NodeResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    /// Published; whether the broker has it is not known.
    Publishing,
    Sent,
    /// The node has said that it has the request.
    PickedUp(Instant),
    Ended,
}

impl NodeRun {
    pub(super) fn of(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            stage: Stage::Waiting,
            sent_at: None,
            taken: false,
            last_progress: None,
            retry_at: None,
            status_asked: false,
            unroutable: false,
            result: None,
        }
    }

    pub(super) fn is_ur_agent(&self) -> bool {
        self.target.agent.is_some()
    }

    pub(super) fn is_in_flight(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Ended)
    }

    pub(super) fn is_picked_up(&self) -> bool {
        matches!(self.stage, Stage::PickedUp(_))
    }

    pub(super) fn picked_up(&mut self, now: Instant) {
        self.status_asked = false;
        if !self.is_picked_up() {
            self.stage = Stage::PickedUp(now);
        }
    }

    /// Whether its time to answer is over.
    pub(super) fn is_overdue(&self, plan: &Plan, now: Instant) -> bool {
        let Plan { pickup, wait, .. } = plan;
        let (since, limit) = match self.stage {
            Stage::Waiting | Stage::Ended => return false,
            Stage::PickedUp(at) => (Some(at), wait),
            // A Node.js agent does not say when it has picked a request up.
            _ if self.taken && !self.is_ur_agent() => (self.sent_at, wait),
            _ => (self.sent_at, pickup.as_ref().unwrap_or(wait)),
        };
        since.is_some_and(|since| now - since >= *limit)
    }

    /// How it ends without a word of the node.
    pub(super) fn silent(&self, plan: &Plan) -> Outcome {
        // Then the node cannot have it.
        let absent = !self.taken && self.unroutable && plan.action != Action::Attach;
        if absent {
            Outcome::NotConnected
        } else {
            Outcome::NoAnswer
        }
    }

    /// How it ends by that reply.
    pub(super) fn judge(&self, reply: &Reply) -> Outcome {
        match task::outcome(reply) {
            // The answer to our question and not to our request.
            Outcome::Refused(_) if self.status_asked && reply.is_unknown_request() => {
                Outcome::Undetermined {
                    message: FORGOTTEN.to_owned(),
                }
            }
            outcome => outcome,
        }
    }

    /// Ends it, and gives the result back.
    pub(super) fn end(&mut self, outcome: Outcome, now: Instant) -> &mut NodeResult {
        self.stage = Stage::Ended;
        let outcome = answer::plain(outcome);
        let last_progress = self.last_progress.take();
        let elapsed = self.sent_at.map_or(Duration::ZERO, |sent| now - sent);
        self.result.insert(NodeResult {
            target: Arc::clone(&self.target),
            last_progress: last_progress.filter(|_| outcome == Outcome::NoAnswer),
            outcome,
            reply: None,
            unknown_fields: serde_json::Map::new(),
            unroutable: self.unroutable,
            elapsed,
        })
    }
}
