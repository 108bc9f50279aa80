//! The default view: groups of nodes that agree, the largest first, the odd ones last; a line for each node where the
//! outputs are single lines and nearly all different.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Style;
use super::diff::write_diff;
use super::fold::fold;
use super::group_key::GroupKey;
use super::rows::{write_rows, write_text};
use client::{NodeResult, by_name};

/// What becomes of nodes that agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folding {
    Fold,
    /// The largest group is shown as it is, the others by what differs from it.
    Diff,
    /// Each node stands for itself.
    No,
}

/// The nodes that have ended. An output is kept once, however many nodes printed it.
pub(super) struct OutputGroups {
    groups: BTreeMap<GroupKey, Vec<String>>,
    folding: Folding,
    style: Style,
}

type Group<'a> = (&'a GroupKey, Vec<&'a str>);

impl OutputGroups {
    pub(super) fn new(folding: Folding, style: Style) -> Self {
        Self {
            groups: BTreeMap::new(),
            folding,
            style,
        }
    }

    pub(super) fn add(&mut self, result: &NodeResult) {
        let key = GroupKey::of(result, &self.style);
        let names = self.groups.entry(key).or_default();
        names.push(result.target.name());
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let groups = self.in_order().into_iter();
        let (good, bad): (Vec<_>, Vec<_>) = groups.partition(|(key, _)| !key.failed);
        let (rows, good): (Vec<_>, Vec<_>) = match self.is_table(&good) {
            true => good.into_iter().partition(|(key, _)| key.is_row()),
            false => (Vec::new(), good),
        };
        write_rows(rows_of(&rows), out)?;
        let mut blank = !rows.is_empty();
        let most = if good.is_empty() { &bad } else { &good };
        let most = most.first().filter(|_| self.folding != Folding::No);
        for group in good.iter().chain(&bad) {
            if std::mem::replace(&mut blank, true) {
                writeln!(out)?;
            }
            self.write_group(group, most, out)?;
        }
        Ok(())
    }

    /// The largest first, then in the order of the names.
    fn in_order(&self) -> Vec<Group<'_>> {
        let groups = self.groups.iter();
        let mut groups: Vec<Group<'_>> = match self.folding {
            Folding::No => groups
                .flat_map(|(key, names)| names.iter().map(move |name| (key, vec![name.as_str()])))
                .collect(),
            _ => groups
                .map(|(key, names)| (key, names.iter().map(String::as_str).collect()))
                .collect(),
        };
        for (_, names) in &mut groups {
            names.sort_by(|a, b| by_name(a, b));
        }
        groups.sort_by(|(_, one), (_, other)| {
            let size = Reverse(one.len()).cmp(&Reverse(other.len()));
            size.then_with(|| by_name(one[0], other[0]))
        });
        groups
    }

    /// Rows, if every good output is at most a line, and there are not many that agree.
    fn is_table(&self, good: &[Group<'_>]) -> bool {
        let nodes: usize = good.iter().map(|(_, names)| names.len()).sum();
        let can_be = good.iter().all(|(key, _)| key.has_at_most_a_line())
            && good.iter().any(|(key, _)| !key.stdout.is_empty());
        can_be
            && match self.folding {
                Folding::Fold => !(good.len() == 1 && nodes > 1) && good.len() * 2 >= nodes,
                Folding::Diff => false,
                Folding::No => true,
            }
    }

    /// `most` is what most nodes of its kind printed.
    fn write_group(
        &self,
        (key, names): &Group<'_>,
        most: Option<&Group<'_>>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let is_odd = most.is_some_and(|(_, all)| names.len() * 2 <= all.len());
        write_header(key, names, is_odd && !key.failed, &self.style, out)?;
        match most {
            Some((most, _))
                if self.folding == Folding::Diff && *most != *key && most.failed == key.failed =>
            {
                let colour = self.style.colour;
                write_diff(&most.stdout, &key.stdout, colour, out)?;
                write_left_out("stdout", key.left_out[0], out)?;
                if most.stderr != key.stderr {
                    writeln!(out, "--- stderr")?;
                    write_diff(&most.stderr, &key.stderr, colour, out)?;
                    write_left_out("stderr", key.left_out[1], out)?;
                }
                Ok(())
            }
            _ => write_output(key, out),
        }
    }
}

/// One node's output, as it ends.
pub(super) fn write_one(result: &NodeResult, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let name = result.target.name();
    let key = GroupKey::of(result, style);
    write_header(&key, &[&name], false, style, out)?;
    write_output(&key, out)
}

