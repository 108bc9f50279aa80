//! Node sets as clush has them, and as folding prints them: `node[1-3,7],@rack1,db*!db9`. The parser; whom a set means
//! is the selection's business.

use std::collections::HashSet;
use std::fmt;
use std::fs;

use regex_lite::Regex;

use super::groups::{Definition, Groups};
use super::{Filter, NodeName, Operator, Plain, Selector};

/// Names that a set may have, its ranges written out.
const MAX_NAMES: usize = 100_000;
/// Digits of a number in a range.
const MAX_DIGITS: usize = 18;

/// What is no node set, with what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct BadNodeSet(String);

/// Names with wildcards.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) written: String,
    regex: Regex,
}

/// Reads node sets: knows the groups, and where `@` and `-` may mean a file.
pub struct NodeSets<'a> {
    groups: &'a Groups,
    names: usize,
    /// Groups that are being read, each with its source: one that needs itself has no end.
    within: Vec<(String, String)>,
    in_file: bool,
}

type Read<T> = Result<T, BadNodeSet>;

impl<'a> NodeSets<'a> {
    pub fn new(groups: &'a Groups) -> Self {
        Self {
            groups,
            names: 0,
            within: Vec::new(),
            in_file: false,
        }
    }

    /// A set as it is typed.
    pub fn parse(&mut self, text: &str) -> Read<Selector> {
        let mut parts = Vec::new();
        for (operator, part) in parts_of(text)? {
            let selector = self.part(part)?;
            match (parts.last_mut(), selector, operator) {
                // Thousands of names are one list.
                (Some((_, Selector::Named(all))), Selector::Named(more), Operator::Or)
                    if self.in_file =>
                {
                    all.extend(more);
                }
                (_, selector, operator) => parts.push((operator, selector)),
            }
        }
        Ok(Selector::Set(parts))
    }

    /// Groups by their names, without the `@`.
    pub fn groups(&mut self, names: &str) -> Read<Selector> {
        let mut parts = Vec::new();
        for (operator, name) in parts_of(names)? {
            let name = name.strip_prefix('@').unwrap_or(name);
            let selector = self.group_or_none(name)?;
            let selector = selector.ok_or_else(|| BadNodeSet(self.no_group(name)))?;
            parts.push((operator, selector));
        }
        Ok(Selector::Set(parts))
    }

    fn part(&mut self, part: &str) -> Read<Selector> {
        if let Some(name) = part.strip_prefix('@') {
            return self.group_or_file(name);
        }
        if part.contains(['*', '?']) {
            let patterns = self.expand(part)?.into_iter();
            let patterns = patterns.map(|text| (Operator::Or, Selector::Like(Pattern::of(text))));
            return Ok(Selector::Set(patterns.collect()));
        }
        let names = self.expand(part)?.into_iter().map(NodeName);
        Ok(Selector::Named(names.collect()))
    }

    /// A group comes first: a file can be written with its directory.
    fn group_or_file(&mut self, name: &str) -> Read<Selector> {
        if !name.contains('/')
            && let Some(selector) = self.group_or_none(name)?
        {
            return Ok(selector);
        }
        if self.in_file || !self.within.is_empty() {
            return Err(BadNodeSet(self.no_group(name)));
        }
        match fs::read_to_string(name) {
            Ok(text) => self.lines(&text, name),
            Err(error) if name.contains('/') => {
                Err(BadNodeSet(format!("reading nodes from {name}: {error}")))
            }
            Err(_) => {
                let no_group = self.no_group(name);
                Err(BadNodeSet(format!(
                    "{no_group}; and there is no file {name}"
                )))
            }
        }
    }

    /// A node set on each line.
    pub fn lines(&mut self, text: &str, from: &str) -> Read<Selector> {
        self.in_file = true;
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let lines: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        if lines.is_empty() {
            return Err(BadNodeSet(format!("{from} names no node")));
        }
        let read = self.parse(&lines.join("\n"));
        self.in_file = false;
        read.map_err(|error| BadNodeSet(format!("{from}: {error}")))
    }

    fn group_or_none(&mut self, name: &str) -> Read<Option<Selector>> {
        let source = self.within.last().map(|(source, _)| source.clone());
        let mut parts = Vec::new();
        for name in self.expand(name)? {
            let found = self.groups.find(source.as_deref(), &name);
            if found.is_empty() {
                return Ok(None);
            }
            for (source, name, definition) in found {
                parts.push((Operator::Or, self.definition(source, name, definition)?));
            }
        }
        Ok(Some(Selector::Group(Box::new(Selector::Set(parts)))))
    }

