//! Answers: which of a node's messages about a request this is, by its routing key.

use protocol::{NodeId, RoutingKey};

/// What a node says about a request. The body is still unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Reply,
    Progress,
    Output,
}

impl Answer {
    /// `None` for what is about no request.
    pub(super) fn of(routing_key: &str) -> Option<(NodeId, Self)> {
        let (node, answer) = match RoutingKey::parse(routing_key).ok()? {
            RoutingKey::ExecuteReply { node, .. } => (node, Self::Reply),
            RoutingKey::Progress { node, .. } => (node, Self::Progress),
            RoutingKey::Output { node, .. } => (node, Self::Output),
            _ => return None,
        };
        Some((NodeId::parse(&node).ok()?, answer))
    }
}
