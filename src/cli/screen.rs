//! Events of a run → what is printed, and when.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};

use anyhow::Result;

use super::args::ViewArgs;
use super::counter::Counter;
use super::trace::Trace;
use super::{group, json, summary};
use client::{NodeResult, Report, RunEvent, Target};
use protocol::{NodeId, Output, RequestId, Stream, Text};

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Groups,
    Array,
    Lines,
    LastLine,
    Immediate,
    Stream,
}

impl View {
    pub(super) fn of(args: &ViewArgs) -> Self {
        match args {
            ViewArgs { json: true, .. } => Self::Array,
            ViewArgs {
                json_lines: true, ..
            } => Self::Lines,
            ViewArgs {
                last_line: true, ..
            } => Self::LastLine,
            ViewArgs {
                immediate: true, ..
            } => Self::Immediate,
            ViewArgs { stream: true, .. } => Self::Stream,
            _ => Self::Groups,
        }
    }

    /// Every output is kept until then.
    pub(super) fn is_shown_at_the_end(self) -> bool {
        matches!(self, Self::Groups | Self::Array | Self::LastLine)
    }
}

pub(super) struct Screen<'a> {
    view: View,
    quiet: bool,
    trace: &'a Trace,
    request: &'a RequestId,
    counter: Counter,
    started: std::time::Instant,
    streams: HashMap<(NodeId, Stream), Piece>,
}

/// A stream that is being shown as it comes.
#[derive(Default)]
struct Piece {
    /// How far it has been shown or is in `line`, in bytes.
    offset: u64,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(
        nodes: usize,
        view: View,
        quiet: bool,
        request: &'a RequestId,
        trace: &'a Trace,
    ) -> Self {
        let live = !quiet && !trace.is_on() && io::stderr().is_terminal();
        Self {
            view,
            quiet,
            trace,
            request,
            counter: Counter::new(nodes, live),
            started: std::time::Instant::now(),
            streams: HashMap::new(),
        }
    }

    pub(super) fn show(&mut self, mut event: RunEvent<'_>) -> Result<()> {
        self.counter.count(&event);
        self.tell(&event);
        self.show_now(&event)?;
        if let RunEvent::Ended(result) = &mut event
            && !self.view.is_shown_at_the_end()
        {
            result.reply = None;
        }
        Ok(())
    }

    fn show_now(&mut self, event: &RunEvent<'_>) -> Result<()> {
        match (self.view, event) {
            (View::Lines, RunEvent::Ended(result)) => {
                let line = json::of_result(result, self.request);
                self.print(|out| writeln!(out, "{line}"))
            }
            (View::Immediate, RunEvent::Ended(result)) => {
                self.print(|out| group::show_one(result, out))
            }
            (View::Stream, RunEvent::Output(target, output)) => self.stream(target, output),
            (View::Stream, RunEvent::Ended(result)) => self.end_streams(result),
            _ => Ok(()),
        }
    }

    fn tell(&self, event: &RunEvent<'_>) {
        let say = |target: &Target, what: &str| {
            self.trace.say(format_args!("{}: {what}", target.hostname));
        };
        match event {
            RunEvent::Publishing(_) => {}
            RunEvent::Sent(target) => say(target, "sent"),
            RunEvent::Resending(target) => say(target, "nothing heard of it, sent again"),
            RunEvent::Progress(target, progress) => {
                let state = format!("{:?}", progress.state).to_lowercase();
                let percent = progress.percent.map(|percent| format!(" {percent:.0} %"));
                let msg = progress.msg.as_ref().map(|msg| format!(" {msg}"));
                let words = [Some(state), percent, msg];
                say(target, &words.into_iter().flatten().collect::<String>());
            }
            RunEvent::Ended(result) => say(&result.target, &result.outcome.to_string()),
            RunEvent::Output(..) => {}
            RunEvent::ConnectionLost(why) => self.counter.aside(|| {
                eprintln!("ur: the connection to the broker is lost, connecting again: {why}");
            }),
            RunEvent::NoConnection(why) => self.trace.say(format_args!("not yet: {why}")),
            RunEvent::Reconnected => self.counter.aside(|| {
                eprintln!("ur: connected again; asking the nodes what became of the request");
            }),
        }
    }

