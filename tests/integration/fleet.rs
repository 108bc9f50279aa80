//! The nodes that answered once and do not now: `ur` remembers them.

use std::path::Path;

use crate::support::broker::Vhost;
use crate::support::fake_nodes::{FakeNodes, accepted, exited, modern};
use crate::support::operator::{Said, Ur};

fn nodes(vhost: &Vhost, names: &[&str]) -> FakeNodes {
    let nodes = names.iter().map(|name| modern(name)).collect();
    FakeNodes::start(&vhost.url, nodes, true, |_, _| vec![accepted(), exited(0)])
}

fn ur(vhost: &Vhost, home: &Path, args: &[&str]) -> Said {
    Ur::start(&vhost.url, home, args).end()
}

#[test]
fn a_node_that_was_there_is_missed_by_all_that_may_mean_it_until_it_is_forgotten() {
    let (vhost, home) = (Vhost::new(), tempfile::tempdir().unwrap());
    let ur = |args: &[&str]| ur(&vhost, home.path(), args);
    let names = ["node1", "node2", "node3", "db1"];
    let all = nodes(&vhost, &names);
    ur(&["exec", "-a", "true"]).exits(0);
    drop(all);

    let some = nodes(&vhost, &["node1", "db1"]);
    let listed = ur(&["nodes"]).exits(0);
    let last = listed.lines().last().unwrap();
    assert!(
        last.starts_with("node3 ") && last.contains("missing "),
        "{listed}"
    );
    let said = ur(&["exec", "-a", "true"]);
    let last = said.err.lines().last();
    assert_eq!(last, Some("ur: did not answer: node[2-3]"), "{}", said.err);
    said.exits(20);
    ur(&["exec", "-w", "true", "true"]).is(0, &["-w was not asked about them: node[2-3]"]);
    assert_eq!(some.count(), 4);

    let down = [
        "node2 does not answer: last seen ",
        " ago (",
        "not found: nodeX",
    ];
    ur(&["exec", "-n", "node1,node2,nodeX", "true"]).is(10, &down);
    ur(&["ping", "-n", "node2"]).is(10, &down[..2]);
    ur(&["why", "node2", "r1"]).is(20, &["node2 does not answer", "not connected"]);
    assert_eq!(some.count(), 0, "nothing was sent");

    ur(&["nodes", "--forget", "nodeX"]).is(10, &["not found: nodeX"]);
    ur(&["nodes", "--forget", "node2,node3"]).is(0, &["forgot node2 (node2)", "forgot node3"]);
    let said = ur(&["exec", "-a", "true"]);
    assert!(!said.err.contains("did not answer"), "{}", said.err);
    said.exits(0);
    drop(some);
    ur(&["exec", "-a", "true"]).is(10, &["did not answer: db1,node1", "no node answered"]);
}
