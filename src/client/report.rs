//! The report of a run: events while it goes on, and the results of its nodes.

use std::sync::Arc;
use std::time::Duration;

use super::{BatchEnd, Target};
use protocol::{Outcome, Output, Progress, Reply};

/// What happens in a run.
#[derive(Debug)]
pub enum RunEvent<'a> {
    /// The first message for this node is about to be published.
    Publishing(&'a Target),
    /// The broker has put it into the node's queue.
    Sent(&'a Target),
    /// The node has not said that it has the request, which is sent once more.
    Resending(&'a Target),
    Progress(&'a Target, &'a Progress),
    Output(&'a Target, Output),
    /// It is over for this node. A view that has shown the reply may take it out: thousands of outputs
    /// are not kept for nothing.
    Ended(&'a mut NodeResult),
    /// A second has passed.
    Tick,
    /// The operator is about to be asked what becomes of the run.
    Asking,
    /// The operator has answered: it goes on as before.
    GoingOn,
    /// What still runs is cancelled, as the operator wants.
    Cancelling,
    BatchEnded(BatchEnd),
    ConnectionLost(&'a str),
    /// An attempt to connect again has failed; the next one follows.
    NoConnection(&'a str),
    Reconnected,
}

impl RunEvent<'_> {
    /// The node that has just said something.
    pub fn answers(&self) -> Option<&Target> {
        match self {
            Self::Progress(target, _) | Self::Output(target, _) => Some(target),
            Self::Ended(result) => result.reply.as_ref().map(|_| &*result.target),
            _ => None,
        }
    }
}

/// How it ended for one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeResult {
    pub target: Arc<Target>,
    pub outcome: Outcome,
    /// Absent where no node can have answered.
    pub reply: Option<Box<Reply>>,
    /// What its reply has that this version does not know, as JSON.
    pub unknown_fields: serde_json::Map<String, serde_json::Value>,
    /// The last that a node said of the request that has not answered, if it said anything.
    pub last_progress: Option<Box<Progress>>,
    /// How long it has said nothing, where it has not answered.
    pub silence: Duration,
    /// No queue took the last message for it.
    pub unroutable: bool,
    /// Since the request was sent.
    pub elapsed: Duration,
}

impl NodeResult {
    /// Of which only that is known.
    pub fn of(target: Arc<Target>, outcome: Outcome) -> Self {
        Self {
            target,
            outcome,
            reply: None,
            unknown_fields: serde_json::Map::new(),
            last_progress: None,
            silence: Duration::ZERO,
            unroutable: false,
            elapsed: Duration::ZERO,
        }
    }
}

/// What is known when a run is over.
#[derive(Debug, Default)]
pub struct Report {
    pub results: Vec<NodeResult>,
    /// Nodes that nothing was sent to, because the run was stopped before.
    pub not_sent: Vec<Arc<Target>>,
    /// Ended by the operator, not by the nodes.
    pub interrupted: bool,
}
