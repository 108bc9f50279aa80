//! Evaluates one expression on many nodes, on a thread of its own and within bounds of time and memory: an expression
//! may never end, and the operator is to learn that before anything is sent. One node after the other, so that the
//! sysinfo of one node only is in memory as a tree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde_json::Value;
use serde_json::value::RawValue;

use super::facts::{self, FACTS};
use super::{Filter, NoVerdict, Node, Plain, Unselectable};
use protocol::NodeId;
use task::near;

/// For one node. The usual expression takes a fraction of a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the memory that it has taken is looked at, and how much that may be.
const PULSE: Duration = Duration::from_millis(10);
const MAX_KIB: u64 = 512 * 1024;
/// Only what is touched is taken; a recursion that is not a loop needs some.
const STACK: usize = 256 * 1024 * 1024;
/// Keys that are remembered, to tell those that look like a misspelt one.
const MAX_KEYS: usize = 10_000;

/// The nodes that a filter accepts, by their places, and those on which it failed.
#[derive(Debug)]
pub struct Matching {
    pub nodes: Vec<usize>,
    pub left_out: Vec<(usize, Unselectable)>,
    /// Keys that no node has; then it accepts none.
    pub unknown: Vec<UnknownKey>,
}

/// Asks `filter` about nodes that were asked for all they say. An odd node on which it fails, or gives what is neither
/// true nor false, is left out. An expression that fails everywhere is wrong itself, and so is one that gives values
/// and says true or false to no node.
pub fn matching(filter: &Arc<Filter>, nodes: &[&Node]) -> Result<Matching, Unselectable> {
    let judged = judge(filter, nodes);
    if let Some(node) = nodes.get(judged.verdicts.len()) {
        let node = node.name();
        return Err(Unselectable::Endless { node });
    }
    let mut matching = Matching {
        nodes: Vec::new(),
        left_out: Vec::new(),
        // Where there is no node, none has the key, which says nothing about it.
        unknown: judged
            .unknown
            .into_iter()
            .filter(|_| !nodes.is_empty())
            .collect(),
    };
    let (mut is_decided, mut value) = (false, None);
    for (i, verdict) in judged.verdicts.into_iter().enumerate() {
        match verdict {
            Ok(decision) => {
                is_decided |= decision.is_some();
                matching
                    .nodes
                    .extend(decision.filter(|yes| *yes).map(|_| i));
            }
            Err(why) => {
                if matches!(why, NoVerdict::Value(..)) && value.is_none() {
                    value = Some(matching.left_out.len());
                }
                let node = nodes[i].name();
                matching
                    .left_out
                    .push((i, Unselectable::NoVerdict { node, why }));
            }
        }
    }
    let wrong = match value {
        Some(first) if !is_decided => Some(first),
        _ => (matching.left_out.len() == nodes.len()).then_some(0),
    };
    if let Some(wrong) = wrong.filter(|_| !nodes.is_empty()) {
        return Err(matching.left_out.swap_remove(wrong).1);
    }
    if !matching.nodes.is_empty() && !matching.unknown.is_empty() {
        return Err(Unselectable::UnknownKeys {
            keys: matching.unknown,
            some_match: true,
        });
    }
    Ok(matching)
}

/// Whether an output is true, or one is false at least.
type Verdict = Result<Option<bool>, NoVerdict>;

/// As far as the expression came: there are fewer verdicts than nodes where it did not end.
#[derive(Default)]
struct Judged {
    verdicts: Vec<Verdict>,
    unknown: Vec<UnknownKey>,
}

enum Told {
    Verdict(Verdict),
    Unknown(Vec<UnknownKey>),
}

fn judge(filter: &Arc<Filter>, nodes: &[&Node]) -> Judged {
    let mut judged = Judged::default();
    let (filter, said) = (Arc::clone(filter), said(nodes));
    watched(
        move |tell| work(&filter, said, tell),
        |told| match told {
            Told::Verdict(verdict) => judged.verdicts.push(verdict),
            Told::Unknown(unknown) => judged.unknown = unknown,
        },
    );
    judged
}

