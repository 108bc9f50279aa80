//! The plan of a run: what is sent, how, and to what the nodes' answers are addressed.

use std::collections::HashMap;
use std::time::Duration;

use super::{Rolling, Target};
use protocol::{Label, NodeId, Outcome, RequestId, RoutingKey};

/// Messages that the broker has not confirmed yet, and the bytes in them: each is in memory whole.
const UNCONFIRMED: usize = 1024;
const UNCONFIRMED_BYTES: usize = 8 * 1024 * 1024;
/// How long an agent may take that says nothing but the reply, where nothing else is wanted.
const NODE_JS_WAIT: Duration = Duration::from_secs(60);
/// Asks a node what became of a request. Starts nothing.
pub const STATUS_REQUEST: &[u8] = br#"{"type":"status"}"#;

/// The same, and to send the output of what still runs.
pub const STREAM_REQUEST: &[u8] = br#"{"type":"status","stream":true}"#;
pub(super) const CANCEL_REQUEST: &[u8] = b"{}";

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
    /// How long a node may take to answer, from when it picked the request up. `None`: as long as it says
    /// that it has the request.
    pub wait: Option<Duration>,
    /// The same for a Node.js agent, which does not say that, from when it was sent to.
    pub node_js_wait: Duration,
    /// Nodes that are sent to and have not answered, at a time.
    pub concurrency: Option<usize>,
    /// Send to no more nodes when so many have failed.
    pub max_fail: Option<usize>,
    pub rolling: Rolling,
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
    /// For all nodes at once, and with no bounds but the node's own.
    pub fn new(request: RequestId, action: Action, body: Vec<u8>) -> Self {
        Self {
            request,
            action,
            body,
            content: None,
            pickup: None,
            wait: None,
            node_js_wait: NODE_JS_WAIT,
            concurrency: None,
            max_fail: None,
            rolling: Rolling::default(),
            stream: false,
            max_output: u64::MAX,
            label: Label::default(),
            earlier: HashMap::new(),
        }
    }

    /// Where a message for `target` goes.
    pub(super) fn key(&self, target: &Target) -> RoutingKey {
        match self.action {
            Action::Execute | Action::Attach => self.status_key(target),
            Action::Cancel => self.cancel_key(target),
        }
    }

    /// Where a question for `target` goes, what became of the request.
    pub(super) fn status_key(&self, target: &Target) -> RoutingKey {
        RoutingKey::Execute {
            node: target.routing_word.clone(),
            request: self.request.to_string(),
        }
    }

    /// Where the wish goes that `target` ends it.
    pub(super) fn cancel_key(&self, target: &Target) -> RoutingKey {
        RoutingKey::Cancel {
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
