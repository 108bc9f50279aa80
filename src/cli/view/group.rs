//! The default view: a line for each node where outputs are single lines, else groups of nodes that
//! agree.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Output;
use super::fold::fold;
use super::group_key::GroupKey;
use super::rows::{write_rows, write_text};
use client::NodeResult;

/// The nodes that have ended. An output is kept once, however many nodes printed it.
pub(super) struct Groups {
    groups: BTreeMap<GroupKey, Vec<String>>,
    output: Output,
}

type Group<'a> = (&'a GroupKey, Vec<&'a str>);

impl Groups {
    pub(super) fn new(output: Output) -> Self {
        let groups = BTreeMap::new();
        Self { groups, output }
    }

    pub(super) fn add(&mut self, result: &NodeResult) {
        let key = GroupKey::of(result, self.output);
        let names = self.groups.entry(key).or_default();
        names.push(result.target.name());
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let groups = self.groups.iter();
        let groups = groups.map(|(key, names)| (key, names.iter().map(String::as_str).collect()));
        let (good, bad): (Vec<Group<'_>>, Vec<_>) = groups.partition(|(key, _)| !key.failed);
        let mut blank = false;
        if is_table(&good) {
            let (rows, rest): (Vec<_>, Vec<_>) =
                good.into_iter().partition(|(key, _)| key.is_row());
            write_rows(rows_of(&rows), out)?;
            blank = !rows.is_empty();
            write_groups(rest, &mut blank, out)?;
        } else {
            write_groups(good, &mut blank, out)?;
        }
        write_groups(bad, &mut blank, out)
    }
}

/// One node's output, as it ends.
pub(super) fn write_one(
    result: &NodeResult,
    output: Output,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = result.target.name();
    let group = (&GroupKey::of(result, output), vec![name.as_str()]);
    write_groups(vec![group], &mut false, out)
}

/// Rows, if every good output is at most a line, and they are not all the same.
fn is_table(good: &[Group<'_>]) -> bool {
    let nodes: usize = good.iter().map(|(_, names)| names.len()).sum();
    let agree = good.len() == 1 && nodes > 1;
    let silent = good.iter().all(|(key, _)| key.stdout.is_empty());
    good.iter().all(|(key, _)| key.has_at_most_a_line()) && !agree && !silent
}

fn rows_of<'a>(groups: &[Group<'a>]) -> Vec<(&'a str, &'a [u8])> {
    let row = |(key, names): &Group<'a>| {
        let line = key.stdout.trim_ascii_end();
        let rows = names.iter().map(move |name| (*name, line));
        rows.collect::<Vec<_>>()
    };
    groups.iter().flat_map(row).collect()
}

/// Large groups first: what differs stands at the end.
fn write_groups(
    mut groups: Vec<Group<'_>>,
    blank: &mut bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    groups.sort_by_key(|(_, names)| usize::MAX - names.len());
    for (key, names) in groups {
        if std::mem::replace(blank, true) {
            writeln!(out)?;
        }
        write!(out, "=== {}", fold(names.iter().copied()))?;
        if names.len() > 1 {
            write!(out, " ({})", names.len())?;
        }
        let colon = if key.remark.is_empty() { "" } else { ": " };
        writeln!(out, "{colon}{}", key.remark)?;
        write_text(&key.stdout, out)?;
        write_left_out("stdout", key.left_out[0], out)?;
        if !key.stderr.is_empty() {
            writeln!(out, "--- stderr")?;
            write_text(&key.stderr, out)?;
            write_left_out("stderr", key.left_out[1], out)?;
        }
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
    use super::super::fixture::{exit, ok, result};
    use super::*;
    use protocol::{Outcome, Text};

    fn shown(results: &[NodeResult]) -> String {
        let mut groups = Groups::new(Output::AsItCame);
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

=== node9
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
            task(result("n3", Outcome::Exited { status: 1 }, error, "")),
        ];
        let expected = "\
=== n[1-2] (2)
{\"a\":1,\"b\":2}

=== n3: exit 1: no disk (disk/none)
";
        assert_eq!(shown(&results), expected);
    }

    #[test]
    fn bytes_that_are_no_text_go_out_as_they_came() {
        let mut odd = ok("n1", "");
        let reply = odd.reply.as_mut().unwrap();
        reply.set_stdout(Text::of(b"\xff\n\xfe".to_vec()), 3);
        let mut out = Vec::new();
        write_one(&odd, Output::AsItCame, &mut out).unwrap();
        assert_eq!(out, b"=== n1\n\xff\n\xfe\n");
    }
}
