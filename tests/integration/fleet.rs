//! The nodes that answered once and do not now: `ur` remembers them.

use std::path::Path;

use crate::support::broker::Vhost;
use crate::support::fake_nodes::{FakeNodes, accepted, exited, modern};
use crate::support::operator::{Said, Ur};
use crate::support::wait_until;

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

#[test]
fn nodes_of_an_earlier_run_are_named_by_how_it_ended_there() {
    let (vhost, home) = (Vhost::new(), tempfile::tempdir().unwrap());
    let ur = |args: &[&str]| ur(&vhost, home.path(), args);
    let all = nodes(&vhost, &["node1", "node2", "node3", "db1"]);
    ur(&["exec", "-a", "true"]).exits(0);
    drop(all);

    let some = ["node1", "node2", "db1"].map(modern).to_vec();
    let some = FakeNodes::start(&vhost.url, some, true, |n, request| match &*request.node {
        "node2" if n <= 3 => vec![accepted(), exited(7)],
        "db1" => vec![accepted()],
        _ => vec![accepted(), exited(0)],
    });
    ur(&["exec", "-a", "--wait", "0.2", "--request", "r1", "true"]).exits(20);
    assert_eq!(some.count(), 3);
    let targets = |args: &[&str]| ur(&[&["targets"], args].concat());
    targets(&["--failed-of", "last"]).is(0, &["node2\n"]);
    targets(&["--failed-of", "r1", "-x", "node2"]).is(10, &["none of them matches"]);
    targets(&["--unanswered-of", "r"]).is(20, &["db1\nur: ", "did not answer: node3"]);
    let both = ["--failed-of", "r1", "--unanswered-of", "r1", "-w", "true"];
    targets(&[&both, &["--fold"][..]].concat()).is(0, &["db1,node2\n"]);
    targets(&["--failed-of", "r2"]).is(2, &["no run r2 is recorded"]);
    assert_eq!(some.count(), 0, "nothing was sent");

    ur(&["exec", "--failed-of", "last", "--request", "r2", "true"]).exits(0);
    assert_eq!(some.count(), 1);
    targets(&["--failed-of", "last"]).is(10, &["request r2 failed on no node: 1 ok"]);
    let args = ["exec", "-n", "db1", "--request", "r3", "true"];
    let going = Ur::start(&vhost.url, home.path(), &args);
    wait_until("it is sent", || some.count() == 1);
    targets(&["--unanswered-of", "r3"]).is(1, &["request r3 is still going"]);
    going.kill();
    targets(&["--failed-of", "r3"]).is(1, &["is not known of db1: ur attach r3"]);
}