fn rows_of<'a>(groups: &[Group<'a>]) -> Vec<(&'a str, &'a [u8])> {
    let row = |(key, names): &Group<'a>| {
        let line = key.stdout.trim_ascii_end();
        let rows = names.iter().map(move |name| (*name, line));
        rows.collect::<Vec<_>>()
    };
    groups.iter().flat_map(row).collect()
}

fn write_header(
    key: &GroupKey,
    names: &[&str],
    is_odd: bool,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let count = match names.len() {
        1 => String::new(),
        many => format!(" ({many})"),
    };
    let marks = [if is_odd { "differs" } else { "" }, key.remark.as_str()];
    let marks: Vec<&str> = marks.into_iter().filter(|it| !it.is_empty()).collect();
    let colon = if marks.is_empty() { "" } else { ": " };
    let names = fold(names.iter().copied());
    let header = format!("=== {names}{count}{colon}{}", marks.join(", "));
    let header = match (key.failed, is_odd) {
        (true, _) => style.colour.red(&header),
        (_, true) => style.colour.yellow(&header),
        _ => header,
    };
    writeln!(out, "{header}")
}

fn write_output(key: &GroupKey, out: &mut dyn Write) -> io::Result<()> {
    write_text(&key.stdout, out)?;
    write_left_out("stdout", key.left_out[0], out)?;
    if !key.stderr.is_empty() {
        writeln!(out, "--- stderr")?;
        write_text(&key.stderr, out)?;
        write_left_out("stderr", key.left_out[1], out)?;
    }
    Ok(())
}

fn write_left_out(stream: &str, bytes: u64, out: &mut dyn Write) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    writeln!(out, "--- {bytes} bytes of {stream} are left out")
}

#[cfg(test)]
mod tests {
    use super::super::colour::Colour;
    use super::super::fixture::{exit, ok, result};
    use super::*;
    use protocol::{Outcome, Text};

    fn shown(results: &[NodeResult]) -> String {
        shown_so(Folding::Fold, results)
    }

    fn shown_so(folding: Folding, results: &[NodeResult]) -> String {
        let mut groups = OutputGroups::new(folding, Style::plain());
        results.iter().for_each(|result| groups.add(result));
        let mut out = Vec::new();
        groups.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn single_lines_are_a_table_by_hostname() {
        let results = [ok("node10", "b\n"), ok("node2", "a"), ok("n", "")];
        assert_eq!(shown(&results), "n\nnode2   a\nnode10  b\n");
        assert_eq!(shown(&[ok("node1", "alone\n")]), "node1  alone\n");
    }

    #[test]
    fn nodes_that_agree_are_one_group() {
        let results = [
            ok("node2", "6.1\n"),
            ok("node1", "6.1\n"),
            ok("node3", "6.1\n"),
        ];
        assert_eq!(shown(&results), "=== node[1-3] (3)\n6.1\n");
        assert_eq!(shown(&[ok("n1", ""), ok("n2", "")]), "=== n[1-2] (2)\n");
    }

    #[test]
    fn what_differs_comes_after_what_most_have_and_failures_last() {
        let results = [
            exit("node4", 7, "no disk\n"),
            ok("node9", "a\nc\n"),
            ok("node1", "a\nb\n"),
            ok("node2", "a\nb\n"),
            result("node5", Outcome::NotConnected, "", ""),
            exit("node6", 7, "no disk\n"),
        ];
        let expected = "\
=== node[1-2] (2)
a
b

=== node9: differs
a
c

=== node[4,6] (2): exit 7
--- stderr
no disk

=== node5: not connected
";
        assert_eq!(shown(&results), expected);
    }

    #[test]
    fn the_odd_one_of_many_single_lines_is_found() {
        let many = |odd: &str| -> Vec<NodeResult> {
            let text = |i| if i == 7 { odd } else { "9.40" };
            (1..=12).map(|i| ok(&format!("node{i}"), text(i))).collect()
        };
        let expected = "=== node[1-6,8-12] (11)\n9.40\n\n=== node7: differs\n8.20\n";
        assert_eq!(shown(&many("8.20\n")), expected);
        assert_eq!(shown(&many("9.40\n")), "=== node[1-12] (12)\n9.40\n");
        let expected = "=== node[1-6,8-12] (11)\n9.40\n\n=== node7: differs\n-9.40\n+8.20\n";
        assert_eq!(shown_so(Folding::Diff, &many("8.20\n")), expected);
        let all = shown_so(Folding::No, &many("8.20\n"));
        assert!(
            all.starts_with("node1   9.40\n") && all.contains("\nnode7   8.20\n"),
            "{all}"
        );
    }

    #[test]
    fn groups_of_nearly_one_size_are_not_odd_and_as_many_groups_as_half_the_nodes_are_rows() {
        let results = [ok("n1", "a"), ok("n2", "a"), ok("n3", "b"), ok("n4", "c")];
        assert_eq!(shown(&results), "n1  a\nn2  a\nn3  b\nn4  c\n");
        let results = ["a", "a", "a", "b", "b"].iter().enumerate();
        let results: Vec<_> = results
            .map(|(i, text)| ok(&format!("n{i}"), text))
            .collect();
        assert_eq!(shown(&results), "=== n[0-2] (3)\na\n\n=== n[3-4] (2)\nb\n");
    }

    #[test]
    fn without_folding_each_node_stands_for_itself() {
        let results = [
            ok("n2", "a\nb\n"),
            ok("n1", "a\nb\n"),
            exit("n0", 1, "no\n"),
        ];
        let expected = "=== n1\na\nb\n\n=== n2\na\nb\n\n=== n0: exit 1\n--- stderr\nno\n";
        assert_eq!(shown_so(Folding::No, &results), expected);
        let expected = "=== n[1-2] (2)\na\nb\n\n=== n0: exit 1\n--- stderr\nno\n";
        assert_eq!(shown_so(Folding::Diff, &results), expected);
    }

    #[test]
    fn failures_are_red_and_what_differs_yellow() {
        let mut groups = OutputGroups::new(
            Folding::Fold,
            Style {
                colour: Colour(true),
                ..Style::plain()
            },
        );
        for result in [
            ok("n1", "a\nb\n"),
            ok("n2", "a\nb\n"),
            ok("n3", "c\n"),
            exit("n4", 1, ""),
        ] {
            groups.add(&result);
        }
        let mut out = Vec::new();
        groups.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("\x1b[33m=== n3: differs\x1b[0m\n"),
            "{text:?}"
        );
        assert!(
            text.ends_with("\x1b[31m=== n4: exit 1\x1b[0m\n"),
            "{text:?}"
        );
    }

