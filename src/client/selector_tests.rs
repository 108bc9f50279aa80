//! Tests of the selection: whom a name, a flag, an expression means.

use super::super::node::tests::node;
use serde_json::json;

use super::super::{Groups, NodeSets, Plain};
use super::*;

pub(crate) fn three() -> Vec<Node> {
    let mut nodes = vec![
        node("u1", "00:00:00:00:00:01", "node1"),
        node("u2", "00:00:00:00:00:0a", "node2"),
        node("u3", "00:00:00:00:00:03", "node3"),
    ];
    nodes[0].is_headnode = true;
    nodes
}

fn by_name(names: &[&str], nodes: &[Node]) -> Result<Vec<String>, Unselectable> {
    let names = names
        .iter()
        .map(|name| NodeName((*name).to_owned()))
        .collect();
    let selected = Selector::Named(names).select(nodes)?;
    Ok(selected
        .targets
        .into_iter()
        .map(|target| target.routing_word)
        .collect())
}

fn words(selector: &Selector) -> Vec<String> {
    let selected = selector.select(&three()).unwrap();
    selected
        .targets
        .into_iter()
        .map(|target| target.routing_word)
        .collect()
}

#[test]
fn a_node_is_named_by_uuid_by_hostname_or_by_uuid_and_mac() {
    let found = by_name(&["node1", "U2-00:00:00:00:00:0A", "u3"], &three());
    assert_eq!(found.unwrap(), ["u1", "u2-00:00:00:00:00:0a", "u3"]);
}

#[test]
fn waiting_ends_when_all_that_were_named_have_answered() {
    let names = ["node1", "U2-00:00:00:00:00:0A"].map(|name| NodeName(name.to_owned()));
    let mut wanted = Selector::Named(names.into()).wanted();
    let nodes = three();
    assert!(!wanted.answered(&nodes[2]) && !wanted.answered(&nodes[1]));
    assert!(wanted.answered(&nodes[0]) && wanted.answered(&nodes[2]));
    let mut all = Selector::All.wanted();
    assert!(!nodes.iter().any(|node| all.answered(node)));
}

#[test]
fn every_missing_name_is_told() {
    let found = by_name(&["x", "node1", "y"], &three());
    assert_eq!(found.unwrap_err().to_string(), "not found: x, y");
}

#[test]
fn a_node_with_two_names_is_one() {
    let found = by_name(&["node1", "u1", "NODE1"], &three());
    assert_eq!(found.unwrap(), ["u1"]);
}

#[test]
fn a_hostname_of_two_nodes_is_refused() {
    let mut nodes = three();
    nodes.push(node("u4", "00:00:00:00:00:04", "node1"));
    let message = by_name(&["node1"], &nodes).unwrap_err().to_string();
    assert_eq!(message, "node1 means several nodes: node1(u1) node1(u4)");
}

#[test]
fn one_of_two_machines_of_a_uuid_is_reached_by_its_name_or_mac_alone() {
    let mut nodes = three();
    nodes.push(node("u2", "00:00:00:00:00:09", "twin"));
    assert!(matches!(
        by_name(&["u2"], &nodes),
        Err(Unselectable::DuplicateUuid(_))
    ));
    assert_eq!(by_name(&["node1"], &nodes).unwrap(), ["u1"]);
    let one = by_name(&["u2-00:00:00:00:00:09"], &nodes).unwrap();
    assert_eq!(one, ["u2-00:00:00:00:00:09"]);
    let named = by_name(&["node2"], &nodes).unwrap();
    assert_eq!(named, ["u2-00:00:00:00:00:0a"]);
    let both = ["u2-00:00:00:00:00:09", "u2-00:00:00:00:00:0a"];
    assert!(matches!(
        by_name(&both, &nodes),
        Err(Unselectable::Repeated(..))
    ));
}

