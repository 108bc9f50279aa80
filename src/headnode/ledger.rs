//! Where every node of a run is: who is next, who was sent to, who said what, who is overdue. Plain
//! bookkeeping: no I/O, no clock of its own, so that every turn of a run can be tested.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Letter, Plan, Target};
use crate::broker::Routing;
use crate::protocol::{ErrorCode, Label, NodeId, Outcome, Output, Progress, Reply, RoutingKey};
use crate::task;

/// How long until a node that was not there is asked again what became of its request.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The broker has put the request into the node's queue.
    Sent(&'a Target),
    Progress(&'a Target, &'a Progress),
    Output(&'a Target, Output),
    /// It is over for this node.
    Ended(&'a NodeResult),
    ConnectionLost(&'a str),
    /// An attempt to connect again has failed; the next one follows.
    NoConnection(&'a str),
    Reconnected,
}

/// How it ended for one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeResult {
    pub target: Target,
    pub outcome: Outcome,
    /// Absent where no node can have answered.
    pub reply: Option<Reply>,
    /// The last that the node said of the request, if it said anything.
    pub heard: Option<Progress>,
    /// Since the request was sent.
    pub after: Duration,
}

/// What is known when a run is over.
#[derive(Debug, Default)]
pub struct Report {
    pub results: Vec<NodeResult>,
    /// Those whose turn never came.
    pub not_sent: Vec<Target>,
    /// Ended by the operator, not by the nodes.
    pub interrupted: bool,
}

pub(super) struct Ledger {
    entries: Vec<Entry>,
    by_node: HashMap<NodeId, usize>,
    waiting: VecDeque<usize>,
    in_flight: usize,
    failed: usize,
    wait: Duration,
    concurrency: usize,
    max_fail: usize,
    label: Label,
    interrupted: bool,
}

struct Entry {
    target: Target,
    stage: Stage,
    sent_at: Option<Instant>,
    heard: Option<Progress>,
    /// When to ask what became of the request.
    ask_at: Option<Instant>,
    /// It was asked, and has said nothing since.
    asked: bool,
    result: Option<NodeResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Published; whether the broker has it is not known.
    Leaving,
    Sent,
    Ended,
}

impl Ledger {
    pub(super) fn new(targets: Vec<Target>, plan: &Plan) -> Self {
        let by_node = targets.iter().enumerate();
        Self {
            by_node: by_node.map(|(i, t)| (t.id.clone(), i)).collect(),
            waiting: (0..targets.len()).collect(),
            entries: targets.into_iter().map(Entry::of).collect(),
            in_flight: 0,
            failed: 0,
            wait: plan.wait,
            concurrency: plan.concurrency.unwrap_or(usize::MAX),
            max_fail: plan.max_fail.unwrap_or(usize::MAX),
            label: plan.label.clone(),
            interrupted: false,
        }
    }

    pub(super) fn target(&self, i: usize) -> &Target {
        &self.entries[i].target
    }

    /// Whose turn it is to be sent the request.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<usize> {
        if self.in_flight >= self.concurrency || self.is_stopped() {
            return None;
        }
        let i = self.waiting.pop_front()?;
        self.in_flight += 1;
        self.entries[i].stage = Stage::Leaving;
        self.entries[i].sent_at.get_or_insert(now);
        Some(i)
    }

    fn is_stopped(&self) -> bool {
        self.interrupted || self.failed >= self.max_fail
    }

    pub(super) fn is_over(&self) -> bool {
        self.interrupted || (self.in_flight == 0 && (self.waiting.is_empty() || self.is_stopped()))
    }

    /// What the broker did with the request.
    pub(super) fn sent(&mut self, i: usize, routing: Routing, now: Instant) -> Option<Event<'_>> {
        if self.entries[i].stage != Stage::Leaving {
            return None;
        }
        match routing {
            Routing::Taken => {
                self.entries[i].stage = Stage::Sent;
                Some(Event::Sent(&self.entries[i].target))
            }
            Routing::Unroutable => self.end(i, Outcome::NotConnected, None, now),
        }
    }

    pub(super) fn received(&mut self, letter: &Letter, now: Instant) -> Option<Event<'_>> {
        let (node, kind) = match RoutingKey::parse(&letter.key).ok()? {
            RoutingKey::ExecuteReply { node, .. } => (node, Kind::Reply),
            RoutingKey::Progress { node, .. } => (node, Kind::Progress),
            RoutingKey::Output { node, .. } => (node, Kind::Output),
            _ => return None,
        };
        let i = *self.by_node.get(&NodeId::parse(&node).ok()?)?;
        let entry = &mut self.entries[i];
        if matches!(entry.stage, Stage::Waiting | Stage::Ended) {
            return None;
        }
        entry.ask_at = None;
        match kind {
            Kind::Reply => self.replied(i, &letter.body, now),
            Kind::Progress => self.progressed(i, &letter.body),
            Kind::Output => {
                let output: Output = serde_json::from_slice(&letter.body).ok()?;
                Some(Event::Output(&self.entries[i].target, output))
            }
        }
    }

    fn progressed(&mut self, i: usize, body: &[u8]) -> Option<Event<'_>> {
        let entry = &mut self.entries[i];
        entry.asked = false;
        let heard = entry.heard.insert(serde_json::from_slice(body).ok()?);
        Some(Event::Progress(&entry.target, heard))
    }

    fn replied(&mut self, i: usize, body: &[u8], now: Instant) -> Option<Event<'_>> {
        let mut reply: Reply = match serde_json::from_slice(body) {
            Ok(reply) => reply,
            Err(error) => {
                let message = format!("its reply cannot be read: {error}");
                return self.end(i, Outcome::Undetermined { message }, None, now);
            }
        };
        // A Node.js agent does not say what it ran. We know.
        if reply.name.is_none() {
            reply.set_label(self.label.clone());
        }
        let outcome = match task::outcome(&reply) {
            // The answer to our question, not to our request: it had the request, or may have had.
            Outcome::Refused(refusal)
                if self.entries[i].asked && refusal.code == ErrorCode::NotFound =>
            {
                let message = "the node does not know the request: it never arrived, or the node \
                               has restarted since";
                Outcome::Undetermined {
                    message: message.to_owned(),
                }
            }
            outcome => outcome,
        };
        self.end(i, outcome, Some(reply), now)
    }

    fn end(
        &mut self,
        i: usize,
        outcome: Outcome,
        reply: Option<Reply>,
        now: Instant,
    ) -> Option<Event<'_>> {
        let entry = &mut self.entries[i];
        entry.stage = Stage::Ended;
        entry.ask_at = None;
        self.in_flight -= 1;
        self.failed += usize::from(!outcome.is_success());
        let result = entry.result.insert(NodeResult {
            target: entry.target.clone(),
            outcome,
            reply,
            heard: entry.heard.take(),
            after: entry.sent_at.map_or(Duration::ZERO, |sent| now - sent),
        });
        Some(Event::Ended(result))
    }

    /// Those whose time to answer is over.
    pub(super) fn overdue(&self, now: Instant) -> Vec<usize> {
        let is_overdue = |entry: &Entry| {
            let waited = entry.sent_at.map(|sent| now - sent);
            entry.is_in_flight() && waited.is_some_and(|waited| waited >= self.wait)
        };
        self.those(is_overdue)
    }

    pub(super) fn give_up(&mut self, i: usize, now: Instant) -> Option<Event<'_>> {
        self.end(i, Outcome::NoAnswer, None, now)
    }

    /// Replies may be missed from now on. A request that may not have left is sent once more where
    /// that is harmless: ur-agent starts an id once, a Node.js agent as often as it comes.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        for (i, entry) in self.entries.iter_mut().enumerate().rev() {
            if !entry.is_in_flight() || entry.target.agent.is_none() {
                continue;
            }
            if entry.stage == Stage::Leaving {
                entry.stage = Stage::Waiting;
                self.in_flight -= 1;
                self.waiting.push_front(i);
            } else {
                entry.ask_at = Some(now);
            }
        }
    }

    /// Those to be asked now what became of the request.
    pub(super) fn next_to_ask(&mut self, now: Instant) -> Vec<usize> {
        let due = self.those(|entry| {
            entry.is_in_flight() && entry.ask_at.is_some_and(|ask_at| ask_at <= now)
        });
        for &i in &due {
            self.entries[i].ask_at = None;
        }
        due
    }

    /// A node that is not there may be connecting again, as we did.
    pub(super) fn asked(&mut self, i: usize, routing: Routing, now: Instant) {
        match routing {
            Routing::Taken => self.entries[i].asked = true,
            Routing::Unroutable => self.entries[i].ask_at = Some(now + ASK_AGAIN),
        }
    }

    /// The operator wants to wait no longer.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    fn those(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter_map(|(i, entry)| wanted(entry).then_some(i))
            .collect()
    }

    pub(super) fn into_report(mut self, now: Instant) -> Report {
        for i in self.those(Entry::is_in_flight) {
            self.end(i, Outcome::NoAnswer, None, now);
        }
        let mut report = Report {
            interrupted: self.interrupted,
            ..Report::default()
        };
        for entry in self.entries {
            match entry.result {
                Some(result) => report.results.push(result),
                None => report.not_sent.push(entry.target),
            }
        }
        report
    }
}

impl Entry {
    fn of(target: Target) -> Self {
        Self {
            target,
            stage: Stage::Waiting,
            sent_at: None,
            heard: None,
            ask_at: None,
            asked: false,
            result: None,
        }
    }

    fn is_in_flight(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Sent)
    }
}

enum Kind {
    Reply,
    Progress,
    Output,
}

#[cfg(test)]
mod tests;
