//! Whom a command is for: node sets, groups, what is left out, what is misspelt.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::support::broker::Vhost;
use crate::support::fake_nodes::{FakeNodes, accepted, exited, modern};
use crate::support::operator::Ur;

const GROUPS: &str = "rack1: node[1-2]\nbig: '.\"MiB of Memory\" > 99999'\n";

#[test]
fn node_sets_groups_and_expressions_narrow_each_other_and_what_is_misspelt_means_nobody() {
    let (vhost, home) = (Vhost::new(), tempfile::tempdir().unwrap());
    let nodes = ["node1", "node2", "node3", "db1", "db1b"].iter().zip(1..);
    let nodes = nodes.map(|(name, i)| {
        let mut node = modern(&format!("0000000{i}-0000-4000-8000-000000000000"));
        node["Hostname"] = json!(name.trim_end_matches('b'));
        node["MiB of Memory"] = json!((65536 * i).to_string());
        node["Flag"] = if i == 3 { json!("odd") } else { json!(i == 1) };
        node
    });
    let nodes = FakeNodes::start(&vhost.url, nodes.collect(), true, |_, _| {
        vec![accepted(), exited(0)]
    });
    fs::create_dir(home.path().join("ur")).unwrap();
    for (name, text) in [("ur/groups", GROUPS), ("list", "node[2-3]\n# none\n")] {
        let mut file = fs::File::create(home.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    let ur = |args: &[&str]| Ur::start(&vhost.url, home.path(), args).end();
    let file = format!("@{}", home.path().join("list").display());
    for (targets, expected) in [
        (&["-n", "node[1-2],NODE3"][..], "node[1-3]"),
        (
            &["-n", "@rack1", "-w", ".\"MiB of Memory\" > 99999"],
            "node2",
        ),
        (&["-g", "rack1", "-g", "big", "-n", "node*"], "node[1-3]"),
        (&["-g", "big", "-x", "db*"], "node[2-3]"),
        (&["-n", &file, "-x", "node2"], "node3"),
        (
            &["-n", "00000004,node1"],
            "db1(00000004-0000-4000-8000-000000000000),node1",
        ),
    ] {
        let out = ur(&[&["targets", "--fold"], targets].concat()).exits(0);
        assert_eq!(out, format!("{expected}\n"), "{targets:?}");
        assert_eq!(ur(&["targets", "--fold", "-n", out.trim()]).exits(0), out);
    }
    ur(&["targets", "-w", ".Flag"]).is(20, &["left out", "for node3", "\"odd\""]);
    ur(&["targets", "-n", "ndoe1"]).is(10, &["not found: ndoe1: did you mean node1"]);
    ur(&["targets", "-a", "-x", "nodee1"]).is(10, &["not found: nodee1"]);
    ur(&["targets", "-n", "db1"]).is(1, &["means several nodes: db1(00000004", "db1(00000005"]);
    ur(&["exec", "-n", "", "true"]).is(2, &["an empty list of nodes means nobody"]);
    ur(&["exec", "-x", "node1", "true"]).is(2, &["say -a, -c, -n, -g or -w"]);
    ur(&["exec", "-g", "rack9", "true"]).is(2, &["no group rack9", "rack1"]);
    ur(&["exec", "-n", "@rack9", "true"]).is(2, &["no group rack9", "no file rack9"]);
    ur(&["nodes", "-w", ".MiB of Memory > 3"]).is(2, &[".\"MiB of Memory\""]);
    ur(&["nodes", "-w", "false"]).is(10, &["none of them matches"]);
    assert_eq!(nodes.count(), 0, "nothing was sent");
    ur(&["exec", "-n", "node[1,3]", "-x", "node3", "true"]).exits(0);
    assert_eq!(nodes.count(), 1);
}
