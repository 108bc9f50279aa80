//! Tests of node sets: what is one, and what is refused.

use super::*;

fn read(text: &str) -> Read<Selector> {
    NodeSets::new(&Groups::default()).parse(text)
}

fn names(text: &str) -> String {
    gathered(&read(text).unwrap())
}

fn gathered(selector: &Selector) -> String {
    fn gather(selector: &Selector, all: &mut Vec<String>) {
        match selector {
            Selector::Named(names) => all.extend(names.iter().map(|name| name.0.clone())),
            Selector::Like(pattern) => all.push(format!("like {}", pattern.written)),
            Selector::Group(part) => gather(part, all),
            Selector::Set(parts) => parts.iter().for_each(|(_, part)| gather(part, all)),
            other => panic!("{other:?}"),
        }
    }
    let mut all = Vec::new();
    gather(selector, &mut all);
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
        ("n[1-99999,1-99999]", "100000 names"),
        (&"*".repeat(200_000), "longer than the name of a node"),
        (
            &format!("{}[1-2]", "x".repeat(2000)),
            "longer than the name of a node",
        ),
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
        .lines("\u{feff}node[1-2] # two\n\n# none\ndb1!db2,\ndb3", "x")
        .unwrap();
    let Selector::Set(lines) = read else { panic!() };
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|(operator, _)| *operator == Operator::Or));
    assert_eq!(gathered(&lines[0].1), "node1 node2");
    assert_eq!(gathered(&lines[1].1), "db1 db2");
    assert!(
        sets.lines("# none\n", "x")
            .unwrap_err()
            .to_string()
            .contains("x names no node")
    );
}
