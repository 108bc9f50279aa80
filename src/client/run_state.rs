//! Where every node of a run is: who is next, who was sent to, who said what, who is overdue. No I/O, no
//! clock of its own, so that every turn of a run can be tested.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::report::{NodeResult, Report, RunEvent};
use super::{Action, Plan, Target};
use broker::{Delivery, Routing};
use protocol::{NodeId, Outcome, Output, Progress, Reply, RoutingKey};

/// How long until a node that has said nothing, or was not there, is sent to once more.
pub(super) const AGAIN: Duration = Duration::from_secs(5);
/// How long a node that has the request may say nothing until it is asked whether it still has it: a
/// reboot forgets, and tells nobody.
const STILL_THERE: Duration = Duration::from_secs(30);

pub(super) struct RunState<'a> {
    plan: &'a Plan,
    entries: Vec<NodeRun>,
    by_node: HashMap<NodeId, usize>,
    waiting: VecDeque<usize>,
    /// Who is to be sent to once more, and when.
    pub(super) retries: BTreeSet<(Instant, usize)>,
    pub(super) in_flight: usize,
    failed: usize,
    /// Agents may be connecting again, as we did: one that is not there is not absent yet.
    reconnecting: bool,
    interrupted: bool,
}

struct NodeRun {
    target: Target,
    stage: Stage,
    /// The first time.
    sent_at: Option<Instant>,
    /// The request may be in the hands of the node: a queue took it, or nobody knows.
    taken: bool,
    last_progress: Option<Progress>,
    /// Its place in `retries`.
    again_at: Option<Instant>,
    /// It was asked what became of the request, and has said nothing since.
    asked: bool,
    unroutable: bool,
    result: Option<NodeResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Published; whether the broker has it is not known.
    Publishing,
    Sent,
    /// The node has said that it has the request.
    PickedUp(Instant),
    Ended,
}

/// A message to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Request,
    /// What became of the request. Starts nothing.
    StatusRequest,
}

impl<'a> RunState<'a> {
    pub(super) fn new(targets: Vec<Target>, plan: &'a Plan) -> Self {
        let by_node = targets.iter().enumerate();
        Self {
            by_node: by_node.map(|(i, t)| (t.id.clone(), i)).collect(),
            waiting: (0..targets.len()).collect(),
            entries: targets.into_iter().map(NodeRun::of).collect(),
            plan,
            retries: BTreeSet::new(),
            in_flight: 0,
            failed: 0,
            reconnecting: false,
            interrupted: false,
        }
    }

    pub(super) fn target(&self, i: usize) -> &Target {
        &self.entries[i].target
    }

    /// What is left of the time in which a node may pick the request up.
    pub(super) fn left_to_pick_up(&self, i: usize, now: Instant) -> Option<Duration> {
        let sent_at = self.entries[i].sent_at?;
        let pickup = self.plan.pickup.filter(|_| !self.is_picked_up(i))?;
        Some(pickup.saturating_sub(now - sent_at))
    }

