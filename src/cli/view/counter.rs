//! The counter: a live line on stderr, `148/150 answered, waiting for node[44-45]`, where that is a terminal; else
//! a line a minute.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::fold::fold;
use super::progress;
use client::{RunEvent, Target};
use protocol::{NodeId, State};

/// A node is asked when it has said nothing for 30 seconds, and answers at once.
pub(super) const LONG_SILENCE: Duration = Duration::from_secs(35);
/// Of more nodes none is named, and how many characters their names may have.
const MAX_NAMED: usize = 100;
const MAX_NAMES: usize = 50;
/// Ways to be late that are told side by side.
const MAX_KINDS: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct Counter {
    bar: ProgressBar,
    tally: Tally,
    is_live: bool,
    started: Instant,
    /// When a line was printed where there is no terminal.
    told_at: Instant,
}

/// What has happened so far.
struct Tally {
    nodes: usize,
    answered: usize,
    failed: usize,
    at_work: HashMap<NodeId, AtWork>,
    is_cut_off: bool,
}

/// A node that was sent to and has not answered.
struct AtWork {
    name: String,
    /// `None` for one that says nothing but the reply.
    heard_at: Option<Instant>,
    is_running: bool,
    /// How far it is, where it has said more than that it runs.
    far: Option<String>,
}

