//! The plan of a run: what is sent, how, and to what the nodes' answers are addressed.

use std::collections::HashMap;
use std::time::Duration;

use super::Target;
use protocol::{Label, NodeId, Outcome, RequestId, RoutingKey};

/// Messages that the broker has not confirmed yet, and the bytes in them: each is in memory whole.
const UNCONFIRMED: usize = 1024;
const UNCONFIRMED_BYTES: usize = 8 * 1024 * 1024;
/// Asks a node what became of a request. Starts nothing.
pub const STATUS_REQUEST: &[u8] = br#"{"type":"status"}"#;

/// What is to be sent, and how.
pub struct Plan {
    pub request: RequestId,
    pub action: Action,
    /// The same for every node.
    pub body: Vec<u8>,
    /// The digest of what was asked for, where that is known: another request of the same id has answers, too.
    pub content: Option<String>,
    /// How long a node may take to say that it has the request. It is sent again meanwhile, and not
    /// started later. `None` for what has no such answer.
    pub pickup: Option<Duration>,
    /// How long a node may take to answer, from when it picked the request up or, if it does not say
    /// when, from when it was sent to.
    pub wait: Duration,
    /// Nodes that are sent to and have not answered, at a time.
    pub concurrency: Option<usize>,
    /// Send to no more nodes when so many have failed.
    pub max_fail: Option<usize>,
    /// Listen for output as it comes.
    pub stream: bool,
    /// Bytes that are kept of each stream of a reply.
    pub max_output: u64,
    /// Which task it is, if it is one.
    pub label: Label,
    /// How it ended on nodes that have told already, should they have forgotten.
    pub earlier: HashMap<NodeId, Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Execute,
    Cancel,
    /// Starts nothing: asks for the answers to a request that was sent before.
    Attach,
}

impl Plan {
    /// Where a message for `target` goes.
    pub(super) fn key(&self, target: &Target) -> RoutingKey {
        let request = self.request.to_string();
        match self.action {
            Action::Execute | Action::Attach => RoutingKey::Execute {
                node: target.routing_word.clone(),
                request,
            },
            Action::Cancel => RoutingKey::Cancel {
                node: target.routing_word.clone(),
                request,
            },
        }
    }

    /// Where a question for `target` goes, what became of the request.
    pub(super) fn status_key(&self, target: &Target) -> RoutingKey {
        RoutingKey::Execute {
            node: target.routing_word.clone(),
            request: self.request.to_string(),
        }
    }

    /// How many messages may be on their way.
    pub(super) fn window(&self) -> usize {
        (UNCONFIRMED_BYTES / self.body.len().max(1)).clamp(1, UNCONFIRMED)
    }

    pub(super) fn answers(&self) -> Vec<String> {
        answers(&self.request, self.stream)
    }
}

/// The keys of all that nodes may say about a request.
pub(super) fn answers(request: &RequestId, stream: bool) -> Vec<String> {
    let (node, request) = (|| "*".to_owned(), request.to_string());
    let mut keys = vec![
        RoutingKey::ExecuteReply {
            node: node(),
            request: request.clone(),
        },
        RoutingKey::Progress {
            node: node(),
            request: request.clone(),
        },
    ];
    if stream {
        keys.push(RoutingKey::Output {
            node: node(),
            request,
        });
    }
    keys.iter().map(RoutingKey::to_string).collect()
}