    /// Whose turn it is to be sent the request.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<usize> {
        let most = self.plan.concurrency.unwrap_or(usize::MAX);
        while self.in_flight < most && !self.is_stopped() {
            let i = self.waiting.pop_front()?;
            self.in_flight += 1;
            let entry = &mut self.entries[i];
            entry.sent_at = Some(now);
            entry.stage = Stage::Publishing;
            // It cannot be asked, but its reply may be on its way.
            if self.plan.action == Action::Attach && !entry.is_ur_agent() {
                (entry.stage, entry.taken) = (Stage::Sent, true);
                continue;
            }
            return Some(i);
        }
        None
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.interrupted || self.failed >= self.plan.max_fail.unwrap_or(usize::MAX)
    }

    pub(super) fn is_over(&self) -> bool {
        self.interrupted || (self.in_flight == 0 && (self.waiting.is_empty() || self.is_stopped()))
    }

    /// Who is to be sent to once more, and what. A request goes to a Node.js agent a second time only
    /// if no queue took the first one: it runs it as often as it comes.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(usize, Payload)> {
        let (at, i) = *self.retries.first()?;
        if at > now {
            return None;
        }
        self.schedule(i, None);
        let repeatable = match self.plan.action {
            Action::Execute | Action::Attach => !self.is_picked_up(i),
            Action::Cancel => !self.entries[i].taken,
        };
        if !repeatable {
            return Some((i, Payload::StatusRequest));
        }
        self.entries[i].stage = Stage::Publishing;
        Some((i, Payload::Request))
    }

    /// What the broker did with the request.
    pub(super) fn sent(
        &mut self,
        i: usize,
        routing: Routing,
        now: Instant,
    ) -> Option<RunEvent<'_>> {
        let entry = &mut self.entries[i];
        if entry.stage != Stage::Publishing {
            return None;
        }
        let first = !entry.taken;
        entry.stage = Stage::Sent;
        entry.unroutable = routing == Routing::Unroutable;
        let knows = entry.is_ur_agent() && self.plan.action != Action::Cancel;
        match routing {
            // Rejected by one queue, it may be in another: the node's.
            Routing::Taken | Routing::Rejected => {
                entry.taken = true;
                entry.asked = self.plan.action == Action::Attach;
                self.schedule(i, knows.then_some(now + AGAIN));
                first.then(|| RunEvent::Sent(&self.entries[i].target))
            }
            Routing::Unroutable
                if entry.taken || self.reconnecting || self.plan.action == Action::Attach =>
            {
                self.schedule(i, Some(now + AGAIN));
                None
            }
            Routing::Unroutable => self.end(i, Outcome::NotConnected, None, now),
        }
    }

    /// The same for a question. A node that is not there may be connecting again, as we did.
    pub(super) fn asked(&mut self, i: usize, routing: Routing, now: Instant) {
        let entry = &mut self.entries[i];
        if entry.is_in_flight() {
            entry.asked |= routing != Routing::Unroutable;
            entry.unroutable = routing == Routing::Unroutable;
            self.schedule(i, Some(now + AGAIN));
        }
    }

    pub(super) fn received(&mut self, delivery: &Delivery, now: Instant) -> Option<RunEvent<'_>> {
        let (node, kind) = match RoutingKey::parse(&delivery.routing_key).ok()? {
            RoutingKey::ExecuteReply { node, .. } => (node, Kind::Reply),
            RoutingKey::Progress { node, .. } => (node, Kind::Progress),
            RoutingKey::Output { node, .. } => (node, Kind::Output),
            _ => return None,
        };
        let i = *self.by_node.get(&NodeId::parse(&node).ok()?)?;
        if !self.entries[i].is_in_flight() {
            return None;
        }
        self.entries[i].unroutable = false;
        match kind {
            Kind::Reply => self.replied(i, &delivery.body, now),
            Kind::Progress => {
                let progress = serde_json::from_slice(&delivery.body).ok()?;
                self.picked_up(i, now);
                let entry = &mut self.entries[i];
                let heard = entry.last_progress.insert(progress);
                Some(RunEvent::Progress(&entry.target, heard))
            }
            Kind::Output => {
                let output: Output = serde_json::from_slice(&delivery.body).ok()?;
                self.picked_up(i, now);
                Some(RunEvent::Output(&self.entries[i].target, output))
            }
        }
    }

    fn picked_up(&mut self, i: usize, now: Instant) {
        self.schedule(i, Some(now + STILL_THERE));
        let entry = &mut self.entries[i];
        entry.asked = false;
        if !matches!(entry.stage, Stage::PickedUp(_)) {
            entry.stage = Stage::PickedUp(now);
        }
    }

    fn is_picked_up(&self, i: usize) -> bool {
        matches!(self.entries[i].stage, Stage::PickedUp(_))
    }

    fn replied(&mut self, i: usize, body: &[u8], now: Instant) -> Option<RunEvent<'_>> {
        let (mut reply, more) = match Reply::decode(body) {
            Ok(read) => read,
            Err(error) => {
                let message = format!("its reply cannot be read: {error}");
                return self.end(i, Outcome::Undetermined { message }, None, now);
            }
        };
        // A Node.js agent does not say what it ran. We know.
        if reply.name.is_none() {
            reply.set_label(self.plan.label.clone());
        }
        let outcome = match task::outcome(&reply) {
            Outcome::Refused(_) if self.entries[i].asked && reply.is_unknown_request() => {
                let message = "the node does not know the request: it never arrived, or the node \
                               has restarted since";
                Outcome::Undetermined {
                    message: message.to_owned(),
                }
            }
            outcome => outcome,
        };
        let mut event = self.end(i, outcome, Some(reply), now);
        if let Some(RunEvent::Ended(result)) = &mut event {
            result.unknown_fields = more;
        }
        event
    }

    fn end(
        &mut self,
        i: usize,
        outcome: Outcome,
        reply: Option<Reply>,
        now: Instant,
    ) -> Option<RunEvent<'_>> {
        self.schedule(i, None);
        let entry = &mut self.entries[i];
        let outcome = match &outcome {
            Outcome::Undetermined { .. } | Outcome::NoAnswer | Outcome::NotConnected => {
                let earlier = self.plan.earlier.get(&entry.target.id);
                earlier.cloned().unwrap_or(outcome)
            }
            _ => outcome,
        };
        entry.stage = Stage::Ended;
        self.in_flight -= 1;
        self.failed += usize::from(!outcome.is_success());
        let result = entry.result.insert(NodeResult {
            target: entry.target.clone(),
            outcome,
            reply,
            unknown_fields: serde_json::Map::new(),
            last_progress: entry.last_progress.take(),
            unroutable: entry.unroutable,
            elapsed: entry.sent_at.map_or(Duration::ZERO, |sent| now - sent),
        });
        Some(RunEvent::Ended(result))
    }

    /// Those whose time to answer is over.
    pub(super) fn overdue(&self, now: Instant) -> Vec<usize> {
        self.those(|entry| entry.is_in_flight() && self.is_overdue(entry, now))
    }

    fn is_overdue(&self, entry: &NodeRun, now: Instant) -> bool {
        let Plan { pickup, wait, .. } = self.plan;
        let (since, limit) = match entry.stage {
            Stage::PickedUp(at) => (Some(at), wait),
            // A Node.js agent does not say when it has picked a request up.
            _ if entry.taken && !entry.is_ur_agent() => (entry.sent_at, wait),
            _ => (entry.sent_at, pickup.as_ref().unwrap_or(wait)),
        };
        since.is_some_and(|since| now - since >= *limit)
    }

    pub(super) fn give_up(&mut self, i: usize, now: Instant) -> Option<RunEvent<'_>> {
        let entry = &self.entries[i];
        // Then the node cannot have it.
        let absent = !entry.taken && entry.unroutable && self.plan.action != Action::Attach;
        let outcome = if absent {
            Outcome::NotConnected
        } else {
            Outcome::NoAnswer
        };
        self.end(i, outcome, None, now)
    }

    /// What was on its way may have arrived or not, and what nodes said may be missed.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        self.reconnecting = true;
        for i in self.those(NodeRun::is_in_flight) {
            let entry = &mut self.entries[i];
            if entry.stage == Stage::Publishing {
                (entry.stage, entry.taken) = (Stage::Sent, true);
            }
            if entry.is_ur_agent() || !entry.taken {
                self.schedule(i, Some(now));
            }
        }
    }

    fn schedule(&mut self, i: usize, at: Option<Instant>) {
        let again_at = &mut self.entries[i].again_at;
        if let Some(old) = std::mem::replace(again_at, at) {
            self.retries.remove(&(old, i));
        }
        self.retries.extend(at.map(|at| (at, i)));
    }

    /// The operator wants to wait no longer.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    fn those(&self, wanted: impl Fn(&NodeRun) -> bool) -> Vec<usize> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter_map(|(i, entry)| wanted(entry).then_some(i))
            .collect()
    }

    /// Those who were sent to and have not ended.
    pub(super) fn unanswered(&self) -> Vec<usize> {
        self.those(NodeRun::is_in_flight)
    }

    pub(super) fn into_report(self) -> Report {
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

impl NodeRun {
    fn of(target: Target) -> Self {
        Self {
            target,
            stage: Stage::Waiting,
            sent_at: None,
            taken: false,
            last_progress: None,
            again_at: None,
            asked: false,
            unroutable: false,
            result: None,
        }
    }

    fn is_ur_agent(&self) -> bool {
        self.target.agent.is_some()
    }

    fn is_in_flight(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Ended)
    }
}

enum Kind {
    Reply,
    Progress,
    Output,
}