    /// Prints what can only be said at the end.
    pub(super) fn finish(&self, report: &Report) -> Result<()> {
        self.counter.clear();
        match self.view {
            View::Groups => self.print(|out| group::show(&report.results, out))?,
            View::LastLine => self.print(|out| group::show_last_lines(&report.results, out))?,
            View::Array => {
                let all = serde_json::to_string_pretty(&json::of_report(report, self.request))?;
                self.print(|out| writeln!(out, "{all}"))?;
            }
            View::Lines => {
                let mut unsent = json::unsent(report, self.request);
                self.print(|out| unsent.try_for_each(|line| writeln!(out, "{line}")))?;
            }
            View::Immediate | View::Stream => {}
        }
        let advice = summary::advice(report, self.request);
        if !self.quiet {
            eprintln!("{}", summary::summary(report, self.started.elapsed()));
        }
        advice.iter().for_each(|line| eprintln!("{line}"));
        Ok(())
    }

    fn print(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        self.counter.aside(|| {
            let mut out = io::stdout().lock();
            write(&mut out)?;
            out.flush()?;
            Ok(())
        })
    }

    fn stream(&mut self, target: &Target, output: &Output) -> Result<()> {
        let bytes = Text::bytes(&output.data, output.data_base64.as_deref());
        self.add(target, output.stream, output.offset, &bytes)
    }

    /// Prints the lines that are whole now, each with its node.
    fn add(&mut self, target: &Target, stream: Stream, offset: u64, bytes: &[u8]) -> Result<()> {
        let piece = self.streams.entry((target.id.clone(), stream)).or_default();
        let missing = offset.saturating_sub(piece.offset);
        let known = usize::try_from(piece.offset.saturating_sub(offset))?;
        let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else {
            return Ok(());
        };
        if missing > 0 {
            let note = format!("\n--- {missing} bytes are left out\n");
            piece.line.extend_from_slice(note.as_bytes());
        }
        piece.offset = offset + bytes.len() as u64;
        piece.line.extend_from_slice(fresh);
        let whole = piece.line.iter().rposition(|&byte| byte == b'\n');
        let whole: Vec<u8> = piece.line.drain(..whole.map_or(0, |end| end + 1)).collect();
        self.print_lines(target, stream, &whole)
    }

    /// The node's stdout goes to ours, its stderr to ours.
    fn print_lines(&self, target: &Target, stream: Stream, lines: &[u8]) -> Result<()> {
        let prefixed = |out: &mut dyn Write| {
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                write!(out, "{}: ", target.hostname)?;
                out.write_all(line)?;
            }
            out.flush()
        };
        match stream {
            Stream::Stdout => self.print(prefixed),
            Stream::Stderr => Ok(self.counter.aside(|| prefixed(&mut io::stderr().lock()))?),
        }
    }

    /// Prints what has not been shown: the last line, or all of it where the agent cannot stream.
    fn end_streams(&mut self, result: &NodeResult) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(reply) = &result.reply {
                let (bytes, produced) = match stream {
                    Stream::Stdout => (reply.stdout_as_bytes(), reply.stdout_bytes),
                    Stream::Stderr => (reply.stderr_as_bytes(), reply.stderr_bytes),
                };
                // Of a truncated stream nobody can tell which part was shown: only if none was.
                let whole = produced.is_none_or(|produced| produced == bytes.len() as u64);
                let key = (result.target.id.clone(), stream);
                if whole || !self.streams.contains_key(&key) {
                    self.add(&result.target, stream, 0, &bytes)?;
                }
            }
            let key = (result.target.id.clone(), stream);
            if let Some(mut piece) = self.streams.remove(&key)
                && !piece.line.is_empty()
            {
                piece.line.push(b'\n');
                self.print_lines(&result.target, stream, &piece.line)?;
            }
        }
        if !result.outcome.is_success() {
            self.counter.aside(|| {
                eprintln!("{}: {}", result.target.hostname, result.outcome);
            });
        }
        Ok(())
    }
}
