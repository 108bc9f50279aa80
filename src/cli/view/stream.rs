//! Live output (`--stream`): whole lines as they are written, each with its node.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Style;
use client::{NodeResult, Target};
use protocol::{NodeId, Output, Stream, Text};

pub(super) struct Streams {
    pieces: HashMap<(NodeId, Stream), Piece>,
    style: Style,
    stderr: super::OutputForm,
}

/// A stream of one node.
#[derive(Default)]
struct Piece {
    /// Of the node.
    name: String,
    /// How far it has been shown or is in `line`, in bytes.
    offset: u64,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// When something of it came.
    came_at: Option<Instant>,
}

/// A line that is longer is shown in pieces: it is in memory until its end comes.
const MAX_LINE: usize = 1024 * 1024;

/// A line whose end does not come is shown after that: a question, or a bar that grows.
const PATIENCE: Duration = Duration::from_secs(1);

impl Streams {
    pub(super) fn new(style: Style, stderr: super::OutputForm) -> Self {
        let pieces = HashMap::new();
        Self {
            pieces,
            style,
            stderr,
        }
    }

    /// The lines that are whole now.
    pub(super) fn add(&mut self, target: &Target, output: &Output) -> Vec<u8> {
        // A result that has a page is shown when it is whole.
        if output.stream == Stream::Stdout && !self.style.program.pages.is_empty() {
            return Vec::new();
        }
        let bytes = Text::bytes(&output.data, output.data_base64.as_deref());
        let piece = self.piece(target, output.stream);
        piece.came_at = Some(Instant::now());
        let lines = piece.add(output.offset, &bytes);
        self.prefixed(&target.name(), output.stream, &lines)
    }

    /// Beginnings of lines that have waited for their ends long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Stream, Vec<u8>)> {
        let is_due = |piece: &Piece| {
            let waits = |at| now.saturating_duration_since(at) >= PATIENCE;
            !piece.line.is_empty() && piece.came_at.is_some_and(waits)
        };
        let due = self.pieces.iter_mut().filter(|(_, piece)| is_due(piece));
        let due = due.map(|((_, stream), piece)| {
            let line = [&std::mem::take(&mut piece.line)[..], b"\n"].concat();
            (piece.name.clone(), *stream, line)
        });
        let due: Vec<(String, Stream, Vec<u8>)> = due.collect();
        due.into_iter()
            .map(|(name, stream, line)| (stream, self.prefixed(&name, stream, &line)))
            .collect()
    }

    /// What has not been shown: the last line, or all of it where the agent cannot stream.
    pub(super) fn end(&mut self, result: &NodeResult, stream: Stream) -> Vec<u8> {
        let key = (result.target.id.clone(), stream);
        let mut lines = Vec::new();
        if stream == Stream::Stdout
            && !self.style.program.pages.is_empty()
            && let Some(reply) = &result.reply
        {
            lines = self.style.stdout(reply, reply.stdout_as_bytes());
            return self.prefixed(&result.target.name(), stream, &lines);
        }
        if let Some(reply) = &result.reply {
            let (bytes, produced) = match stream {
                Stream::Stdout => (reply.stdout_as_bytes(), reply.stdout_bytes),
                Stream::Stderr => (reply.stderr_as_bytes(), reply.stderr_bytes),
            };
            // Which part of a truncated stream was shown cannot be told: only if none was.
            let whole = produced.is_none_or(|produced| produced == bytes.len() as u64);
            if whole || !self.pieces.contains_key(&key) {
                lines = self.piece(&result.target, stream).add(0, &bytes);
            }
        }
        if let Some(piece) = self.pieces.remove(&key)
            && !piece.line.is_empty()
        {
            lines.extend(piece.line);
            lines.push(b'\n');
        }
        self.prefixed(&result.target.name(), stream, &lines)
    }

    fn prefixed(&self, name: &str, stream: Stream, lines: &[u8]) -> Vec<u8> {
        let prefix = format!("{name}: ");
        let output = match stream {
            Stream::Stdout => self.style.output,
            Stream::Stderr => self.stderr,
        };
        let lines = match (stream, &self.style.path) {
            (Stream::Stderr, Some(path)) => {
                path.replace(self.style.program.name(None), lines.to_vec())
            }
            _ => lines.to_vec(),
        };
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        lines
            .flat_map(|line| [prefix.clone().into_bytes(), output.fit(line.to_vec())])
            .flatten()
            .collect()
    }

    fn piece(&mut self, target: &Target, stream: Stream) -> &mut Piece {
        let piece = self.pieces.entry((target.id.clone(), stream));
        piece.or_insert_with(|| Piece {
            name: target.name(),
            ..Piece::default()
        })
    }
}