/// What an expression gives for a node.
pub type Outputs = Result<Vec<Value>, NoVerdict>;

/// All that `filter` gives, for each of the nodes that were asked for all they say.
pub fn outputs(filter: &Arc<Filter>, nodes: &[&Node]) -> Result<Vec<Outputs>, Unselectable> {
    let mut all = Vec::new();
    let (filter, said) = (Arc::clone(filter), said(nodes));
    watched(
        move |tell| {
            let mut said = said.into_iter();
            said.try_for_each(|(id, said)| {
                tell.send(filter.outputs(&facts::of_said(&id, said.as_deref())))
            })
            // If the receiver has given up, the result is not needed.
            .ok();
        },
        |outputs| all.push(outputs),
    );
    match nodes.get(all.len()) {
        None => Ok(all),
        Some(node) => Err(Unselectable::Endless { node: node.name() }),
    }
}

/// The same for one value. `None` where the filter does not end: then it is still at work, and is not to be asked again.
pub fn outputs_of(filter: &Arc<Filter>, value: Value) -> Option<Outputs> {
    let (filter, mut outputs) = (Arc::clone(filter), None);
    watched(
        move |tell| drop(tell.send(filter.outputs(&value))),
        |it| outputs = Some(it),
    );
    outputs
}

type Said = Vec<(NodeId, Option<Arc<RawValue>>)>;

fn said(nodes: &[&Node]) -> Said {
    nodes
        .iter()
        .map(|node| (node.id.clone(), node.sysinfo.clone()))
        .collect()
}

/// Takes what `work` tells until that has ended, or tells nothing for too long.
fn watched<T: Send + 'static>(
    work: impl FnOnce(&Sender<T>) + Send + 'static,
    mut take: impl FnMut(T),
) {
    let (tell, told) = channel();
    let at_work = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || work(&tell));
    if at_work.is_err() {
        return;
    }
    let (before, mut latest) = (resident_kib(), Instant::now());
    loop {
        match told.recv_timeout(PULSE) {
            Ok(it) => {
                take(it);
                latest = Instant::now();
            }
            Err(RecvTimeoutError::Timeout)
                if latest.elapsed() < PATIENCE && resident_kib() < before + MAX_KIB => {}
            // It is left behind: the thread ends with `ur`.
            Err(_) => return,
        }
    }
}

fn work(filter: &Filter, said: Said, tell: &Sender<Told>) {
    let mut keys = Keys::read_by(filter);
    for (id, said) in said {
        let facts = facts::of_said(&id, said.as_deref());
        keys.look(&facts);
        let text = facts.to_string();
        drop(facts);
        if tell
            .send(Told::Verdict(filter.verdict(text.as_bytes())))
            .is_err()
        {
            return;
        }
    }
    // If the receiver has given up, the result is not needed.
    drop(tell.send(Told::Unknown(keys.unknown())));
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A key that occurs nowhere, and those that do and look like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub key: String,
    pub near: Vec<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no node that is asked about has `{}`",
            Plain::of(&self.key)
        )?;
        for (i, name) in self.near.iter().enumerate() {
            let word = if i == 0 { ": do you mean" } else { " or" };
            write!(f, "{word} `{}`", Plain::name(name))?;
        }
        f.write_str(if self.near.is_empty() { "" } else { "?" })?;
        f.write_str(" (a ? after it says that it may be missing)")
    }
}

/// The keys that an expression reads and no node has had yet, and those that nodes have.
struct Keys {
    missing: BTreeSet<String>,
    known: BTreeSet<String>,
}

impl Keys {
    fn read_by(filter: &Filter) -> Self {
        let mut missing = filter.keys.clone();
        for (name, _) in FACTS {
            missing.remove(*name);
        }
        Self {
            missing,
            known: BTreeSet::new(),
        }
    }

    fn look(&mut self, facts: &Value) {
        if !self.missing.is_empty() {
            each_key(facts, &mut |key| {
                self.missing.remove(key);
                if self.known.len() < MAX_KEYS && !self.known.contains(key) {
                    self.known.insert(key.to_owned());
                }
            });
        }
    }

