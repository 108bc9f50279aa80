//! The state of a run over all its nodes: which is next, which is to be sent to again, which is overdue. No I/O
//! and no clock of its own, so that every turn of a run can be tested.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{self, AnswerKind};
use super::node_run::{NodeRun, Stage};
use super::report::{Report, RunEvent};
use super::rolling::Turns;
use super::{Action, Plan, Target};
use broker::{Delivery, Routing};
use protocol::{NodeId, Outcome};

/// How long until a node that has said nothing, or was not there, is sent to once more.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a node that has the request may say nothing until it is asked whether it still has it: a
/// reboot forgets, and does not say so.
const STATUS_AFTER: Duration = Duration::from_secs(30);
/// How long a cancelled script may take to end: its agent kills it after five seconds.
const CANCEL_WAIT: Duration = Duration::from_secs(20);

pub(super) struct RunState<'a> {
    plan: &'a Plan,
    nodes: Vec<NodeRun>,
    by_id: HashMap<NodeId, usize>,
    waiting: VecDeque<usize>,
    turns: Turns,
    /// Which nodes are to be sent to once more, and when.
    pub(super) retries: BTreeSet<(Instant, usize)>,
    latest_pickup: Option<Pickup>,
    pub(super) in_flight: usize,
    failed: usize,
    /// Agents may be connecting again, as we did: one that is not there is not absent yet.
    reconnecting: bool,
    /// Since when there is a connection, if there is one.
    connected_at: Option<Instant>,
    interrupted: bool,
    /// The operator is asked what becomes of the run: until then, no batch begins and none is asked about.
    is_asked: bool,
    /// Until when what was cancelled may take to end.
    cancelled_until: Option<Instant>,
}

/// That a node has said for the first time that it has the request.
struct Pickup {
    sent_at: Option<Instant>,
    at: Instant,
}

/// What a message to a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Request,
    /// What became of the request? Starts nothing.
    StatusRequest,
    Cancel,
}

impl<'a> RunState<'a> {
    pub(super) fn new(targets: Vec<Target>, plan: &'a Plan) -> Self {
        let by_id = targets.iter().enumerate();
        Self {
            by_id: by_id.map(|(i, t)| (t.id.clone(), i)).collect(),
            waiting: (0..targets.len()).collect(),
            turns: Turns::new(&plan.rolling, &targets),
            nodes: targets.into_iter().map(NodeRun::of).collect(),
            plan,
            retries: BTreeSet::new(),
            latest_pickup: None,
            in_flight: 0,
            failed: 0,
            reconnecting: false,
            connected_at: None,
            interrupted: false,
            is_asked: false,
            cancelled_until: None,
        }
    }

    pub(super) fn target(&self, i: usize) -> &Target {
        &self.nodes[i].target
    }

    /// What is left of the time in which a node may pick the request up.
    pub(super) fn left_to_pick_up(&self, i: usize, now: Instant) -> Option<Duration> {
        let node = &self.nodes[i];
        let pickup = self.plan.pickup.filter(|_| !node.is_picked_up())?;
        Some(pickup.saturating_sub(now - node.sent_at?))
    }

