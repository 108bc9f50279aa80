//! Node lists as clush writes them: `node[1-3,7]`.

use std::collections::BTreeMap;

use client::{Target, by_name};

/// A name whose number may be folded away. Names of one kind differ in nothing else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// Digits, if the number is padded with zeros.
    width: usize,
}

/// Folds the names of nodes.
pub(crate) fn fold_targets<'a>(targets: impl IntoIterator<Item = &'a Target>) -> String {
    let names: Vec<String> = targets.into_iter().map(Target::name).collect();
    fold(names.iter().map(String::as_str))
}

/// Folds names: sorted, numbers in ranges, zero padding kept.
pub(crate) fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut numbered: BTreeMap<Kind<'a>, Vec<u64>> = BTreeMap::new();
    let mut parts: Vec<(&str, &str, String)> = Vec::new();
    for name in names {
        match split(name) {
            Some((kind, number)) => numbered.entry(kind).or_default().push(number),
            None => parts.push((name, "", name.to_owned())),
        }
    }
    parts.extend(widened(numbered).iter().map(|(kind, numbers)| {
        let (prefix, suffix) = (kind.prefix, kind.suffix);
        let text = match ranges(numbers, kind.width) {
            (ranges, true) => format!("{prefix}[{ranges}]{suffix}"),
            (single, false) => format!("{prefix}{single}{suffix}"),
        };
        (prefix, suffix, text)
    }));
    parts.sort_by(|(a, b, one), (c, d, other)| {
        let text = || by_name(b, d).then_with(|| one.cmp(other));
        by_name(a, c).then_with(text)
    });
    parts.dedup();
    let texts: Vec<String> = parts.into_iter().map(|(_, _, text)| text).collect();
    texts.join(",")
}

/// `node09` and `node10` are of one kind: the second is padded too, to the width that it has.
fn widened<'a>(numbered: BTreeMap<Kind<'a>, Vec<u64>>) -> BTreeMap<Kind<'a>, Vec<u64>> {
    let mut kinds: BTreeMap<Kind<'a>, Vec<u64>> = BTreeMap::new();
    let padded: Vec<(&str, &str, usize)> = numbered
        .keys()
        .filter(|kind| kind.width > 0)
        .map(|kind| (kind.prefix, kind.suffix, kind.width))
        .collect();
    for (
        Kind {
            prefix,
            suffix,
            width,
        },
        numbers,
    ) in numbered
    {
        for number in numbers {
            let digits = number.to_string().len();
            let width = if width == 0 && padded.contains(&(prefix, suffix, digits)) {
                digits
            } else {
                width
            };
            let kind = Kind {
                prefix,
                suffix,
                width,
            };
            kinds.entry(kind).or_default().push(number);
        }
    }
    for numbers in kinds.values_mut() {
        numbers.sort_unstable();
        numbers.dedup();
    }
    kinds
}

/// The last number of the first label: `rack1-node07.dc1` is node 7.
fn split(name: &str) -> Option<(Kind<'_>, u64)> {
    // A UUID stands in it: these are not numbers to count by.
    if name.contains('(') {
        return None;
    }
    let (label, _) = name.split_once('.').unwrap_or((name, ""));
    let end = label.rfind(|c: char| c.is_ascii_digit())? + 1;
    let (head, _) = label.split_at(end);
    let prefix = head.trim_end_matches(|c: char| c.is_ascii_digit());
    let (_, digits) = head.split_at(prefix.len());
    let (_, suffix) = name.split_at(end);
    let padded = digits.len() > 1 && digits.starts_with('0');
    let kind = Kind {
        prefix,
        suffix,
        width: if padded { digits.len() } else { 0 },
    };
    Some((kind, digits.parse().ok()?))
}

/// The numbers as text, and whether they are several.
fn ranges(numbers: &[u64], width: usize) -> (String, bool) {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text: Vec<String> = runs
        .iter()
        .map(|(first, last)| match last - first {
            0 => format!("{first:0width$}"),
            _ => format!("{first:0width$}-{last:0width$}"),
        })
        .collect();
    (text.join(","), numbers.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(names: &str) -> String {
        fold(names.split(' '))
    }

    #[test]
    fn consecutive_numbers_become_a_range() {
        assert_eq!(folded("node1"), "node1");
        assert_eq!(folded("node2 node1"), "node[1-2]");
        assert_eq!(folded("node7 node1 node3 node2"), "node[1-3,7]");
        assert_eq!(folded("node9 node10 node11"), "node[9-11]");
        assert_eq!(folded("node1 node1"), "node1");
    }

    #[test]
    fn zero_padding_is_kept() {
        assert_eq!(folded("n08 n09 n10 n11"), "n[08-11]");
        assert_eq!(folded("n8 n08"), "n08,n8");
        assert_eq!(folded("n0 n1"), "n[0-1]");
        assert_eq!(folded("n007 n10"), "n007,n10");
    }

    #[test]
    fn names_that_differ_elsewhere_stay_apart() {
        assert_eq!(folded("db1 web1 db2 head"), "db[1-2],head,web1");
        assert_eq!(folded("n1.dc1 n2.dc1 n1.dc2"), "n[1-2].dc1,n1.dc2");
        assert_eq!(folded("r1-n2 r1-n3 r2-n2"), "r1-n[2-3],r2-n2");
        assert_eq!(folded("n1a n2a n2b"), "n[1-2]a,n2b");
        assert_eq!(folded("n1(ab-2) n1(ab-3)"), "n1(ab-2),n1(ab-3)");
        assert_eq!(
            folded("n99999999999999999999999"),
            "n99999999999999999999999"
        );
        assert_eq!(folded("knoten-ü2 knoten-ü3"), "knoten-ü[2-3]");
    }
}
