//! Answers: which of a node's messages about a request this is, by its routing key, and its body, read within
//! bounds. Anyone who may publish may have sent it: what is too long is not parsed, and words are made plain.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Plain;
use protocol::{NodeId, Outcome, Output, Progress, Reply, RoutingKey, Text};

/// Bytes of a reply: twice the output that an agent keeps for `ur`, as JSON writes the worst of it.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// Bytes of a reply besides its output: parsed, they take many times as much.
const MAX_FIELDS: usize = 1024 * 1024;
const MAX_PIECE: usize = 16 * 1024 * 1024;
const MAX_PROGRESS: usize = 1024 * 1024;
/// Bytes of a progress whose `origin` and `timestamp` are kept: there is one for each node.
const MAX_ORIGIN: usize = 16 * 1024;
/// Bytes of the mark that an agent puts where it has cut itself.
const MARK: usize = 256;
const STREAMS: [&str; 4] = ["stdout", "stderr", "stdout_base64", "stderr_base64"];

/// What a node says about a request. The body is still unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Reply,
    Progress,
    Output,
}

impl AnswerKind {
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

/// A reply, and what it has that this version does not know. The error says why it is not read.
pub(super) fn reply(body: &[u8]) -> Result<(Reply, Map<String, Value>), String> {
    if body.len() > MAX_REPLY {
        let bytes = body.len();
        return Err(format!(
            "it has {bytes} bytes, of which ur takes {MAX_REPLY} at most"
        ));
    }
    let fields: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let others = fields
        .iter()
        .filter(|(name, _)| !STREAMS.contains(&&***name))
        .map(|(name, value)| name.len() + value.get().len());
    let others: usize = others.sum();
    if others > MAX_FIELDS {
        return Err(format!(
            "it has {others} bytes besides the output, of which ur takes {MAX_FIELDS} at most"
        ));
    }
    drop(fields);
    Reply::decode(body).map_err(|error| error.to_string())
}

/// Cuts each stream of a reply to `max` bytes, from an agent that was not asked to, or did not obey.
pub(super) fn shorten(reply: &mut Reply, max: u64) {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if reply.stdout.len() > max || reply.stdout_base64.is_some() {
        let produced = reply.stdout_bytes;
        if let Some((text, produced)) = ends(reply.stdout_as_bytes(), produced, max) {
            reply.set_stdout(text, produced);
        }
    }
    if reply.stderr.len() > max || reply.stderr_base64.is_some() {
        let produced = reply.stderr_bytes;
        if let Some((text, produced)) = ends(reply.stderr_as_bytes(), produced, max) {
            reply.set_stderr(text, produced);
        }
    }
}

/// Its first and last bytes, where it has more than `max`, and how many were produced.
fn ends(mut bytes: Vec<u8>, produced: Option<u64>, max: usize) -> Option<(Text, u64)> {
    let length = bytes.len();
    if length <= max.saturating_add(MARK) {
        return None;
    }
    let head = max / 2;
    bytes.drain(head..length - (max - head));
    bytes.shrink_to_fit();
    Some((Text::of(bytes), produced.unwrap_or(0).max(length as u64)))
}

/// `None` for what is no progress, or too long to be one.
pub(super) fn progress(body: &[u8]) -> Option<Progress> {
    if body.len() > MAX_PROGRESS {
        return None;
    }
    let mut progress: Progress = serde_json::from_slice(body).ok()?;
    make_plain(&mut progress);
    if body.len() > MAX_ORIGIN {
        (progress.timestamp, progress.origin) = (None, None);
    }
    Some(progress)
}

/// What is shown of it, in words that can be shown.
pub(super) fn make_plain(progress: &mut Progress) {
    progress.msg = progress.msg.take().map(|msg| Plain::of(&msg).into());
}

/// `None` for what is no piece of output, or too long to be one.
pub(super) fn output(body: &[u8]) -> Option<Output> {
    let is_piece = body.len() <= MAX_PIECE;
    is_piece.then(|| serde_json::from_slice(body).ok())?
}

/// The same ending in words that can be shown.
pub(super) fn plain(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Refused(mut refusal) => {
            refusal.message = Plain::of(&refusal.message).into();
            Outcome::Refused(refusal)
        }
        Outcome::Undetermined { message } => Outcome::Undetermined {
            message: Plain::of(&message).into(),
        },
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{ErrorCode, Refusal, State};
    use serde_json::json;

    #[test]
    fn a_reply_that_is_too_long_is_not_parsed_and_says_so() {
        let error = reply(&vec![b' '; MAX_REPLY + 1]).unwrap_err();
        assert!(error.contains("67108864 at most"), "{error}");
        let mut long = Reply::of(&Outcome::Exited { status: 0 });
        long.stdout = "x".repeat(2 * MAX_FIELDS);
        assert!(reply(&long.encode()).is_ok());
        // A tree of numbers takes sixteen times its text.
        let tree = json!({"exit_status": vec![0; MAX_FIELDS], "stdout": ""});
        let error = reply(tree.to_string().as_bytes()).unwrap_err();
        assert!(error.contains("besides the output"), "{error}");
        assert!(reply(b"[1]").is_err());
    }

    #[test]
    fn output_beyond_what_was_asked_for_loses_its_middle_and_is_counted() {
        let mut long = Reply::of(&Outcome::Exited { status: 0 });
        long.set_stdout(
            Text::of([&b"head"[..], &[0xff; 300], b"tail"].concat()),
            1000,
        );
        long.stderr = "short".to_owned();
        shorten(&mut long, 8);
        assert_eq!(long.stdout_as_bytes(), b"headtail");
        assert_eq!(long.stdout_bytes, Some(1000));
        assert_eq!((long.stderr.as_str(), long.stderr_bytes), ("short", None));
        long.set_stdout(Text::of(vec![b'x'; 300]), 300);
        long.stdout_bytes = None;
        shorten(&mut long, 100);
        assert_eq!(
            (long.stdout.len(), long.stdout_bytes),
            (300, None),
            "with a mark"
        );
        shorten(&mut long, 5);
        assert_eq!(
            (long.stdout.as_str(), long.stdout_bytes),
            ("xxxxx", Some(300))
        );
    }

    #[test]
    fn what_a_node_says_of_a_request_is_made_plain() {
        let mut said = Progress::now(State::Running);
        said.msg = Some("\x1b[2Jdone\n".to_owned());
        said.origin = Some(json!("x".repeat(MAX_ORIGIN)));
        let read = progress(&serde_json::to_vec(&said).unwrap()).unwrap();
        assert_eq!(read.msg.as_deref(), Some("\\u{1b}[2Jdone\\n"));
        assert_eq!(read.origin, None);
        said.msg = Some("x".repeat(MAX_PROGRESS));
        assert!(progress(&serde_json::to_vec(&said).unwrap()).is_none());
        let refused = Refusal::new(ErrorCode::Busy, "no\x07");
        let shown = plain(Outcome::Refused(refused)).to_string();
        assert_eq!(shown, "refused: no\\u{7}");
    }
}
