//! Tests of the selection where some nodes are remembered and do not answer.

use super::super::node::tests::node;
use super::super::selector::tests::{UUIDS, meant, of_uuids, three};
use super::super::{Groups, NodeSets, Target, Unselectable};
use super::*;

fn remembered(uuid: &str, hostname: &str) -> Remembered {
    Remembered {
        node: node(uuid, "02:00:00:00:00:77", hostname),
        seen: jiff::Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn a_host_name_that_is_remembered_is_not_the_beginning_of_a_strangers_uuid() {
    let nodes = of_uuids();
    let down = [remembered("u7", "cafe0001.dc1")];
    let set = |text: &str| NodeSets::new(&Groups::default()).parse(text).unwrap();
    let told = set("cafe0001").select_knowing(&nodes, &down).unwrap_err();
    assert!(matches!(told, Unselectable::NotFound { .. }), "{told}");
    let others = set("*!cafe0001").select_knowing(&nodes, &down).unwrap();
    assert_eq!(others.targets.len(), 3);
    let whole = set(UUIDS[2]).select_knowing(&nodes, &down).unwrap();
    assert_eq!(whole.targets[0].name(), "db1");
}

#[test]
fn a_name_of_two_nodes_is_refused_though_one_of_them_is_down() {
    let nodes = three();
    let down = [remembered("u7", "node1.dc2"), remembered("u8", "NODE2")];
    let select = |text: &str| {
        let set = NodeSets::new(&Groups::default()).parse(text).unwrap();
        set.select_knowing(&nodes, &down)
    };
    for (name, other) in [("node1", "u7"), ("node[2-3]", "u8")] {
        let told = select(name).unwrap_err().to_string();
        let what = format!("({other}), which does not answer: ur nodes --forget {other} if");
        assert!(told.contains(&what), "{told}");
    }
    for set in [
        "node3",
        "u1",
        "node1(u1)",
        "node*",
        "node[1-3]!node[1-2]",
        "00:00:00:00:00:01",
    ] {
        assert!(select(set).is_ok(), "{set}");
    }
}

#[test]
fn a_pattern_means_short_names_too_in_what_is_chosen_left_out_and_down() {
    let nodes = of_uuids();
    assert_eq!(meant("web?", &nodes).unwrap(), ["web1.dc1", "Web2.dc1"]);
    assert_eq!(meant("*!*2", &nodes).unwrap(), ["web1.dc1", "db1"]);
    assert_eq!(meant("db1,web9!web?", &nodes).unwrap(), ["db1"]);
    let down = [remembered("u7", "web7.dc1"), remembered("u8", "db8")];
    let set = NodeSets::new(&Groups::default()).parse("web?").unwrap();
    assert_eq!(set.missing_among(&down).unwrap(), [&down[0]]);
}

#[test]
fn of_an_earlier_run_a_node_that_is_down_is_missing_as_of_all_and_one_that_is_forgotten_is_named() {
    let (nodes, down) = (three(), [remembered("u7", "node7")]);
    let run = [&nodes[1], &down[0].node].map(Target::of);
    let selector = Selector::recorded(&run);
    assert!(!selector.wanted().answered(&nodes[0]));
    let targets = selector.select_knowing(&nodes, &down).unwrap().targets;
    assert_eq!(targets, run[..1]);
    assert_eq!(selector.missing_among(&down).unwrap(), [&down[0]]);
    let told = selector.select(&nodes).unwrap_err().to_string();
    assert!(told.starts_with("not found: node7(u7)"), "{told}");
    let narrowed = Selector::recorded(&run).and(Selector::Compute);
    assert_eq!(narrowed.missing_among(&down).unwrap(), [&down[0]]);
}