impl Counter {
    pub(super) fn new(nodes: usize, is_live: bool) -> Self {
        let bar = if is_live {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{elapsed} {wide_msg}").expect("a valid template");
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        let tally = Tally::of(nodes);
        bar.set_message(tally.words(Instant::now()));
        let (started, told_at) = (Instant::now(), Instant::now());
        Self {
            bar,
            tally,
            is_live,
            started,
            told_at,
        }
    }

    pub(super) fn count(&mut self, event: &RunEvent<'_>) {
        let now = Instant::now();
        self.tally.count(event, now);
        if self.is_live {
            self.bar.set_message(self.tally.words(now));
        }
    }

    /// The line of this minute, where there is no terminal.
    pub(super) fn minute(&mut self) -> Option<String> {
        let now = Instant::now();
        if self.is_live || now - self.told_at < MINUTE {
            return None;
        }
        self.told_at = now;
        let passed = progress::time(now - self.started);
        Some(format!("ur: {} after {passed}", self.tally.words(now)))
    }

    /// Who has not answered: how many, and their names.
    pub(super) fn at_work(&self) -> (usize, String) {
        let names = self.tally.at_work.values().map(|node| node.name.as_str());
        (self.tally.at_work.len(), fold(names))
    }

    /// The line goes out of the way of a question, and comes back.
    pub(super) fn hide(&self, is_hidden: bool) {
        if !self.is_live {
            return;
        }
        if is_hidden {
            self.bar.suspend(|| ());
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
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
    fn of(nodes: usize) -> Self {
        Self {
            nodes,
            answered: 0,
            failed: 0,
            at_work: HashMap::new(),
            is_cut_off: false,
        }
    }

    fn count(&mut self, event: &RunEvent<'_>, now: Instant) {
        match event {
            RunEvent::Publishing(target) => {
                self.at_work
                    .insert(target.id.clone(), AtWork::new(target, now));
            }
            RunEvent::Progress(target, progress) => {
                let said = progress::state(progress);
                self.heard(target, now, |node| {
                    node.is_running = matches!(progress.state, State::Accepted | State::Running);
                    node.far = Some(said).filter(|said| said != "started" && said != "running");
                });
            }
            RunEvent::Output(target, _) => self.heard(target, now, |node| node.is_running = true),
            RunEvent::Ended(result) => {
                self.at_work.remove(&result.target.id);
                self.answered += usize::from(result.reply.is_some());
                self.failed += usize::from(!result.outcome.is_success());
            }
            RunEvent::ConnectionLost(_) => self.is_cut_off = true,
            RunEvent::Reconnected => self.is_cut_off = false,
            _ => {}
        }
    }

    fn heard(&mut self, target: &Target, now: Instant, note: impl FnOnce(&mut AtWork)) {
        let node = self.at_work.entry(target.id.clone());
        let node = node.or_insert_with(|| AtWork::new(target, now));
        node.heard_at = Some(now);
        note(node);
    }

    fn words(&self, now: Instant) -> String {
        let mut words = vec![format!("{}/{} answered", self.answered, self.nodes)];
        if self.failed > 0 {
            words.push(format!("{} failed", self.failed));
        }
        if let Some(names) = self.late(now) {
            words.push(format!("waiting for {names}"));
        } else if !self.at_work.is_empty() {
            let running = self.at_work.values().filter(|node| node.is_running).count();
            words.push(format!("{running} running"));
        }
        if self.is_cut_off {
            words.push("waiting for the broker".to_owned());
        }
        words.join(", ")
    }

    /// Those that have not answered, where they are few, and how far they are.
    fn late(&self, now: Instant) -> Option<String> {
        if self.at_work.is_empty() || self.at_work.len() > MAX_NAMED {
            return None;
        }
        let mut kinds: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for node in self.at_work.values() {
            kinds.entry(node.words(now)).or_default().push(&node.name);
        }
        if kinds.len() > MAX_KINDS {
            let names = kinds.into_values().flatten().collect();
            kinds = BTreeMap::from([(String::new(), names)]);
        }
        let parts = kinds.into_iter().map(|(words, names)| {
            let names = fold(names);
            let is_short = names.chars().count() <= MAX_NAMES;
            is_short.then(|| names + &words)
        });
        let parts: Option<Vec<String>> = parts.collect();
        parts.map(|parts| parts.join(", "))
    }
}

impl AtWork {
    fn new(target: &Target, now: Instant) -> Self {
        Self {
            name: target.name(),
            heard_at: target.agent.is_some().then_some(now),
            is_running: false,
            far: None,
        }
    }

    /// In brackets: what its name does not say.
    fn words(&self, now: Instant) -> String {
        let silence = self.heard_at.map_or(Duration::ZERO, |at| now - at);
        match &self.far {
            _ if silence > LONG_SILENCE => {
                format!(" (not heard of for {})", progress::time(silence))
            }
            Some(far) => format!(" ({far})"),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::result;
    use super::*;
    use client::{NodeResult, Plain};
    use protocol::{Outcome, Progress};

    fn modern(name: &str, status: i32) -> NodeResult {
        let mut result = result(name, Outcome::Exited { status }, "", "");
        Arc::make_mut(&mut result.target).agent = Some(Plain::name("0.1.0"));
        result
    }

    #[test]
    fn the_line_tells_what_has_happened_and_who_is_late() {
        let (mut tally, now) = (Tally::of(150), Instant::now());
        let mut results: Vec<_> = (1..=150)
            .map(|i| modern(&format!("some-long-name-of-a-node-{}", i * 7), 0))
            .collect();
        results[43] = modern("node44", 0);
        results[44] = modern("node45", 0);
        results[0] = modern("node1", 7);
        assert_eq!(tally.words(now), "0/150 answered");
        for result in &results {
            tally.count(&RunEvent::Publishing(&result.target), now);
            let running = Progress::now(State::Running);
            tally.count(&RunEvent::Progress(&result.target, &running), now);
        }
        assert_eq!(tally.words(now), "0/150 answered, 150 running");
        for (i, result) in results.iter_mut().enumerate() {
            if i != 43 && i != 44 {
                tally.count(&RunEvent::Ended(result), now);
            }
        }
        let late = "148/150 answered, 1 failed, waiting for node[44-45]";
        assert_eq!(tally.words(now), late);
        let mut progress = Progress::now(State::Running);
        (progress.percent, progress.eta) = (Some(40.0), Some(720.0));
        let later = now + Duration::from_secs(40);
        tally.count(&RunEvent::Progress(&results[43].target, &progress), later);
        assert_eq!(
            tally.words(later),
            "148/150 answered, 1 failed, waiting for node45 (not heard of for 40 s), \
             node44 (running 40 %, 12 min left)"
        );
        tally.count(&RunEvent::ConnectionLost(""), now);
        tally.count(&RunEvent::Ended(&mut results[43]), now);
        tally.count(&RunEvent::Ended(&mut results[44]), now);
        let end = "150/150 answered, 1 failed, waiting for the broker";
        assert_eq!(tally.words(later), end);
    }

    #[test]
    fn a_node_js_agent_is_not_missed_for_its_silence() {
        let (mut tally, now) = (Tally::of(1), Instant::now());
        let old = result("old", Outcome::NoAnswer, "", "");
        tally.count(&RunEvent::Publishing(&old.target), now);
        let words = tally.words(now + Duration::from_secs(3600));
        assert_eq!(words, "0/1 answered, waiting for old");
    }
}
