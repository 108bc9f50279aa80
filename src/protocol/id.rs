//! The two names in every routing key, parsed once and valid ever after.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ErrorCode, Refusal};

/// The longest names that are accepted, in bytes. A UUID has 36; both have to fit into an AMQP routing
/// key, of 255 at most, with room for the other words.
const MAX_NODE: usize = 64;
const MAX_REQUEST: usize = 128;

/// A node's name on the wire: the `UUID` of its sysinfo. One word of a routing key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(String);

/// The name of one request, chosen by its sender; also the name of the job's directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

fn is_word(text: &str, max: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text.len() <= max && text.bytes().all(allowed)
}

impl NodeId {
    /// Fails unless `text` is one word of at most 64 of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_word(text, MAX_NODE) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} cannot name a node: use 1 to {MAX_NODE} of A-Z a-z 0-9 _ -"
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RequestId {
    /// Refuses anything but one word of at most 128 of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if is_word(text, MAX_REQUEST) {
            return Ok(Self(text.to_owned()));
        }
        Err(Refusal::new(
            ErrorCode::BadRequest,
            format!(
                "the request id has {} bytes or characters that are not allowed: use 1 to {MAX_REQUEST} of A-Z a-z 0-9 _ -",
                text.len()
            ),
        ))
    }

    /// A new one that no other sender has.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for RequestId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|refusal| refusal.message)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_that_triton_sends_are_accepted() {
        for id in ["564dba97-54f6-4d3d-50d4-f4e2a9a3f0a5", "0a1b2c3d", "a_b-C9"] {
            assert_eq!(RequestId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn an_id_with_a_dot_a_slash_or_too_many_bytes_is_refused() {
        let long = "x".repeat(129);
        for id in ["", "a.b", "../etc", "a b", "ü", "a\0", long.as_str()] {
            let refusal = RequestId::parse(id).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::BadRequest, "{id:?}");
            assert!(NodeId::parse(id).is_err(), "{id:?}");
        }
        assert!(RequestId::parse(&"x".repeat(128)).is_ok());
        assert!(NodeId::parse(&"x".repeat(64)).is_ok() && NodeId::parse(&"x".repeat(65)).is_err());
    }
}