    fn unknown(self) -> Vec<UnknownKey> {
        let Self { missing, known } = self;
        let unknown = missing.into_iter().map(|key| UnknownKey {
            near: near(&key, known.iter().map(String::as_str)),
            key,
        });
        unknown.collect()
    }
}

fn each_key(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                visit(key);
                each_key(value, visit);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| each_key(value, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(text: &str) -> Arc<Filter> {
        Arc::new(Filter::parse(text).unwrap())
    }

    fn said(what: &[Value]) -> Vec<Node> {
        let one = |(i, said): (usize, &Value)| {
            let id = NodeId::parse(&format!("u{i}")).unwrap();
            let mut node = Node::read(id, b"{}").unwrap();
            node.keep(said.to_string()).unwrap();
            node
        };
        what.iter().enumerate().map(one).collect()
    }

    fn judged(text: &str, what: &[Value]) -> Judged {
        let nodes = said(what);
        judge(&filter(text), &nodes.iter().collect::<Vec<_>>())
    }

    fn matched(text: &str, what: &[Value]) -> Result<Matching, Unselectable> {
        let nodes = said(what);
        matching(&filter(text), &nodes.iter().collect::<Vec<_>>())
    }

    #[test]
    fn each_node_gets_its_verdict() {
        let verdicts = judged(".a == 1", &[json!({"a": 1}), json!({"a": "x"}), json!({})]).verdicts;
        assert_eq!(verdicts[0], Ok(Some(true)));
        assert!(matches!(verdicts[1], Err(NoVerdict::Failed(_))));
        assert_eq!(verdicts[2], Ok(Some(false)));
    }

    #[test]
    fn an_expression_that_does_not_end_is_ended() {
        let began = Instant::now();
        assert_eq!(judged("def f: f; f", &[json!({})]).verdicts, []);
        assert!(began.elapsed() < PATIENCE * 3);
        let nodes = said(&[json!({}), json!({"a": 1})]);
        let given = |text: &str| outputs(&filter(text), &nodes.iter().collect::<Vec<_>>());
        let endless = given("if .a then def f: f; f else 1 end").unwrap_err();
        assert!(matches!(endless, Unselectable::Endless { node } if node == "u1"));
        assert!(matches!(
            given("repeat(1)"),
            Err(Unselectable::Endless { .. })
        ));
        assert_eq!(given(".a, 2").unwrap()[1], Ok(vec![json!(1), json!(2)]));
    }

    #[test]
    fn a_text_where_others_have_a_flag_costs_its_node_the_place_and_no_other() {
        let flags = [
            json!({"Flag": true}),
            json!({"Flag": "x"}),
            json!({"Flag": false}),
            json!({}),
        ];
        let found = matched(".Flag", &flags).unwrap();
        assert_eq!(found.nodes, [0]);
        assert_eq!(found.left_out.len(), 1);
        assert!(found.left_out[0].1.to_string().contains("u1"));
        // To no node it says true or false: that is no question.
        assert!(matched(".Flag", &flags[1..2]).is_err());
        assert!(matched(".Flag", &[flags[3].clone(), flags[1].clone()]).is_err());
    }

    #[test]
    fn where_no_node_is_no_key_is_called_unknown() {
        assert_eq!(matched(".Flag", &[]).unwrap().unknown, []);
        assert_eq!(matched(".Flag", &[json!({})]).unwrap().unknown.len(), 1);
    }

    #[test]
    fn a_key_that_no_node_has_is_told_with_those_like_it() {
        let facts = [
            json!({"Rack": "r1", "Disks": {"sda": {}}}),
            json!({"Ruck": [{"deep": 1}]}),
        ];
        let unknown = |text: &str| judged(text, &facts).unknown;
        assert_eq!(unknown(".Rack, .sda, .deep, .Setup"), []);
        assert_eq!(unknown(".rak")[0].near[0], "Rack");
        assert_eq!(unknown(".zzzz")[0].near, [""; 0]);
    }
}