    fn definition(&mut self, source: &str, name: &str, definition: &Definition) -> Read<Selector> {
        let entry = (source.to_owned(), name.to_owned());
        if self.within.contains(&entry) {
            return Err(BadNodeSet(format!("the group {name} is defined by itself")));
        }
        self.within.push(entry);
        let read = match definition {
            Definition::Nodes(text) => self.parse(text),
            Definition::Expression(text) => Filter::parse(text)
                .map(|filter| Selector::Where(filter.into()))
                .map_err(|error| BadNodeSet(error.to_string())),
        };
        self.within.pop();
        read.map_err(|error| BadNodeSet(format!("the group {name}: {error}")))
    }

    fn no_group(&self, name: &str) -> String {
        let name = Plain::name(name);
        let known = self.groups.known();
        format!(
            "there is no group {name} ({known}; @./{name} or another path with a slash is a file of nodes)"
        )
    }

    /// The names that a part stands for: `rack[1-2]-n[01-03]` for six.
    fn expand(&mut self, part: &str) -> Read<Vec<String>> {
        let mut names = vec![String::new()];
        let mut rest = part;
        while let Some((before, after)) = rest.split_once('[') {
            let (list, after) = after
                .split_once(']')
                .ok_or_else(|| bad(part, "a [ without its ]"))?;
            let numbers = numbers(list).map_err(|why| bad(part, why))?;
            if self.names + names.len() * numbers.len() > MAX_NAMES {
                return Err(bad(part, format!("more than {MAX_NAMES} names")));
            }
            let one = |name: &String| {
                let name = format!("{name}{before}");
                let names = numbers.iter().map(move |number| format!("{name}{number}"));
                names.collect::<Vec<_>>()
            };
            names = names.iter().flat_map(one).collect();
            rest = after;
        }
        if rest.contains(']') {
            return Err(bad(part, "a ] without its ["));
        }
        names.iter_mut().for_each(|name| name.push_str(rest));
        self.names += names.len();
        if self.names > MAX_NAMES {
            return Err(bad(part, format!("more than {MAX_NAMES} names")));
        }
        Ok(names)
    }
}

/// The parts between operators, each with the one before it. Brackets, and the UUID after a name in parentheses, keep
/// together.
fn parts_of(text: &str) -> Read<Vec<(Operator, &str)>> {
    let mut parts = Vec::new();
    let mut operator = Some(Operator::Or);
    let (mut begin, mut depth) = (0, 0_usize);
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends_part = matches!(c, ',' | '!' | '&') || c.is_whitespace();
        if at < text.len() && (depth > 0 || !ends_part) {
            continue;
        }
        let part = text.get(begin..at).unwrap_or_default();
        begin = at + c.len_utf8();
        if !part.is_empty() {
            // A blank alone joins as a comma does.
            parts.push((operator.take().unwrap_or(Operator::Or), part));
        }
        let next = match c {
            ',' => Operator::Or,
            '!' => Operator::Without,
            '&' => Operator::And,
            _ => continue,
        };
        if operator.is_some() {
            return Err(bad(text, format!("no name before {c}")));
        }
        operator = Some(next);
    }
    match operator {
        None => Ok(parts),
        Some(_) if text.trim().is_empty() => Err(BadNodeSet(
            "no node is named: an empty list of nodes means nobody".to_owned(),
        )),
        Some(_) => Err(bad(text, "no name after the last sign")),
    }
}

fn bad(text: &str, why: impl fmt::Display) -> BadNodeSet {
    BadNodeSet(format!("{}: {why}", Plain::of(text)))
}

/// `1-3,7,010-012/2`, written out. The zeros before the first number of a range are those of all.
fn numbers(list: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for range in list.split(',').map(str::trim) {
        let (range, step) = range.split_once('/').unwrap_or((range, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit()) && text.len() <= MAX_DIGITS;
            let number = text.parse::<u64>().ok().filter(|_| is_number);
            number.ok_or_else(|| format!("in brackets stand numbers, as in [1-3,7], not {range:?}"))
        };
        let width = if first.starts_with('0') {
            first.len()
        } else {
            0
        };
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if last < first || step == 0 {
            return Err(format!("{range:?} is an empty range"));
        }
        if (last - first) / step >= MAX_NAMES as u64 {
            return Err(format!("{range:?} is more than {MAX_NAMES} names"));
        }
        let mut number = first;
        while number <= last {
            all.push(format!("{number:0width$}"));
            number += step;
        }
    }
    let mut seen = HashSet::new();
    all.retain(|number| seen.insert(number.clone()));
    Ok(all)
}

