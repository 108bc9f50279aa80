//! The judgement of many nodes by one expression, on a thread of its own: an expression may never end, or fill the
//! memory, and the operator is to learn that before anything is sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde_json::Value;

use super::{Filter, NoVerdict, Plain};

/// For one node. The usual expression takes a fraction of a millisecond.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the memory that it has taken is looked at, and how much that may be.
const PULSE: Duration = Duration::from_millis(10);
const MAX_KIB: u64 = 512 * 1024;
/// Only what is touched is taken; a recursion that is not a loop needs some.
const STACK: usize = 256 * 1024 * 1024;

pub(super) type Verdict = Result<bool, NoVerdict>;

/// The verdict on each of `facts`, as far as the expression came. There are fewer than facts where it did not end.
pub(super) fn judge(filter: &Arc<Filter>, facts: &[Value]) -> Vec<Verdict> {
    let texts: Vec<String> = facts.iter().map(Value::to_string).collect();
    let (tell, told) = channel();
    let judge = Arc::clone(filter);
    let at_work = thread::Builder::new().stack_size(STACK).spawn(move || {
        for text in texts {
            if tell.send(judge.accepts(text.as_bytes())).is_err() {
                return;
            }
        }
    });
    let mut verdicts = Vec::new();
    if at_work.is_err() {
        return verdicts;
    }
    let (before, mut latest) = (resident_kib(), Instant::now());
    loop {
        match told.recv_timeout(PULSE) {
            Ok(verdict) => {
                verdicts.push(verdict);
                latest = Instant::now();
            }
            Err(RecvTimeoutError::Timeout)
                if latest.elapsed() < PATIENCE && resident_kib() < before + MAX_KIB => {}
            // It is left behind: `ur` ends now, and the thread with it.
            Err(_) => return verdicts,
        }
    }
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
        write!(f, "no node has `{}`", Plain::of(&self.key))?;
        for (i, name) in self.near.iter().enumerate() {
            let word = if i == 0 { ": do you mean" } else { " or" };
            write!(f, "{word} `{}`", Plain::name(name))?;
        }
        f.write_str(if self.near.is_empty() { "" } else { "?" })?;
        f.write_str(" (a ? after it says that it may be missing)")
    }
}

const MAX_NEAR: usize = 3;

/// The keys that an expression reads and that no node has.
pub(super) fn unknown_keys(
    keys: &BTreeSet<String>,
    documented: impl Iterator<Item = &'static str>,
    facts: &[Value],
) -> Vec<UnknownKey> {
    let mut missing: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    for name in documented {
        missing.remove(name);
    }
    for fact in facts {
        if missing.is_empty() {
            return Vec::new();
        }
        each_key(fact, &mut |key| {
            missing.remove(key);
        });
    }
    let mut known = BTreeSet::new();
    let mut learn = |key: &str| {
        if !known.contains(key) {
            known.insert(key.to_owned());
        }
    };
    facts.iter().for_each(|fact| each_key(fact, &mut learn));
    let missing = missing.into_iter().map(|key| UnknownKey {
        key: key.to_owned(),
        near: near(key, &known),
    });
    missing.collect()
}

/// Those that differ from it in a third of its letters at most.
fn near(key: &str, known: &BTreeSet<String>) -> Vec<String> {
    let key = key.to_lowercase();
    let most = key.chars().count().div_ceil(3);
    let steps = known
        .iter()
        .map(|name| (steps(&key, &name.to_lowercase()), name));
    let mut near: Vec<(usize, &String)> = steps.filter(|(steps, _)| *steps <= most).collect();
    near.sort();
    let names = near.into_iter().map(|(_, name)| name.clone());
    names.take(MAX_NEAR).collect()
}

/// How many letters are to be put in, left out or changed to make one word of another (Levenshtein).
fn steps(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
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

    #[test]
    fn each_of_the_facts_gets_its_verdict() {
        let facts = [json!({"a": 1}), json!({"a": "x"}), json!({})];
        let verdicts = judge(&filter(".a == 1"), &facts);
        assert_eq!(verdicts[0], Ok(true));
        assert!(matches!(verdicts[1], Err(NoVerdict::Failed(_))));
        assert_eq!(verdicts[2], Ok(false));
    }

    #[test]
    fn an_expression_that_does_not_end_is_ended() {
        let began = Instant::now();
        assert_eq!(judge(&filter("def f: f; f"), &[json!({})]), []);
        assert!(began.elapsed() < PATIENCE * 3);
    }

    #[test]
    fn a_key_that_no_node_has_is_told_with_those_like_it() {
        let facts = [
            json!({"Rack": "r1", "Disks": {"sda": {}}}),
            json!({"Ruck": [{"deep": 1}]}),
        ];
        let unknown = |keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            unknown_keys(&keys, ["Setup"].into_iter(), &facts)
        };
        assert_eq!(unknown(&["Rack", "sda", "deep", "Setup"]), []);
        let found = unknown(&["rak"]);
        assert_eq!(found[0].near[0], "Rack");
        assert_eq!(unknown(&["zzzz"])[0].near, [""; 0]);
    }
}
