//! The counter: a live line on stderr, `37/40 answered, 2 failed, 1 running 0:12`, where that is a
//! terminal.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::progress;
use client::RunEvent;
use protocol::{NodeId, State};

pub(super) struct Counter {
    bar: ProgressBar,
    tally: Tally,
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    nodes: usize,
    answered: usize,
    failed: usize,
    /// How far each is, if it tells.
    running: HashMap<NodeId, Option<String>>,
    cut_off: bool,
}

impl Counter {
    pub(super) fn new(nodes: usize, wanted: bool) -> Self {
        let bar = if wanted {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{msg}  {elapsed}").expect("a valid template");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        let tally = Tally {
            nodes,
            ..Tally::default()
        };
        bar.set_message(tally.to_string());
        Self { bar, tally }
    }

    pub(super) fn count(&mut self, event: &RunEvent<'_>) {
        self.tally.count(event);
        self.bar.set_message(self.tally.to_string());
    }

    /// Prints something with the line out of the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Tally {
    fn count(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Progress(target, progress) if progress.state == State::Running => {
                let far = progress::words(progress);
                self.running.insert(target.id.clone(), far);
            }
            RunEvent::Ended(result) => {
                self.running.remove(&result.target.id);
                self.answered += usize::from(result.reply.is_some());
                self.failed += usize::from(!result.outcome.is_success());
            }
            RunEvent::ConnectionLost(_) => self.cut_off = true,
            RunEvent::Reconnected => self.cut_off = false,
            _ => {}
        }
    }

    /// How far the only one that runs is, if it tells.
    fn of_the_only_one(&self) -> Option<&str> {
        let mut running = self.running.values();
        match (running.next(), running.next()) {
            (Some(far), None) => far.as_deref(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} answered", self.answered, self.nodes)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if !self.running.is_empty() {
            write!(f, ", {} running", self.running.len())?;
        }
        if let Some(progress) = self.of_the_only_one() {
            write!(f, " ({progress})")?;
        }
        if self.cut_off {
            f.write_str(", waiting for the broker")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::result;
    use super::*;
    use protocol::{Outcome, Progress};

    #[test]
    fn the_line_tells_what_has_happened() {
        let mut tally = Tally {
            nodes: 3,
            ..Tally::default()
        };
        assert_eq!(tally.to_string(), "0/3 answered");
        let mut failed = result("n1", Outcome::Exited { status: 7 }, "", "");
        let mut other = result("n2", Outcome::Exited { status: 0 }, "", "");
        let mut progress = Progress::now(State::Running);
        tally.count(&RunEvent::Progress(&failed.target, &progress));
        tally.count(&RunEvent::Progress(&other.target, &progress));
        assert_eq!(tally.to_string(), "0/3 answered, 2 running");
        tally.count(&RunEvent::Ended(&mut failed));
        progress.percent = Some(40.0);
        progress.msg = Some("sdb: pass 1".to_owned());
        tally.count(&RunEvent::Progress(&other.target, &progress));
        assert_eq!(
            tally.to_string(),
            "1/3 answered, 1 failed, 1 running (40 % sdb: pass 1)"
        );
        tally.count(&RunEvent::Ended(&mut other));
        assert_eq!(tally.to_string(), "2/3 answered, 1 failed");
    }
}
