//! The key of a group, in which its nodes agree: how the request ended, and what was printed.

use super::Style;
use super::ending::remark;
use client::NodeResult;
use protocol::Text;

/// The order of the fields is the order of the groups: good ones first, and without remarks before
/// those with some.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub(super) failed: bool,
    /// What the header says besides the names. Nothing, if all is well.
    pub(super) remark: String,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Bytes of stdout and stderr that the agent left out.
    pub(super) left_out: [u64; 2],
}

impl GroupKey {
    pub(super) fn of(result: &NodeResult, style: &Style) -> Self {
        let mut key = Self {
            failed: !result.outcome.is_success(),
            remark: remark(&result.outcome, result.reply.as_deref()),
            stdout: Vec::new(),
            stderr: Vec::new(),
            left_out: [0, 0],
        };
        if let Some(reply) = &result.reply {
            key.stdout = reply.stdout_as_bytes();
            key.stderr = reply.stderr_as_bytes();
            key.left_out = [
                left_out(reply.stdout_bytes, &key.stdout, &reply.stdout),
                left_out(reply.stderr_bytes, &key.stderr, &reply.stderr),
            ];
            key.stdout = with_line_end(style.stdout(reply, key.stdout));
            key.stderr = with_line_end(style.stderr(reply, key.stderr));
        }
        key
    }

    /// Nothing to say but at most one line.
    pub(super) fn is_row(&self) -> bool {
        let is_whole = self.left_out == [0, 0];
        is_whole && self.remark.is_empty() && self.stderr.is_empty() && self.has_at_most_a_line()
    }

    pub(super) fn has_at_most_a_line(&self) -> bool {
        let text = &self.stdout;
        !text.strip_suffix(b"\n").unwrap_or(text).contains(&b'\n')
    }
}

/// It is shown with one anyway: nodes that differ in nothing else agree.
fn with_line_end(mut text: Vec<u8>) -> Vec<u8> {
    if text.last().is_some_and(|&last| last != b'\n') {
        text.push(b'\n');
    }
    text
}

/// Nothing, where a mark in the text says it.
fn left_out(produced: Option<u64>, kept: &[u8], text: &str) -> u64 {
    match produced.unwrap_or(0).saturating_sub(kept.len() as u64) {
        lost if lost > 0 && Text::is_marked(text) => 0,
        lost => lost,
    }
}