impl Piece {
    fn add(&mut self, offset: u64, bytes: &[u8]) -> Vec<u8> {
        let missing = offset.saturating_sub(self.offset);
        let known = usize::try_from(self.offset.saturating_sub(offset));
        let fresh = known.ok().and_then(|known| bytes.get(known..));
        let Some(fresh) = fresh.filter(|fresh| !fresh.is_empty()) else {
            return Vec::new();
        };
        if missing > 0 {
            let note = format!("\n--- {missing} bytes are left out\n");
            self.line.extend_from_slice(note.as_bytes());
        }
        self.offset = offset.saturating_add(bytes.len() as u64);
        self.line.extend_from_slice(fresh);
        let whole = self.line.iter().rposition(|&byte| byte == b'\n');
        let mut lines: Vec<u8> = self.line.drain(..whole.map_or(0, |end| end + 1)).collect();
        if self.line.len() > MAX_LINE {
            lines.append(&mut self.line);
            lines.push(b'\n');
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ok, result};
    use super::*;
    use protocol::Outcome;

    fn output(offset: u64, data: &str) -> Output {
        Output {
            stream: Stream::Stdout,
            offset,
            data: data.to_owned(),
            data_base64: None,
        }
    }

    fn shown(pieces: &[(u64, &str)], ended: &NodeResult) -> String {
        let mut streams = Streams::new(Style::plain(), super::super::OutputForm::AsItCame);
        let pieces = pieces.iter();
        let mut shown: Vec<u8> = pieces
            .flat_map(|(offset, data)| streams.add(&ended.target, &output(*offset, data)))
            .collect();
        shown.extend(streams.end(ended, Stream::Stdout));
        assert!(streams.pieces.is_empty());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn lines_are_shown_once_when_they_are_whole_and_the_last_at_the_end() {
        let ended = ok("n1", "one\ntwo\nthree");
        assert_eq!(
            shown(&[(0, "one\ntw"), (6, "o\n"), (6, "o\n")], &ended),
            "n1: one\nn1: two\nn1: three\n"
        );
        assert_eq!(shown(&[], &ended), "n1: one\nn1: two\nn1: three\n");
    }

    #[test]
    fn what_is_missing_is_counted_and_a_truncated_reply_adds_nothing() {
        let mut ended = ok("n1", "one\nmore\n");
        ended.reply.as_mut().unwrap().stdout_bytes = Some(1000);
        assert_eq!(
            shown(&[(0, "one\n"), (10, "x\n")], &ended),
            "n1: one\nn1: \nn1: --- 6 bytes are left out\nn1: x\n"
        );
        let mut streams = Streams::new(Style::plain(), super::super::OutputForm::AsItCame);
        for offset in [u64::MAX, 5] {
            streams.add(&ended.target, &output(offset, "x\n"));
        }
        let lost = result("n1", Outcome::NoAnswer, "", "");
        assert_eq!(shown(&[(0, "half")], &lost), "n1: half\n");
    }

    #[test]
    fn a_line_whose_end_does_not_come_is_shown_after_a_second_and_goes_on_in_the_next() {
        let (ended, now) = (ok("n1", "Sure? yes\n"), Instant::now());
        let as_it_came = super::super::OutputForm::AsItCame;
        let mut streams = Streams::new(Style::plain(), as_it_came);
        assert_eq!(streams.add(&ended.target, &output(0, "Sure? ")), b"");
        assert_eq!(streams.overdue(now), []);
        let later = now + PATIENCE * 2;
        let due = streams.overdue(later);
        assert_eq!(due, [(Stream::Stdout, b"n1: Sure? \n".to_vec())]);
        assert_eq!(streams.overdue(later), [], "once");
        assert_eq!(streams.end(&ended, Stream::Stdout), b"n1: yes\n");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let ended = ok("n1", "");
        let mut streams = Streams::new(Style::plain(), super::super::OutputForm::AsItCame);
        let long = "x".repeat(MAX_LINE + 1);
        let shown = streams.add(&ended.target, &output(0, &long));
        assert_eq!(shown.len(), "n1: \n".len() + long.len());
    }
}
