//! The default view: a line for each node where outputs are single lines, else groups of nodes that
//! agree. Bytes go out as they came.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::fold::fold;
use client::{NodeResult, by_name};
use protocol::{Outcome, REBOOT_STATUS};
use task::TaskResult;

/// What nodes of one group agree in. The order of the fields is the order of the groups: good ones
/// first, and without remarks before those with some.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sameness {
    failed: bool,
    remark: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    left_out: [u64; 2],
}

pub(super) fn show(results: &[NodeResult], out: &mut dyn Write) -> io::Result<()> {
    let mut groups: BTreeMap<Sameness, Vec<&str>> = BTreeMap::new();
    for result in results {
        let name = result.target.hostname.as_str();
        groups.entry(Sameness::of(result)).or_default().push(name);
    }
    let (good, bad): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(same, _)| !same.failed);
    let mut blank = false;
    if is_table(&good) {
        let (rows, rest): (Vec<_>, Vec<_>) = good.into_iter().partition(|(same, _)| same.is_row());
        show_rows(&rows, out)?;
        blank = true;
        show_groups(rest, &mut blank, out)?;
    } else {
        show_groups(good, &mut blank, out)?;
    }
    show_groups(bad, &mut blank, out)
}

/// One node's output, as it ends.
pub(super) fn show_one(result: &NodeResult, out: &mut dyn Write) -> io::Result<()> {
    let group = (Sameness::of(result), vec![result.target.hostname.as_str()]);
    show_groups(vec![group], &mut false, out)
}

/// `HOSTNAME  last line that is not blank` of every node.
pub(super) fn show_last_lines(results: &[NodeResult], out: &mut dyn Write) -> io::Result<()> {
    let mut rows: Vec<(&str, Vec<u8>)> = results
        .iter()
        .map(|result| {
            let same = Sameness::of(result);
            let mut line = last_line(&same.stdout).to_vec();
            if same.failed {
                let said = if line.is_empty() {
                    last_line(&same.stderr)
                } else {
                    &line
                };
                line = [b"[", same.remark.as_bytes(), b"] ", said].concat();
            }
            (result.target.hostname.as_str(), line)
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| by_name(a, b));
    write_rows(&rows, out)
}

fn last_line(text: &[u8]) -> &[u8] {
    let mut lines = text.rsplit(|&byte| byte == b'\n');
    lines
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}

impl Sameness {
    fn of(result: &NodeResult) -> Self {
        let mut same = Self {
            failed: !result.outcome.is_success(),
            remark: remark(result),
            stdout: Vec::new(),
            stderr: Vec::new(),
            left_out: [0, 0],
        };
        if let Some(reply) = &result.reply {
            same.stdout = reply.stdout_as_bytes();
            same.stderr = reply.stderr_as_bytes();
            same.left_out = [
                left_out(reply.stdout_bytes, &same.stdout),
                left_out(reply.stderr_bytes, &same.stderr),
            ];
            if let Some(answer) = TaskResult::of(reply) {
                same.stdout = answer.to_text().into_bytes();
                let error = answer.error().map(|error| format!(": {error}"));
                same.remark.push_str(&error.unwrap_or_default());
            }
        }
        same
    }

    /// Nothing to say but at most one line.
    fn is_row(&self) -> bool {
        self.remark.is_empty() && self.stderr.is_empty() && is_line(&self.stdout)
    }
}

/// What the node's header says besides its name. Nothing, if all is well.
fn remark(result: &NodeResult) -> String {
    let asked_to = result.outcome
        == Outcome::Exited {
            status: REBOOT_STATUS,
        };
    if asked_to || result.reply.as_ref().is_some_and(|reply| reply.reboot) {
        return "reboots".to_owned();
    }
    if result.outcome.is_success() {
        return String::new();
    }
    result.outcome.to_string()
}

fn left_out(produced: Option<u64>, kept: &[u8]) -> u64 {
    produced.unwrap_or(0).saturating_sub(kept.len() as u64)
}

fn is_line(text: &[u8]) -> bool {
    !text.strip_suffix(b"\n").unwrap_or(text).contains(&b'\n')
}

/// Rows, if every good output is at most a line, and they are not all the same.
fn is_table(good: &[(Sameness, Vec<&str>)]) -> bool {
    let nodes: usize = good.iter().map(|(_, names)| names.len()).sum();
    let agree = good.len() == 1 && nodes > 1;
    let silent = good.iter().all(|(same, _)| same.stdout.is_empty());
    good.iter().all(|(same, _)| is_line(&same.stdout)) && !agree && !silent
}

fn show_rows(groups: &[(Sameness, Vec<&str>)], out: &mut dyn Write) -> io::Result<()> {
    let mut rows: Vec<(&str, Vec<u8>)> = Vec::new();
    for (same, names) in groups {
        let line = same.stdout.trim_ascii_end();
        rows.extend(names.iter().map(|name| (*name, line.to_vec())));
    }
    rows.sort_by(|(a, _), (b, _)| by_name(a, b));
    write_rows(&rows, out)
}

fn write_rows(rows: &[(&str, Vec<u8>)], out: &mut dyn Write) -> io::Result<()> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, line) in rows {
        if line.is_empty() {
            writeln!(out, "{name}")?;
            continue;
        }
        write!(out, "{name:width$}  ")?;
        write_text(line, out)?;
    }
    Ok(())
}

