//! The account of every request: how it ended, and whether it may have ended so.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};

use super::journal::Journal;
use super::node::{Node, Role};
use super::processes::Kill;
use super::request::{Evidence, Harm, Request, Verdict, judge};
use super::sender::{Sender, Tally};

/// Lines about what went wrong that are printed; the first say it.
const SHOWN: usize = 30;

#[derive(Default)]
pub(crate) struct Account {
    sent: u32,
    not_started: u32,
    started_once: u32,
    started_twice: u32,
    right: u32,
    undetermined: u32,
    refused: u32,
    /// Refused to one copy, and run for another that was on its way already.
    refused_then_run: u32,
    never_answered: u32,
    wrong: u32,
    panics: u32,
    seen_again: u32,
    tally: Tally,
    faults: BTreeMap<&'static str, u32>,
    complaints: Vec<String>,
}

/// By node and request.
type Seen<T> = HashMap<(usize, String), T>;

impl Account {
    pub(crate) fn of(
        sender: Sender,
        nodes: &[Node],
        kills: Vec<Kill>,
        journals: &[Journal],
    ) -> Result<Self> {
        let mut account = Self::default();
        for (fault, times) in journals.iter().flat_map(|journal| &journal.counts) {
            *account.faults.entry(fault).or_default() += times;
        }
        let evidence = evidence(nodes)?;
        let newborn_supervisor = kills
            .iter()
            .any(|kill| kill.request.is_none() && kill.role == Role::Supervisor);
        let mut harm = harm(kills);
        let full_disk = account
            .faults
            .keys()
            .any(|fault| fault.starts_with("disk:"));
        for request in &sender.requests {
            let whose = (request.node, request.id.clone());
            let mut harm = harm.remove(&whose).unwrap_or_default();
            // The second node's disk is the one that fills.
            harm.full_disk = full_disk && request.node == 1;
            harm.newborn_supervisor = newborn_supervisor;
            account.enter(
                request,
                evidence.get(&whose).copied().unwrap_or_default(),
                harm,
            );
        }
        for node in nodes {
            account.look_for_panics(node)?;
        }
        account.tally = sender.tally;
        account.look_for_misses();
        Ok(account)
    }

    pub(crate) fn is_clean(&self) -> bool {
        let forbidden = self.started_twice + self.never_answered + self.wrong + self.panics;
        forbidden == 0 && self.complaints.is_empty()
    }

    fn enter(&mut self, request: &Request, evidence: Evidence, harm: Harm) {
        self.sent += 1;
        match evidence.starts {
            0 => self.not_started += 1,
            1 => self.started_once += 1,
            _ => {
                self.started_twice += 1;
                self.complain(request, "started more than once", evidence);
            }
        }
        if request.replies_seen > 1 {
            self.seen_again += 1;
        }
        if request.replies.is_empty() {
            self.never_answered += 1;
            let words = match request.accepted {
                Some(_) => "accepted and never answered",
                None => "never answered",
            };
            return self.complain(request, words, evidence);
        }
        match self.verdict(request, evidence, harm) {
            Verdict::Right => self.right += 1,
            Verdict::Undetermined => self.undetermined += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::RefusedThenRun => self.refused_then_run += 1,
            Verdict::Wrong(why) => {
                self.wrong += 1;
                self.complain(request, &why, evidence);
            }
        }
    }

    /// Judges all answers to a request together.
    fn verdict(&self, request: &Request, evidence: Evidence, harm: Harm) -> Verdict {
        let verdict = |body: &Vec<u8>, evidence| match serde_json::from_slice(body) {
            Ok(reply) => judge(request.kind, &reply, evidence, harm),
            Err(_) => Verdict::Wrong("not a reply".to_owned()),
        };
        let is_refusal = |body: &&Vec<u8>| verdict(body, Evidence::default()) == Verdict::Refused;
        let (refusals, others): (Vec<_>, Vec<_>) = request.replies.iter().partition(is_refusal);
        let had_one_agent = request.agents_first == request.agents_last;
        if request.is_lost {
            return Verdict::Wrong("said to be replied, and nothing had come".to_owned());
        }
        if others.len() > 1 || (had_one_agent && request.replies.len() > 1) {
            return Verdict::Wrong("answered in different ways".to_owned());
        }
        match (others.first(), refusals.first()) {
            // A refusal is remembered by the agent that gave it, and not by its successor.
            (Some(_), Some(_)) => Verdict::RefusedThenRun,
            (None, Some(_)) if evidence.starts > 0 && !had_one_agent => Verdict::RefusedThenRun,
            (Some(body), None) | (None, Some(body)) => verdict(body, evidence),
            (None, None) => unreachable!("there is a reply"),
        }
    }