impl Pattern {
    pub(super) fn of(written: String) -> Self {
        let mut text = String::from("^");
        for c in written.to_lowercase().chars() {
            match c {
                '*' => text.push_str(".*"),
                '?' => text.push('.'),
                c => text.push_str(&regex_lite::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        text.push('$');
        let regex = Regex::new(&text).expect("an escaped text is a pattern");
        Self { written, regex }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.regex.is_match(&name.to_lowercase())
    }
}

impl fmt::Display for BadNodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadNodeSet {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read<Selector> {
        NodeSets::new(&Groups::default()).parse(text)
    }

    fn names(text: &str) -> String {
        fn gather(selector: &Selector, all: &mut Vec<String>) {
            match selector {
                Selector::Named(names) => all.extend(names.iter().map(|name| name.0.clone())),
                Selector::Like(pattern) => all.push(format!("like {}", pattern.written)),
                Selector::Set(parts) => parts.iter().for_each(|(_, part)| gather(part, all)),
                other => panic!("{other:?}"),
            }
        }
        let mut all = Vec::new();
        gather(&read(text).unwrap(), &mut all);
        all.join(" ")
    }

    #[test]
    fn ranges_are_written_out_with_their_zeros_and_steps() {
        for (set, expected) in [
            ("node1", "node1"),
            ("node[1-3]", "node1 node2 node3"),
            ("node[1,3,3]", "node1 node3"),
            ("n[08-11]", "n08 n09 n10 n11"),
            ("n[001-2]", "n001 n002"),
            ("n[0-10/5].dc1", "n0.dc1 n5.dc1 n10.dc1"),
            ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
            ("a, b  c\n\td", "a b c d"),
            (
                "knoten-ü[2-3],db*,w?[1-2]",
                "knoten-ü2 knoten-ü3 like db* like w?1 like w?2",
            ),
            (
                "192.0.2.[1-2],02:00:00:00:00:01",
                "192.0.2.1 192.0.2.2 02:00:00:00:00:01",
            ),
            ("node1(u-1),node2(u-2)", "node1(u-1) node2(u-2)"),
        ] {
            assert_eq!(names(set), expected, "{set}");
        }
    }

    #[test]
    fn what_is_no_node_set_is_refused_with_its_fault() {
        for (text, fault) in [
            ("", "no node is named"),
            (" \n", "no node is named"),
            ("a,,b", "no name before ,"),
            (",a", "no name before ,"),
            ("a,", "after the last sign"),
            ("!a", "no name before !"),
            ("node[1-3", "without its ]"),
            ("node1-3]", "without its ["),
            ("node[a-c]", "stand numbers"),
            ("node[]", "stand numbers"),
            ("node[3-1]", "empty range"),
            ("node[1-3/0]", "empty range"),
            ("node[1-999999999]", "100000 names"),
            ("n[1-999][1-999]", "100000 names"),
            ("node[1-99999999999999999999]", "stand numbers"),
            ("@nosuch", "no group nosuch"),
            ("@./no/such/file", "reading nodes from ./no/such/file"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(fault), "{text:?}: {told}");
        }
        let told = read("@rack1").unwrap_err().to_string();
        assert!(
            told.contains("@./rack1") && told.contains("no file rack1"),
            "{told}"
        );
    }

    #[test]
    fn a_file_has_a_node_set_on_each_line() {
        let groups = Groups::default();
        let mut sets = NodeSets::new(&groups);
        let read = sets
            .lines("node[1-2] # two\n\n# none\ndb1,db2\n", "x")
            .unwrap();
        let Selector::Set(parts) = read else { panic!() };
        assert!(matches!(&parts[..], [(Operator::Or, Selector::Named(names))] if names.len() == 4));
        assert!(
            sets.lines("# none\n", "x")
                .unwrap_err()
                .to_string()
                .contains("x names no node")
        );
    }
}
