//! Routing keys: one enum, one table, both directions.

use std::fmt;

use super::NodeId;

/// A key of Ur's part of `amq.topic`. The words are kept as they came: whether a request id is
/// acceptable is for the receiver to say, because a bad one still gets an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutingKey {
    Startup {
        node: String,
    },
    Sysinfo {
        node: String,
        id: String,
    },
    Execute {
        node: String,
        request: String,
    },
    ExecuteReply {
        node: String,
        request: String,
    },
    Broadcast {
        what: String,
        request: String,
    },
    Ping {
        node: String,
    },
    /// Ur's own quirk, which its clients bind to: no dot between `ack` and the client's id.
    Ack {
        client: String,
        node: String,
    },
    Progress {
        node: String,
        request: String,
    },
    Output {
        node: String,
        request: String,
    },
    Cancel {
        node: String,
        request: String,
    },
    Heartbeat {
        node: String,
    },
}

/// A key that is none of Ur's, or has too few or too many words.
#[derive(Debug, PartialEq, Eq)]
pub struct BadKey(pub String);

impl RoutingKey {
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let bad = || BadKey(text.to_owned());
        let words: Vec<&str> = text.split('.').collect();
        if words.iter().any(|word| word.is_empty()) {
            return Err(bad());
        }
        let [ur, kind, rest @ ..] = words.as_slice() else {
            return Err(bad());
        };
        if *ur != "ur" {
            return Err(bad());
        }
        match *rest {
            [a] => Self::of_three(kind, a.to_owned()),
            [a, b] => Self::of_four(kind, a.to_owned(), b.to_owned()),
            _ => None,
        }
        .ok_or_else(bad)
    }

    fn of_three(kind: &str, node: String) -> Option<Self> {
        Some(match kind {
            "startup" => Self::Startup { node },
            "ping" => Self::Ping { node },
            "heartbeat" => Self::Heartbeat { node },
            _ => Self::Ack {
                client: kind.strip_prefix("ack")?.to_owned(),
                node,
            },
        })
    }

    fn of_four(kind: &str, node: String, request: String) -> Option<Self> {
        Some(match kind {
            "sysinfo" => Self::Sysinfo { node, id: request },
            "execute" => Self::Execute { node, request },
            "execute-reply" => Self::ExecuteReply { node, request },
            "broadcast" => Self::Broadcast {
                what: node,
                request,
            },
            "execute-progress" => Self::Progress { node, request },
            "execute-output" => Self::Output { node, request },
            "cancel" => Self::Cancel { node, request },
            _ => return None,
        })
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Startup { node } => write!(f, "ur.startup.{node}"),
            Self::Sysinfo { node, id } => write!(f, "ur.sysinfo.{node}.{id}"),
            Self::Execute { node, request } => write!(f, "ur.execute.{node}.{request}"),
            Self::ExecuteReply { node, request } => write!(f, "ur.execute-reply.{node}.{request}"),
            Self::Broadcast { what, request } => write!(f, "ur.broadcast.{what}.{request}"),
            Self::Ping { node } => write!(f, "ur.ping.{node}"),
            Self::Ack { client, node } => write!(f, "ur.ack{client}.{node}"),
            Self::Progress { node, request } => write!(f, "ur.execute-progress.{node}.{request}"),
            Self::Output { node, request } => write!(f, "ur.execute-output.{node}.{request}"),
            Self::Cancel { node, request } => write!(f, "ur.cancel.{node}.{request}"),
            Self::Heartbeat { node } => write!(f, "ur.heartbeat.{node}"),
        }
    }
}

/// The key that answers `request`, whatever characters its id has.
pub fn reply_key(node: &NodeId, request: &str) -> RoutingKey {
    RoutingKey::ExecuteReply {
        node: node.to_string(),
        request: request.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_survives_the_round_trip() {
        for text in [
            "ur.startup.n1",
            "ur.sysinfo.n1.8f3a",
            "ur.execute.n1.r1",
            "ur.execute.n1-00:11:22:33:44:55.r1",
            "ur.execute-reply.n1.r1",
            "ur.broadcast.sysinfo.r1",
            "ur.ping.n1",
            "ur.ack9f.n1",
            "ur.execute-progress.n1.r1",
            "ur.execute-output.n1.r1",
            "ur.cancel.n1.r1",
            "ur.heartbeat.n1",
        ] {
            assert_eq!(RoutingKey::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_key_with_too_few_too_many_or_empty_words_is_no_key() {
        for text in [
            "",
            "ur",
            "ur.execute",
            "ur.execute.n1",
            "ur.execute.n1.r1.x",
            "ur.execute..r1",
            "ur.execute.n1.",
            "ur.startup.n1.x",
            "ur.what.n1.r1",
            "rabbit.execute.n1.r1",
        ] {
            assert_eq!(RoutingKey::parse(text), Err(BadKey(text.to_owned())));
        }
    }
}
