//! What a run tells while it goes on, and when it is over.

use std::time::Duration;

use super::Target;
use protocol::{Outcome, Output, Progress, Reply};

/// What happens in a run.
#[derive(Debug)]
pub enum RunEvent<'a> {
    /// The first message for this node is about to be published.
    Publishing(&'a Target),
    /// The broker has put it into the node's queue.
    Sent(&'a Target),
    /// Nothing was heard of it: the request is sent once more.
    Resending(&'a Target),
    Progress(&'a Target, &'a Progress),
    Output(&'a Target, Output),
    /// It is over for this node. Whoever has shown the reply may take it out: thousands of outputs
    /// are not kept for nothing.
    Ended(&'a mut NodeResult),
    ConnectionLost(&'a str),
    /// An attempt to connect again has failed; the next one follows.
    NoConnection(&'a str),
    Reconnected,
}

/// How it ended for one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeResult {
    pub target: Target,
    pub outcome: Outcome,
    /// Absent where no node can have answered.
    pub reply: Option<Reply>,
    /// What its reply has that this version does not know, as JSON.
    pub unknown_fields: serde_json::Map<String, serde_json::Value>,
    /// The last that the node said of the request, if it said anything.
    pub last_progress: Option<Progress>,
    /// When the last message for it was published, no agent was there to take it.
    pub unroutable: bool,
    /// Since the request was sent.
    pub elapsed: Duration,
}

/// What is known when a run is over.
#[derive(Debug, Default)]
pub struct Report {
    pub results: Vec<NodeResult>,
    /// Those whose turn never came.
    pub not_sent: Vec<Target>,
    /// Ended by the operator, not by the nodes.
    pub interrupted: bool,
}