    #[test]
    fn a_table_is_followed_by_those_that_do_not_fit_it() {
        let warned = result("n3", Outcome::Exited { status: 0 }, "c\n", "warning\n");
        let results = [ok("n1", "a"), ok("n2", "b"), warned, exit("n4", 1, "no")];
        let expected = "\
n1  a
n2  b

=== n3
c
--- stderr
warning

=== n4: exit 1
--- stderr
no
";
        assert_eq!(shown(&results), expected);
    }

    #[test]
    fn truncated_output_and_a_reboot_are_told() {
        let mut long = ok("n1", "a\nb\n");
        long.reply.as_mut().unwrap().stdout_bytes = Some(1004);
        let reboot = result("n2", Outcome::Exited { status: 113 }, "", "");
        let expected = "\
=== n1
a
b
--- 1000 bytes of stdout are left out

=== n2: reboots
";
        assert_eq!(shown(&[long, reboot]), expected);
    }

    #[test]
    fn results_of_a_task_agree_by_what_they_say_and_an_error_stands_in_the_header() {
        let task = |mut result: NodeResult| {
            let reply = result.reply.as_mut().unwrap();
            reply.name = Some("disk::erase".to_owned());
            result
        };
        let error = r#"{"_error":{"msg":"no disk","kind":"disk/none","details":{}}}"#;
        let results = [
            task(ok("n1", r#"{"a":1,"b":2}"#)),
            task(ok("n2", "{\"b\": 2,\n\"a\": 1}\n")),
            task(result(
                "n3",
                Outcome::Exited { status: 1 },
                error,
                "no disk\n",
            )),
        ];
        let expected = "\
=== n[1-2] (2)
{\"a\":1,\"b\":2}

=== n3: no disk (disk/none), exit 1
";
        assert_eq!(shown(&results), expected);
    }

    #[test]
    fn bytes_that_are_no_text_go_out_as_they_came() {
        let mut odd = ok("n1", "");
        let reply = odd.reply.as_mut().unwrap();
        reply.set_stdout(Text::of(b"\xff\n\xfe".to_vec()), 3);
        let mut out = Vec::new();
        write_one(&odd, &Style::plain(), &mut out).unwrap();
        assert_eq!(out, b"=== n1\n\xff\n\xfe\n");
    }
}
