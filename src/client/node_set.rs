//! Node sets as clush has them, and as folding prints them: `node[1-3,7],@rack1,db*!db9`. The parser; whom a set means
//! is the selection's business.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::sync::Arc;

use super::groups::{Definition, Groups};
use super::{Filter, NodeName, Operator, Pattern, Plain, Selector};

/// Names that a set may have, its ranges written out.
const MAX_NAMES: usize = 100_000;
/// Bytes of a name, or of a pattern of names: longer ones are of no node.
const MAX_NAME: usize = 1000;
/// An expression takes as long as so many names.
const NAMES_OF_EXPRESSION: usize = 100;
/// Groups that are defined by each other.
const MAX_DEPTH: usize = 64;
/// Digits of a number in a range.
const MAX_DIGITS: usize = 18;

/// What is no node set, with what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct BadNodeSet(String);

/// Reads node sets: knows the groups, and where `@` and `-` may mean a file.
pub struct NodeSets<'a> {
    groups: &'a Groups,
    names: usize,
    /// Groups that are being read, each with its source: one that needs itself has no end.
    within: Vec<(String, String)>,
    /// Those that have been read, with how many names they took.
    known: HashMap<(String, String), (Arc<Selector>, usize)>,
    in_file: bool,
}

type Read<T> = Result<T, BadNodeSet>;

impl<'a> NodeSets<'a> {
    pub fn new(groups: &'a Groups) -> Self {
        Self {
            groups,
            names: 0,
            within: Vec::new(),
            known: HashMap::new(),
            in_file: false,
        }
    }

    /// A set as it is typed.
    pub fn parse(&mut self, text: &str) -> Read<Selector> {
        let mut parts = Vec::new();
        for (operator, part) in parts_of(text)? {
            parts.push((operator, self.part(part)?));
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
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty());
        // Lines are joined by "or", so a comma at the end of one says nothing.
        let sets = lines.map(|line| {
            let set = self.parse(line.strip_suffix(',').unwrap_or(line))?;
            Ok((Operator::Or, set))
        });
        let read: Read<Vec<_>> = sets.collect();
        self.in_file = false;
        match read.map_err(|error| BadNodeSet(format!("{from}: {error}")))? {
            sets if sets.is_empty() => Err(BadNodeSet(format!("{from} names no node"))),
            sets => Ok(Selector::Set(sets)),
        }
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
        Ok(Some(Selector::Set(parts)))
    }

    fn definition(&mut self, source: &str, name: &str, definition: &Definition) -> Read<Selector> {
        let entry = (source.to_owned(), name.to_owned());
        if let Some((selector, names)) = self.known.get(&entry) {
            let (selector, names) = (Arc::clone(selector), *names);
            self.count(name, names)?;
            return Ok(Selector::Group(selector));
        }
        if self.within.contains(&entry) {
            return Err(BadNodeSet(format!("the group {name} is defined by itself")));
        }
        if self.within.len() >= MAX_DEPTH {
            let what = format!("more than {MAX_DEPTH} groups that are defined by each other");
            return Err(BadNodeSet(what));
        }
        self.within.push(entry.clone());
        let before = self.names;
        let read = match definition {
            Definition::Nodes(text) => self.parse(text),
            Definition::Bad(why) => Err(BadNodeSet(why.clone())),
            Definition::Expression(text) => Filter::parse(text)
                .map(|filter| Selector::Where(filter.into()))
                .map_err(|error| BadNodeSet(error.to_string()))
                .and_then(|it| self.count(name, NAMES_OF_EXPRESSION).map(|()| it)),
        };
        self.within.pop();
        let read = read.map_err(|error| BadNodeSet(format!("the group {name}: {error}")))?;
        let read = Arc::new(read);
        let known = (Arc::clone(&read), self.names - before);
        self.known.insert(entry, known);
        Ok(Selector::Group(read))
    }

    /// What is typed, or defined by others that are defined by others, is to end.
    fn count(&mut self, part: &str, names: usize) -> Read<()> {
        self.names += names;
        match self.names > MAX_NAMES {
            true => Err(bad(part, format!("more than {MAX_NAMES} names"))),
            false => Ok(()),
        }
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
            bounded(names[0].len() + before.len(), part)?;
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
        bounded(names[0].len() + rest.len(), part)?;
        names.iter_mut().for_each(|name| name.push_str(rest));
        self.count(part, names.len())?;
        Ok(names)
    }
}

fn bounded(bytes: usize, part: &str) -> Read<()> {
    let begun: String = part.chars().take(40).collect();
    match bytes > MAX_NAME {
        true => Err(BadNodeSet(format!(
            "{}…: longer than the name of a node is: {bytes} bytes",
            Plain::of(&begun)
        ))),
        false => Ok(()),
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
        if all.len() as u64 + (last - first) / step >= MAX_NAMES as u64 {
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

impl fmt::Display for BadNodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadNodeSet {}

#[cfg(test)]
#[path = "node_set_tests.rs"]
mod tests;