    fn complain(&mut self, request: &Request, why: &str, evidence: Evidence) {
        let Request {
            id,
            node,
            kind,
            copies,
            accepted,
            ..
        } = request;
        let replies: Vec<String> = request.replies.iter().map(|body| shortened(body)).collect();
        self.complaints.push(format!(
            "{id} on chaos-{}: {why}; {kind:?}, {evidence:?}, {copies} copies sent, accepted: {accepted:?}, replies: {replies:?}",
            node + 1
        ));
    }

    fn look_for_panics(&mut self, node: &Node) -> Result<()> {
        let path = node.dir.join("log");
        let log = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let log = String::from_utf8_lossy(&log);
        for line in log.lines().filter(|line| line.contains("panicked at")) {
            self.panics += 1;
            self.complaints.push(format!("{}: {line}", node.name));
        }
        Ok(())
    }

    /// A campaign that no longer finds what it wants to hit would praise everything.
    fn look_for_misses(&mut self) {
        for fault in [
            "agent: killed",
            "fork server: killed",
            "supervisor: killed",
            "script: killed",
        ] {
            if self.sent > 200 && !self.faults.contains_key(fault) {
                self.complaints.push(format!("{fault}: never"));
            }
        }
    }

    fn outcomes(&self) -> [(&'static str, u32, &'static str); 11] {
        let forbidden = "must be 0";
        let killed = "only where the supervisor was killed";
        let full = "only where the disk was full, or the supervisor killed";
        let successor = "only if the agent that refused had died";
        let not_started = "refused, cancelled before, or killed at birth";
        let again = "identical, or they count as wrong";
        [
            ("requests sent", self.sent, ""),
            ("started once", self.started_once, ""),
            ("not started", self.not_started, not_started),
            ("started twice", self.started_twice, forbidden),
            ("answered with a right outcome", self.right, ""),
            ("answered undetermined", self.undetermined, killed),
            ("refused, and not started", self.refused, full),
            (
                "refused, but another copy ran",
                self.refused_then_run,
                successor,
            ),
            ("never answered", self.never_answered, forbidden),
            ("wrong answers, panics", self.wrong + self.panics, forbidden),
            ("answers seen more than once", self.seen_again, again),
        ]
    }

    fn traffic(&self) -> [(&'static str, u32, &'static str); 9] {
        let tally = &self.tally;
        [
            ("sent twice at once", tally.twice_at_once, ""),
            ("sent ten times at once", tally.ten_times_at_once, ""),
            ("sent again after the answer", tally.again_after_end, ""),
            ("… and after a new agent", tally.again_after_restart, ""),
            ("status asked for", tally.status, ""),
            ("cancel asked for", tally.cancel, ""),
            (
                "returned: node not connected",
                tally.unroutable,
                "sent again",
            ),
            ("connections of the sender", tally.sessions, ""),
            (
                "seconds from the last fault to the last answer",
                tally.seconds_to_settle,
                "at most 60",
            ),
        ]
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for complaint in self.complaints.iter().take(SHOWN) {
            writeln!(f, "chaos: {complaint}")?;
        }
        let mut table = table("what became of the requests");
        for (what, times, remark) in self.outcomes().into_iter().chain(self.traffic()) {
            table.add_row([what, &times.to_string(), remark]);
        }
        writeln!(f, "{table}\n")?;
        let mut faults = self::table("fault");
        for (fault, times) in &self.faults {
            faults.add_row([*fault, &times.to_string(), ""]);
        }
        write!(f, "{faults}")
    }
}

fn table(title: &str) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header([title, "times", ""]);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A script that was killed while it wrote leaves no half line: a short append is whole or not there.
fn evidence(nodes: &[Node]) -> Result<Seen<Evidence>> {
    let mut seen: Seen<Evidence> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let path = node.evidence();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        for line in text.lines() {
            let (word, id) = line
                .split_once(' ')
                .with_context(|| format!("understanding {line:?}"))?;
            let evidence = seen.entry((at, id.to_owned())).or_default();
            match word {
                "start" => evidence.starts += 1,
                _ => evidence.ends += 1,
            }
        }
    }
    Ok(seen)
}

fn harm(kills: Vec<Kill>) -> Seen<Harm> {
    let mut harm: Seen<Harm> = HashMap::new();
    for Kill {
        node,
        request,
        role,
    } in kills
    {
        let Some(request) = request else {
            continue;
        };
        let harm = harm.entry((node, request)).or_default();
        match role {
            Role::Supervisor => harm.supervisor = true,
            Role::Script => harm.script = true,
            Role::ForkServer => unreachable!("it has no request"),
        }
    }
    harm
}

fn shortened(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
