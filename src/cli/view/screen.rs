//! The screen of a run: what is printed, and when: at once, as each node ends, or at the end.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::colour::{Colour, When};
use super::counter::Counter;
use super::fold::fold;
use super::group::{Folding, OutputGroups, write_one};
use super::last_line::LastLines;
use super::out::OutDir;
use super::script_path::ScriptPath;
use super::stream::Streams;
use super::trace::Trace;
use super::{OutputForm, ScriptLabel, Style, ending, json, progress, summary};
use crate::stderr::{ask, tell};
use client::{BatchEnd, Between, NodeResult, Report, RunEvent, Target};
use protocol::{NodeId, Progress, Reply, RequestId, Stream};

/// How often `--stream` tells how far a node is.
const STREAMED_EVERY: Duration = Duration::from_secs(1);
/// Bytes of output of a node that are held besides what is in a file.
const MAX_HELD_BESIDES: usize = 64 * 1024;

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Groups(Folding),
    Array,
    Lines,
    LastLine,
    Immediate,
    Stream,
}

impl View {
    /// Output is kept until then.
    pub(crate) fn is_shown_at_the_end(self) -> bool {
        matches!(self, Self::Groups(_) | Self::Array | Self::LastLine)
    }
}

/// The view, whether a terminal gets output of scripts as it came, when there are colours, what runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewSettings<'a> {
    pub(crate) view: View,
    pub(crate) is_raw: bool,
    pub(crate) colour: When,
    pub(crate) program: &'a ScriptLabel,
}

/// A view and what it keeps. Only [`ViewState::Array`] leaves the replies in the report.
enum ViewState {
    Groups(OutputGroups),
    Array,
    Lines,
    LastLine(LastLines),
    Immediate(Style),
    Stream(Streams),
}