    /// The node that is to be sent the request next.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<usize> {
        let most = self.plan.concurrency.unwrap_or(usize::MAX);
        while self.in_flight < most && !self.is_stopped() {
            let i = self.turns.next(&mut self.waiting)?;
            self.in_flight += 1;
            let node = &mut self.nodes[i];
            node.sent_at = Some(now);
            node.stage = Stage::Publishing;
            node.question_confirmed = self.plan.action == Action::Attach;
            // It cannot be asked, but its reply may be on its way.
            if self.plan.action == Action::Attach && !node.is_ur_agent() {
                (node.stage, node.taken) = (Stage::Sent, true);
                continue;
            }
            return Some(i);
        }
        None
    }

    pub(super) fn is_stopped(&self) -> bool {
        let may_fail = self.plan.max_fail.unwrap_or(usize::MAX);
        self.interrupted || self.failed >= may_fail
    }

    pub(super) fn is_over(&self) -> bool {
        let is_left = self.interrupted && self.cancelled_until.is_none();
        is_left || (self.in_flight == 0 && (self.waiting.is_empty() || self.is_stopped()))
    }

    /// The node that is to be sent to once more, and what. A request goes to a Node.js agent a second time
    /// only if no queue took the first one: it runs it as often as it comes.
    pub(super) fn next_retry(&mut self, now: Instant) -> Option<(usize, Payload)> {
        let i = loop {
            let (at, i) = *self.retries.first()?;
            if at > now {
                return None;
            }
            let later = self.behind_others_until(i).filter(|&later| later > now);
            self.schedule(i, later);
            if later.is_none() {
                break i;
            }
        };
        let node = &mut self.nodes[i];
        if self.cancelled_until.is_some() {
            node.question_confirmed = true;
            return Some((i, Payload::Cancel));
        }
        let repeatable = match self.plan.action {
            Action::Execute | Action::Attach => !node.is_picked_up(),
            Action::Cancel => !node.taken,
        };
        if !repeatable {
            node.question_confirmed = true;
            return Some((i, Payload::StatusRequest));
        }
        node.stage = Stage::Publishing;
        Some((i, Payload::Request))
    }

    /// While nodes that were sent to before this one still begin to answer, its turn has not come: thousands
    /// of requests take the broker longer than [`RETRY_AFTER`], and sending them again, twice as long.
    fn behind_others_until(&self, i: usize) -> Option<Instant> {
        let pickup = self.latest_pickup.as_ref()?;
        if self.cancelled_until.is_some() {
            return None;
        }
        let node = &self.nodes[i];
        let is_behind = !node.is_picked_up() && pickup.sent_at <= node.sent_at;
        is_behind.then(|| pickup.at + RETRY_AFTER)
    }

    /// What the broker did with the request.
    pub(super) fn sent(
        &mut self,
        i: usize,
        routing: Routing,
        now: Instant,
    ) -> Option<RunEvent<'_>> {
        let node = &mut self.nodes[i];
        if node.stage != Stage::Publishing {
            return None;
        }
        let first = !node.taken;
        node.stage = Stage::Sent;
        node.unroutable = routing == Routing::Unroutable;
        let acknowledges = node.is_ur_agent() && self.plan.action != Action::Cancel;
        match routing {
            // Rejected by one queue, it may be in another: the node's.
            Routing::Taken | Routing::Rejected => {
                node.taken = true;
                self.schedule(i, acknowledges.then_some(now + RETRY_AFTER));
                first.then(|| RunEvent::Sent(&self.nodes[i].target))
            }
            Routing::Unroutable
                if node.taken || self.reconnecting || self.plan.action == Action::Attach =>
            {
                self.schedule(i, Some(now + RETRY_AFTER));
                None
            }
            Routing::Unroutable => self.end(i, Outcome::NotConnected, now),
        }
    }

    /// The same for a status request and a cancel. A node that is not there may be connecting again, as we did.
    pub(super) fn question_sent(&mut self, i: usize, routing: Routing, now: Instant) {
        let node = &mut self.nodes[i];
        if node.is_in_flight() {
            node.unroutable = routing == Routing::Unroutable;
            self.schedule(i, Some(now + RETRY_AFTER));
        }
    }

    pub(super) fn received(&mut self, delivery: &Delivery, now: Instant) -> Option<RunEvent<'_>> {
        let (node, answer) = AnswerKind::of(&delivery.routing_key)?;
        let i = *self.by_id.get(&node)?;
        if !self.nodes[i].is_in_flight() {
            return None;
        }
        self.nodes[i].unroutable = false;
        match answer {
            AnswerKind::Reply => self.replied(i, &delivery.body, now),
            AnswerKind::Progress => {
                let progress = answer::progress(&delivery.body)?;
                self.picked_up(i, now);
                let node = &mut self.nodes[i];
                node.progressed(progress);
                let progress = node.last_progress.as_ref()?;
                Some(RunEvent::Progress(&node.target, progress))
            }
            AnswerKind::Output => {
                let output = answer::output(&delivery.body)?;
                self.picked_up(i, now);
                self.nodes[i].has_output();
                Some(RunEvent::Output(&self.nodes[i].target, output))
            }
        }
    }

    fn picked_up(&mut self, i: usize, now: Instant) {
        self.schedule(i, Some(now + STATUS_AFTER));
        let node = &mut self.nodes[i];
        if !node.is_picked_up() {
            let sent_at = node.sent_at;
            self.latest_pickup = Some(Pickup { sent_at, at: now });
        }
        node.picked_up(now);
    }

    fn replied(&mut self, i: usize, body: &[u8], now: Instant) -> Option<RunEvent<'_>> {
        let (mut reply, unknown_fields) = match answer::reply(body) {
            Ok(read) => read,
            Err(error) => {
                let message = format!("its reply cannot be read: {error}");
                return self.end(i, Outcome::Undetermined { message }, now);
            }
        };
        if !reply.is_meant_for(self.plan.content.as_deref()) {
            return None;
        }
        answer::shorten(&mut reply, self.plan.max_output);
        // A Node.js agent does not say what it ran. We know.
        if reply.name.is_none() {
            reply.set_label(self.plan.label.clone());
        }
        let outcome = self.nodes[i].judge(&reply);
        let mut event = self.end(i, outcome.clone(), now);
        // Where the node has forgotten the request and an earlier outcome stands, the reply is not about that.
        if let Some(RunEvent::Ended(result)) = &mut event
            && result.outcome == outcome
        {
            result.reply = Some(Box::new(reply));
            result.unknown_fields = unknown_fields;
        }
        event
    }

    fn end(&mut self, i: usize, outcome: Outcome, now: Instant) -> Option<RunEvent<'_>> {
        self.schedule(i, None);
        let node = &mut self.nodes[i];
        let outcome = match &outcome {
            Outcome::Undetermined { .. } | Outcome::NoAnswer | Outcome::NotConnected => {
                let earlier = self.plan.earlier.get(&node.target.id);
                earlier.cloned().unwrap_or(outcome)
            }
            _ => outcome,
        };
        self.in_flight -= 1;
        self.turns.ended(i);
        self.failed += usize::from(!outcome.is_success());
        Some(RunEvent::Ended(node.end(outcome, now)))
    }

    /// The nodes whose time to answer is over.
    pub(super) fn overdue(&self, now: Instant) -> Vec<usize> {
        if self.cancelled_until.is_some_and(|until| now >= until) {
            return self.unanswered();
        }
        self.those(|node| node.is_overdue(self.plan, self.connected_at, now))
    }

    pub(super) fn give_up(&mut self, i: usize, now: Instant) -> Option<RunEvent<'_>> {
        let outcome = self.nodes[i].silent(self.plan);
        self.end(i, outcome, now)
    }

    /// What was on its way may have arrived or not, and what nodes said may be missed.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        self.reconnecting = true;
        self.connected_at = None;
        self.latest_pickup = None;
        for i in self.unanswered() {
            let node = &mut self.nodes[i];
            if node.stage == Stage::Publishing {
                (node.stage, node.taken) = (Stage::Sent, true);
            }
            if node.is_ur_agent() || !node.taken {
                self.schedule(i, Some(now));
            }
        }
    }

    fn schedule(&mut self, i: usize, at: Option<Instant>) {
        let retry_at = &mut self.nodes[i].retry_at;
        if let Some(old) = std::mem::replace(retry_at, at) {
            self.retries.remove(&(old, i));
        }
        self.retries.extend(at.map(|at| (at, i)));
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// Begins the next batch when its time has come. Says so when one has just ended.
    pub(super) fn end_of_batch(&mut self, now: Instant) -> Option<RunEvent<'_>> {
        if self.in_flight > 0 || self.waiting.is_empty() || self.is_stopped() || self.is_asked {
            return None;
        }
        self.turns.idle(now).map(RunEvent::BatchEnded)
    }

    pub(super) fn go_on(&mut self) {
        self.turns.go_on();
    }

    pub(super) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// The answer was that it goes on. Whether with another batch, was not asked.
    pub(super) fn wait_on(&mut self) {
        self.is_asked = false;
        self.turns.ask_again();
    }

    /// The operator wants to wait no longer.
    pub(super) fn leave(&mut self) {
        self.interrupted = true;
        self.cancelled_until = None;
    }

    /// The operator wants that it ends. Returns the nodes whose agent cannot do that.
    pub(super) fn cancel(&mut self, now: Instant) -> Vec<usize> {
        self.interrupted = true;
        self.cancelled_until = Some(now + CANCEL_WAIT);
        for i in self.unanswered() {
            if self.nodes[i].is_ur_agent() {
                self.schedule(i, Some(now));
            }
        }
        self.those(|node| node.is_in_flight() && !node.is_ur_agent())
    }

    fn those(&self, wanted: impl Fn(&NodeRun) -> bool) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter_map(|(i, node)| wanted(node).then_some(i))
            .collect()
    }

    /// The nodes that were sent to and have not ended.
    pub(super) fn unanswered(&self) -> Vec<usize> {
        self.those(NodeRun::is_in_flight)
    }

    pub(super) fn into_report(self) -> Report {
        let mut report = Report {
            interrupted: self.interrupted,
            ..Report::default()
        };
        for node in self.nodes {
            match node.result {
                Some(result) => report.results.push(result),
                None => report.not_sent.push(node.target),
            }
        }
        report
    }
}