#[test]
fn a_uuid_of_two_machines_is_left_out_and_does_not_stop_the_others() {
    let mut nodes = three();
    nodes.push(node("u2", "00:00:00:00:00:09", "twin"));
    let selected = Selector::All.select(&nodes).unwrap();
    let ids: Vec<&str> = selected.targets.iter().map(|t| t.id.as_str()).collect();
    assert_eq!(ids, ["u1", "u3"]);
    assert!(selected.left_out[0].to_string().contains("twin"));
    let alone = Selector::All.select(&nodes[1..2]).unwrap();
    assert_eq!(alone.left_out, []);
    let both = [nodes[1].clone(), nodes[3].clone()];
    assert!(matches!(
        Selector::All.select(&both),
        Err(Unselectable::DuplicateUuid(_))
    ));
}

#[test]
fn another_name_under_a_uuid_and_its_mac_takes_nothing_from_the_node() {
    let mut nodes = three();
    nodes.push(node("u2", "00:00:00:00:00:0a", "liar"));
    assert_eq!(by_name(&["node2"], &nodes).unwrap(), ["u2"]);
    assert_eq!(by_name(&["u2"], &nodes).unwrap(), ["u2"]);
    assert_eq!(Selector::All.select(&nodes).unwrap().targets.len(), 3);
    let lie = Selector::compile(r#".Hostname == "liar""#).unwrap();
    assert!(lie.select(&nodes).is_err(), "not all that it said");
}

#[test]
fn a_uuid_means_the_node_that_has_it_and_not_one_that_calls_itself_so() {
    let uuid = "11111111-1111-4111-8111-111111111111";
    let mut nodes = three();
    nodes.push(node("u9", "00:00:00:00:00:09", uuid));
    assert!(matches!(
        by_name(&[uuid], &nodes),
        Err(Unselectable::NotFound { .. })
    ));
    let named = Selector::Named(vec![NodeName(uuid.to_owned())]);
    assert!(!named.wanted().answered(&nodes[3]));
    nodes.push(node(uuid, "00:00:00:00:00:0b", "node4"));
    assert_eq!(by_name(&[uuid], &nodes).unwrap(), [uuid]);
    nodes.push(node("u8", "00:00:00:00:00:08", "u1"));
    assert_eq!(by_name(&["u1"], &nodes).unwrap(), ["u1"]);
}

#[test]
fn a_node_that_shares_its_host_name_is_called_by_its_uuid_too() {
    let mut nodes = three();
    nodes.push(node("u4", "00:00:00:00:00:04", "node1"));
    super::super::claims::mark_namesakes(&mut nodes);
    let targets = Selector::All.select(&nodes).unwrap().targets;
    let names: Vec<String> = targets.iter().map(Target::name).collect();
    assert_eq!(names, ["node1(u1)", "node2", "node3", "node1(u4)"]);
    assert_eq!(
        (targets[0].node_set_name(), targets[1].node_set_name()),
        ("u1", "node2")
    );
    let odd = |name: &str| Target {
        hostname: Plain::name(name),
        ..targets[1].clone()
    };
    for name in ["a b", "$(reboot)", "n1,n2", "-a", "x;y"] {
        assert_eq!(odd(name).node_set_name(), "u2", "{name}");
    }
}

#[test]
fn an_odd_node_on_which_the_expression_fails_is_left_out_alone() {
    let mut nodes = three();
    nodes[1].keep(json!({"Rack": 7}).to_string()).unwrap();
    for node in [0, 2] {
        nodes[node].keep(json!({"Rack": "r1"}).to_string()).unwrap();
    }
    let selector = Selector::compile(r#".Rack == "r1""#).unwrap();
    let selected = selector.select(&nodes).unwrap();
    assert_eq!(selected.targets.len(), 2);
    assert!(selected.left_out[0].to_string().contains("fails on node2"));
}

#[test]
fn all_compute_and_where_choose_by_what_a_node_says() {
    assert_eq!(words(&Selector::All), ["u1", "u2", "u3"]);
    assert_eq!(words(&Selector::Compute), ["u2", "u3"]);
    let expression = r#".Hostname | test("[13]$")"#;
    assert_eq!(words(&Selector::compile(expression).unwrap()), ["u1", "u3"]);
}

#[test]
fn no_node_is_an_error() {
    let nobody = Selector::All.select(&[]).unwrap_err();
    assert_eq!(nobody.to_string(), "no node answered");
    let none = Selector::compile("false").unwrap().select(&three());
    assert_eq!(
        none.unwrap_err().to_string(),
        "3 nodes answered, none of them matches"
    );
    let fails = Selector::compile(".Hostname.x").unwrap().select(&three());
    assert!(matches!(fails, Err(Unselectable::NoVerdict { .. })));
}

#[test]
fn an_expression_that_is_no_question_means_nobody() {
    let refused = |expression| {
        let selected = Selector::compile(expression).unwrap().select(&three());
        selected.unwrap_err().to_string()
    };
    assert!(refused(r#".Hostname = "x""#).contains("gives an object for node1"));
    assert!(refused(r#".Hostname > 5"#).contains("cannot compare"));
    assert!(refused("def f: f; f").contains("512 MiB on node1"));
    let unknown = refused(r#".Hostnam != "x""#);
    assert!(
        unknown.contains("no node that is asked about has `Hostnam`: do you mean `Hostname`"),
        "{unknown}"
    );
    assert!(refused(r#".Hostnam == "x""#).contains("do you mean"));
    assert_eq!(
        words(&Selector::compile(".Hostnam? == null").unwrap()).len(),
        3
    );
}

pub(crate) const UUIDS: [&str; 3] = [
    "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    "1b4e28ba-99ff-11d2-883f-0016d3cca427",
    "cafe0001-2fa1-11d2-883f-0016d3cca427",
];

pub(crate) fn of_uuids() -> Vec<Node> {
    let names = ["web1.dc1", "Web2.dc1", "db1"];
    let nodes = UUIDS.iter().zip(names).zip(1..);
    let mut nodes: Vec<Node> = nodes
        .map(|((uuid, name), i)| node(uuid, &format!("02:00:00:00:00:0{i}"), name))
        .collect();
    for (node, i) in nodes.iter_mut().zip(1..) {
        node.ip = Some(Plain::name(&format!("192.0.2.{i}")));
    }
    nodes
}

pub(crate) fn meant(text: &str, nodes: &[Node]) -> Result<Vec<String>, Unselectable> {
    let selector = NodeSets::new(&Groups::default()).parse(text).unwrap();
    let selected = selector.select(nodes)?;
    Ok(selected.targets.iter().map(Target::name).collect())
}

#[test]
fn a_node_is_named_by_short_name_address_or_the_beginning_of_its_uuid_in_any_case() {
    let nodes = of_uuids();
    for (name, expected) in [
        ("web1", "web1.dc1"),
        ("WEB1.DC1", "web1.dc1"),
        ("web2", "Web2.dc1"),
        ("02:00:00:00:00:03", "db1"),
        ("02-00-00-00-00-03", "db1"),
        ("192.0.2.2", "Web2.dc1"),
        ("1b4e28ba-2", "web1.dc1"),
        ("CAFE0001", "db1"),
        ("1B4E28BA-99ff", "Web2.dc1"),
        ("db1(CAFE0001-2fa1-11d2-883f-0016d3cca427)", "db1"),
    ] {
        assert_eq!(meant(name, &nodes).unwrap(), [expected], "{name}");
        let selector = Selector::Named(vec![NodeName(name.to_owned())]);
        let mut wanted = selector.wanted();
        assert!(
            nodes.iter().fold(false, |_, node| wanted.answered(node)),
            "{name}"
        );
    }
    for name in ["1b4e28b", "1b4e28bb", "cafe", "db1(cafe0001)", "web"] {
        assert!(
            matches!(meant(name, &nodes), Err(Unselectable::NotFound { .. })),
            "{name}"
        );
    }
    let told = meant("1b4e28ba", &nodes).unwrap_err().to_string();
    assert!(
        told.contains("1b4e28ba means several nodes") && told.contains(UUIDS[1]),
        "{told}"
    );
    let told = meant("wbe1", &nodes).unwrap_err().to_string();
    assert!(told.contains("did you mean web1"), "{told}");
}

#[test]
fn a_name_that_another_node_gave_itself_is_a_question_and_not_an_answer() {
    let mut nodes = of_uuids();
    let liars = ["web1", "192.0.2.2", "cafe0001"];
    nodes.extend(
        liars
            .iter()
            .zip(4..)
            .map(|(name, i)| node(&format!("u{i}"), "m", name)),
    );
    super::super::claims::mark_namesakes(&mut nodes);
    for (name, i) in liars.iter().zip(3..) {
        assert!(
            matches!(meant(name, &nodes), Err(Unselectable::Ambiguous(..))),
            "{name}"
        );
        assert!(nodes[i].has_namesake, "{name}");
        assert_eq!(meant(&nodes[i].name(), &nodes).unwrap(), [nodes[i].name()]);
    }
    // By chance such a short name begins a UUID.
    nodes.push(node("u7", "m7", "cafe"));
    assert_eq!(meant("cafe", &nodes).unwrap(), ["cafe"]);
}

#[test]
fn sets_are_joined_from_the_left_and_what_is_missing_counts_where_it_is_meant() {
    let nodes = three();
    for (set, expected) in [
        ("node[1-3]", "node1 node2 node3"),
        ("node3,node[1-2]", "node3 node1 node2"),
        ("NODE*", "node1 node2 node3"),
        ("node[1-3]!node2", "node1 node3"),
        ("node[1-2]&node[2-3]", "node2"),
        ("node[1-4]!node4", "node1 node2 node3"),
        ("node[1-4]!node[3-5]", "node1 node2"),
        ("node[1-4]&node[1-2]", "node1 node2"),
        ("node[1-2]&node[2-9]", "node2"),
        ("*&node[1-2]", "node1 node2"),
        ("node?!u1,node1", "node2 node3 node1"),
    ] {
        assert_eq!(meant(set, &nodes).unwrap().join(" "), expected, "{set}");
    }
    for (set, missing) in [
        ("node[1-5]", "not found: node4, node5"),
        ("db*,node1", "not found: db*"),
        ("node[1-5]!node5", "not found: node4"),
        ("node[1-3]!nodee3", "not found: nodee3"),
        ("*!db*", "not found: db*"),
        ("node[1-5]&node[2-4]", "not found: node4"),
    ] {
        let told = meant(set, &nodes).unwrap_err().to_string();
        assert!(told.starts_with(missing), "{set}: {told}");
    }
}

#[test]
fn an_exclusion_holds_whatever_else_was_said_under_the_uuid_or_cannot_be_told() {
    let mut nodes = three();
    nodes.push(node("u3", "00:00:00:00:00:03", "liar"));
    let both = |name: &str| Selector::Named(vec![NodeName(name.to_owned())]);
    let selected = both("u3").without(both("node3")).select(&nodes);
    assert!(matches!(selected, Err(Unselectable::NoNode { .. })));
    nodes.pop();
    nodes[1].keep(json!({"Drain": "odd"}).to_string()).unwrap();
    nodes[2].keep(json!({"Drain": true}).to_string()).unwrap();
    let drained = Selector::compile(".Drain").unwrap();
    let selected = Selector::All
        .without(drained.clone())
        .select(&nodes)
        .unwrap();
    assert_eq!(selected.targets.len(), 1);
    assert!(selected.targets[0].name() == "node1");
    // Nodes that are not among those that are narrowed need no verdict.
    let narrowed = both("node3").and(drained).select(&nodes).unwrap();
    assert_eq!((narrowed.targets.len(), narrowed.left_out.len()), (1, 0));
}

#[test]
fn each_line_of_a_list_is_a_part_of_its_own_and_each_of_its_names_means_somebody() {
    let (nodes, groups) = (three(), Groups::default());
    let lines = |text: &str| NodeSets::new(&groups).lines(text, "x").unwrap();
    let names = |selector: &Selector| {
        let targets = selector.select(&nodes)?.targets;
        Ok::<_, Unselectable>(targets.iter().map(Target::name).collect::<Vec<_>>())
    };
    let list = lines("node[1-2]!node2\nnode2\nnode1&node3\nnode3\n");
    assert_eq!(names(&list).unwrap(), ["node1", "node2", "node3"]);
    let but = |text: &str| names(&Selector::All.without(lines(text)));
    assert_eq!(but("node1\nnode[3-9]\n").unwrap(), ["node2"]);
    let slip = but("node1\nndoe3\n").unwrap_err().to_string();
    assert!(slip.starts_with("not found: ndoe3"), "{slip}");
}