pub(crate) struct Screen<'a> {
    kept: ViewState,
    quiet: bool,
    /// Of stderr.
    colour: Colour,
    trace: &'a Trace,
    request: &'a RequestId,
    counter: Counter,
    /// What each node has said last of how far it is, and when that was printed.
    told: HashMap<NodeId, (Instant, String)>,
    out: Option<OutDir>,
    is_out_whole: bool,
    /// Nodes that reboot as their script has asked.
    reboots: Vec<String>,
    /// Nodes of which some output did not come, and how many bytes of it.
    cut: (Vec<String>, u64),
    started: Instant,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(
        nodes: usize,
        view: ViewSettings<'_>,
        quiet: bool,
        request: &'a RequestId,
        trace: &'a Trace,
    ) -> Self {
        let live = !quiet && !trace.is_on() && io::stderr().is_terminal();
        let output = |is_terminal: bool| match is_terminal && !view.is_raw {
            true => OutputForm::ForATerminal,
            false => OutputForm::AsItCame,
        };
        let stdout = output(io::stdout().is_terminal());
        let stderr = output(io::stderr().is_terminal());
        let style = Style {
            output: stdout,
            colour: view.colour.of(&io::stdout()),
            program: view.program.clone(),
            path: (!view.is_raw).then(|| ScriptPath::of(request)),
        };
        Self {
            kept: match view.view {
                View::Groups(folding) => ViewState::Groups(OutputGroups::new(folding, style)),
                View::Array => ViewState::Array,
                View::Lines => ViewState::Lines,
                View::LastLine => ViewState::LastLine(LastLines::new(style)),
                View::Immediate => ViewState::Immediate(style),
                View::Stream => ViewState::Stream(Streams::new(style, stderr)),
            },
            quiet,
            colour: view.colour.of(&io::stderr()),
            trace,
            request,
            counter: Counter::new(nodes, live),
            told: HashMap::new(),
            out: None,
            is_out_whole: true,
            reboots: Vec::new(),
            cut: (Vec::new(), 0),
            started: Instant::now(),
        }
    }

    /// What each node prints goes there, and is not shown besides, if no view was asked for.
    pub(crate) fn keep_in(&mut self, out: OutDir) {
        self.out = Some(out);
    }

    /// Whether every node's files are there.
    pub(crate) fn is_out_whole(&self) -> bool {
        self.is_out_whole
    }

    pub(crate) fn show(&mut self, event: RunEvent<'_>) -> Result<()> {
        self.counter.count(&event);
        self.trace.event(&event);
        match event {
            RunEvent::Ended(result) => self.ended(result),
            RunEvent::Progress(target, progress) => self.progressed(target, progress),
            RunEvent::Output(target, output) => match &mut self.kept {
                ViewState::Stream(streams) => {
                    let lines = streams.add(target, &output);
                    print_stream(&self.counter, output.stream, &lines)
                }
                _ => Ok(()),
            },
            RunEvent::ConnectionLost(why) => {
                self.tell(&format!(
                    "ur: connection to the broker lost, reconnecting: {why}"
                ));
                Ok(())
            }
            RunEvent::Reconnected => {
                self.tell("ur: reconnected; asking the nodes for the status of the request");
                Ok(())
            }
            RunEvent::Tick => {
                let line = self.counter.minute().filter(|_| !self.quiet);
                line.iter().for_each(|line| self.tell(line));
                let ViewState::Stream(streams) = &mut self.kept else {
                    return Ok(());
                };
                let due = streams.overdue(Instant::now()).into_iter();
                let mut due = due.map(|(stream, line)| print_stream(&self.counter, stream, &line));
                due.find(Result::is_err).unwrap_or(Ok(()))
            }
            event => {
                self.steered(&event);
                Ok(())
            }
        }
    }

    /// What the operator is asked, and has answered.
    fn steered(&self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Asking => {
                self.counter.hide(true);
                let (count, names) = self.counter.at_work();
                let nodes = if count == 1 { "node has" } else { "nodes have" };
                ask(&format!(
                    "\nur: {count} {nodes} not answered: {names}\n\
                     ur: cancel what runs there? [y: cancel, n: leave it running, c: go on waiting] "
                ));
            }
            RunEvent::GoingOn => self.counter.hide(false),
            RunEvent::Cancelling => {
                self.counter.hide(false);
                let (_, names) = self.counter.at_work();
                self.tell(&format!("ur: cancelling on {names}; ^C leaves them alone"));
            }
            RunEvent::BatchEnded(end) => self.batch_ended(end),
            _ => {}
        }
    }

    fn batch_ended(&self, end: &BatchEnd) {
        let BatchEnd {
            batch,
            batches,
            next,
            between,
        } = end;
        let nodes = if *next == 1 { "node" } else { "nodes" };
        let follow = if *next == 1 { "follows" } else { "follow" };
        let line = format!("ur: batch {batch} of {batches} has ended");
        match between {
            Between::Nothing if self.quiet => {}
            Between::Nothing => self.tell(&format!("{line}; {next} {nodes} {follow}")),
            Between::Pause(pause) if !self.quiet => {
                let pause = progress::time(*pause);
                self.tell(&format!("{line}; {next} {nodes} {follow} in {pause}"));
            }
            Between::Pause(_) => {}
            Between::Question => {
                self.counter.hide(true);
                ask(&format!("\n{line}; go on with {next} {nodes}? [y/n] "));
            }
        }
    }

    /// Where nothing else is told as it comes: what a script says of how far it is, each word once.
    fn progressed(&mut self, target: &Target, progress: &Progress) -> Result<()> {
        let is_live = matches!(self.kept, ViewState::Lines | ViewState::Stream(_));
        if !is_live || !progress::is_told(progress) {
            return Ok(());
        }
        let (now, words) = (Instant::now(), progress::state(progress));
        let is_lines = matches!(self.kept, ViewState::Lines);
        if let Some((at, last)) = self.told.get(&target.id)
            && (*last == words || (!is_lines && now - *at < STREAMED_EVERY))
        {
            return Ok(());
        }
        if is_lines {
            let line = std::iter::once(json::of_progress(target, progress, self.request));
            print(&self.counter, |out| json::Form::Lines.write(line, out))?;
        } else if !self.quiet {
            self.tell(&format!("{}: {words}", target.name()));
        }
        self.told.insert(target.id.clone(), (now, words));
        Ok(())
    }

    fn ended(&mut self, result: &mut NodeResult) -> Result<()> {
        let kept = self.out.as_ref().map(|out| out.write(result, self.request));
        if let Some(Err(error)) = &kept {
            self.is_out_whole = false;
            self.tell(&format!("ur: {}: {error:#}", result.target.name()));
        }
        if ending::reboots(&result.outcome, result.reply.as_deref()) {
            self.reboots.push(result.target.name());
        }
        // These show the end of it, or all that came before.
        if !matches!(self.kept, ViewState::LastLine(_) | ViewState::Stream(_)) {
            self.count_left_out(result);
        }
        // The file of `--out` has the whole output: the groups need not hold it.
        let is_grouped = matches!(self.kept, ViewState::Groups(_));
        if is_grouped && kept.is_some() && result.reply.as_deref().is_some_and(is_long) {
            result.reply = None;
        }
        let counter = &self.counter;
        match &mut self.kept {
            ViewState::Groups(_) if kept.is_some() && result.outcome.is_success() => {}
            ViewState::Array => return Ok(()),
            ViewState::Groups(groups) => groups.add(result),
            ViewState::LastLine(lines) => lines.add(result),
            ViewState::Lines => {
                let line = std::iter::once(json::of_result(result, self.request));
                print(counter, |out| json::Form::Lines.write(line, out))?;
            }
            ViewState::Immediate(style) => print(counter, |out| write_one(result, style, out))?,
            ViewState::Stream(streams) => {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    print_stream(counter, stream, &streams.end(result, stream))?;
                }
                if !result.outcome.is_success() {
                    let failure = format!("{}: {}", result.target.name(), result.outcome);
                    counter.aside(|| self.colour.tell_failure("", &failure, ""));
                }
            }
        }
        result.reply = None;
        result.unknown_fields.clear();
        Ok(())
    }

    fn count_left_out(&mut self, result: &NodeResult) {
        let lost = result.reply.as_deref().map_or([0, 0], Reply::left_out);
        let bytes: u64 = lost.iter().sum();
        if bytes > 0 {
            self.cut.0.push(result.target.name());
            self.cut.1 += bytes;
        }
    }

    /// Prints what can only be said at the end.
    pub(crate) fn finish(&self, report: &Report) -> Result<()> {
        self.conclude(report)?;
        let advice = summary::advice(report, self.request);
        advice.iter().for_each(|line| tell(line));
        Ok(())
    }

    /// The same without advice on the request.
    pub(crate) fn conclude(&self, report: &Report) -> Result<()> {
        self.counter.clear();
        print(&self.counter, |out| match &self.kept {
            ViewState::Groups(groups) => groups.write(out),
            ViewState::LastLine(lines) => lines.write(out),
            ViewState::Array => {
                let nodes = json::of_report(report, self.request);
                json::Form::Array.write(nodes, out)
            }
            ViewState::Lines => json::Form::Lines.write(json::unsent(report, self.request), out),
            ViewState::Immediate(_) | ViewState::Stream(_) => Ok(()),
        })?;
        if let (names, bytes @ 1..) = &self.cut {
            tell(&format!(
                "ur: {}: {:.1} MB of output left out, the middle of what is longer than 5 MiB or its share: \
                 write it to a file there, and fetch it with ur get",
                fold(names.iter().map(String::as_str)),
                *bytes as f64 / 1e6
            ));
        }
        if !self.quiet {
            let [good, bad, took] = summary::summary(report, &self.reboots, self.started.elapsed());
            self.colour.tell_failure(&good, &bad, &took);
        }
        Ok(())
    }

    fn tell(&self, line: &str) {
        self.counter.aside(|| tell(line));
    }
}

fn is_long(reply: &Reply) -> bool {
    reply.stdout.len() + reply.stderr.len() > MAX_HELD_BESIDES
}

fn print(counter: &Counter, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    counter.aside(|| {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mut out)?;
        out.flush()?;
        Ok(())
    })
}

/// The node's stdout goes to ours, its stderr to ours.
fn print_stream(counter: &Counter, stream: Stream, lines: &[u8]) -> Result<()> {
    match stream {
        Stream::Stdout => print(counter, |out| out.write_all(lines)),
        Stream::Stderr => Ok(counter.aside(|| io::stderr().lock().write_all(lines))?),
    }
}
