//! Tests of the selection: whom a name, a flag, an expression means.

use super::super::node::tests::node;
use serde_json::json;

use super::super::Plain;
use super::*;

fn three() -> Vec<Node> {
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
fn a_node_with_two_names_is_refused() {
    let message = |names: &[&str]| by_name(names, &three()).unwrap_err().to_string();
    assert_eq!(message(&["node1", "u1"]), "node1 and u1 are the same node");
    assert_eq!(message(&["u1", "u1"]), "u1 is named twice");
}

#[test]
fn a_hostname_of_two_nodes_is_refused() {
    let mut nodes = three();
    nodes.push(node("u4", "00:00:00:00:00:04", "node1"));
    let message = by_name(&["node1"], &nodes).unwrap_err().to_string();
    assert_eq!(message, "node1 is the hostname of several nodes: u1 u4");
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
        Err(Unselectable::Missing(_))
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
    assert_eq!((targets[0].word(), targets[1].word()), ("u1", "node2"));
    let odd = |name: &str| Target {
        hostname: Plain::name(name),
        ..targets[1].clone()
    };
    for name in ["a b", "$(reboot)", "n1,n2", "-a", "x;y"] {
        assert_eq!(odd(name).word(), "u2", "{name}");
    }
}

#[test]
fn an_odd_node_on_which_the_expression_fails_is_left_out_alone() {
    let mut nodes = three();
    nodes[1].sysinfo = serde_json::value::to_raw_value(&json!({"Rack": 7})).ok();
    for node in [0, 2] {
        nodes[node].sysinfo = serde_json::value::to_raw_value(&json!({"Rack": "r1"})).ok();
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
        "3 nodes answered, none of them meant"
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
    assert!(refused("def f: f; f").contains("does not end on node1"));
    let unknown = refused(r#".Hostnam != "x""#);
    assert!(
        unknown.contains("no node has `Hostnam`: do you mean `Hostname`"),
        "{unknown}"
    );
    assert!(refused(r#".Hostnam == "x""#).contains("do you mean"));
    assert_eq!(
        words(&Selector::compile(".Hostnam? == null").unwrap()).len(),
        3
    );
}