/// Large groups first: what differs stands at the end.
fn show_groups(
    mut groups: Vec<(Sameness, Vec<&str>)>,
    blank: &mut bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    groups.sort_by_key(|(_, names)| usize::MAX - names.len());
    for (same, names) in groups {
        if std::mem::replace(blank, true) {
            writeln!(out)?;
        }
        write!(out, "=== {}", fold(names.iter().copied()))?;
        if names.len() > 1 {
            write!(out, " ({})", names.len())?;
        }
        let colon = if same.remark.is_empty() { "" } else { ": " };
        writeln!(out, "{colon}{}", same.remark)?;
        write_text(&same.stdout, out)?;
        write_left_out("stdout", same.left_out[0], out)?;
        if !same.stderr.is_empty() {
            writeln!(out, "--- stderr")?;
            write_text(&same.stderr, out)?;
            write_left_out("stderr", same.left_out[1], out)?;
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

/// The bytes, and a line end if they have none.
fn write_text(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(text)?;
    if text.is_empty() || text.ends_with(b"\n") {
        return Ok(());
    }
    out.write_all(b"\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use client::Target;
    use protocol::{NodeId, Reply, Text};
    use std::time::Duration;

    pub(crate) fn result(
        hostname: &str,
        outcome: Outcome,
        stdout: &str,
        stderr: &str,
    ) -> NodeResult {
        let has_reply = !matches!(outcome, Outcome::NotConnected | Outcome::NoAnswer);
        let reply = has_reply.then(|| {
            let mut reply = Reply::of(&outcome);
            reply.set_stdout(Text::of(stdout.into()), stdout.len() as u64);
            reply.set_stderr(Text::of(stderr.into()), stderr.len() as u64);
            reply
        });
        NodeResult {
            target: Target {
                id: NodeId::parse(&format!("uuid-of-{hostname}")).unwrap(),
                mac: None,
                hostname: hostname.to_owned(),
                routing_word: format!("uuid-of-{hostname}"),
                agent: None,
            },
            outcome,
            reply,
            unknown_fields: serde_json::Map::new(),
            last_progress: None,
            unroutable: false,
            elapsed: Duration::from_millis(1200),
        }
    }

    fn ok(hostname: &str, stdout: &str) -> NodeResult {
        result(hostname, Outcome::Exited { status: 0 }, stdout, "")
    }

    fn exit(hostname: &str, status: i32, stderr: &str) -> NodeResult {
        result(hostname, Outcome::Exited { status }, "", stderr)
    }

    fn shown(results: &[NodeResult]) -> String {
        let mut out = Vec::new();
        show(results, &mut out).unwrap();
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
    fn the_last_line_is_the_last_that_is_not_blank() {
        let results = [ok("n2", "a\nb\n \n\n"), exit("n1", 3, "why\n")];
        let mut out = Vec::new();
        show_last_lines(&results, &mut out).unwrap();
        assert_eq!(out, b"n1  [exit 3] why\nn2  b\n");
    }

    #[test]
    fn bytes_that_are_no_text_go_out_as_they_came() {
        let mut odd = ok("n1", "");
        let reply = odd.reply.as_mut().unwrap();
        reply.set_stdout(Text::of(b"\xff\n\xfe".to_vec()), 3);
        let mut out = Vec::new();
        show_one(&odd, &mut out).unwrap();
        assert_eq!(out, b"=== n1\n\xff\n\xfe\n");
    }
}
