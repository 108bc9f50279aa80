//! A run on one node: how far it has come, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Action, NodeResult, Plan, Target, answer};
use protocol::{Outcome, Progress, Reply, State};

/// How long a node may say nothing, though it is asked, until it is given up where no other limit is set.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(120);
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
    /// When it said anything of the request for the last time.
    last_heard: Option<Instant>,
    /// When a message is to be sent once more.
    pub(super) retry_at: Option<Instant>,
    /// It is asked what became of the request, from before the broker confirms the question: the answer may come
    /// sooner. It has said nothing since.
    pub(super) question_confirmed: bool,
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
            last_heard: None,
            retry_at: None,
            question_confirmed: false,
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
        self.question_confirmed = false;
        self.last_heard = Some(now);
        if !self.is_picked_up() {
            self.stage = Stage::PickedUp(now);
        }
    }

    /// What it says of the request now. The answer to a status leaves out what older agents have said before.
    pub(super) fn progressed(&mut self, mut progress: Progress) {
        if let Some(last) = self.last_progress.take()
            && progress.state == State::Running
            && (progress.percent, &progress.msg) == (None, &None)
        {
            (progress.percent, progress.eta) = (last.percent, last.eta);
            progress.msg = last.msg;
        }
        self.last_progress = Some(Box::new(progress));
    }

    /// It has given output, so it has started, whatever was said before.
    pub(super) fn has_output(&mut self) {
        let known = self.last_progress.as_ref().map(|progress| progress.state);
        if !matches!(known, Some(State::Running | State::Ended | State::Replied)) {
            self.last_progress = Some(Box::new(Progress::now(State::Running)));
        }
    }

    /// Whether its time to answer is over. While there is no connection, nothing can be heard of it.
    pub(super) fn is_overdue(
        &self,
        plan: &Plan,
        connected_at: Option<Instant>,
        now: Instant,
    ) -> bool {
        let over = |since: Option<Instant>, limit| since.is_some_and(|it| now - it >= limit);
        let is_silent = || {
            let heard = self.last_heard.max(self.sent_at);
            connected_at.is_some() && over(heard.max(connected_at), MAX_SILENCE)
        };
        match (self.stage, plan.wait, plan.pickup) {
            (Stage::Waiting | Stage::Ended, ..) => false,
            (Stage::PickedUp(at), Some(wait), _) => over(Some(at), wait),
            (Stage::PickedUp(_), None, _) => is_silent(),
            // A Node.js agent does not say when it has picked a request up.
            (_, wait, _) if self.taken && !self.is_ur_agent() => {
                over(self.sent_at, wait.unwrap_or(plan.node_js_wait))
            }
            (_, _, Some(pickup)) => over(self.sent_at, pickup),
            (_, Some(wait), None) => over(self.sent_at, wait),
            (_, None, None) => is_silent(),
        }
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
            Outcome::Refused(_) if self.question_confirmed && reply.is_unknown_request() => {
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
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now - at);
        let (elapsed, silence) = (since(self.sent_at), since(self.last_heard));
        self.result.insert(NodeResult {
            last_progress: last_progress.filter(|_| outcome == Outcome::NoAnswer),
            silence,
            unroutable: self.unroutable,
            elapsed,
            ..NodeResult::of(Arc::clone(&self.target), outcome)
        })
    }
}
