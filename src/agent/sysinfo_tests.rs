//! Tests of sysinfo: what the agent adds to the facts, and sysinfo programs that fail.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use std::io::Write;

fn with(facts: Value, broker_side: Option<&str>) -> Sysinfo {
    let Value::Object(facts) = facts else {
        panic!("facts are an object")
    };
    let side = broker_side.map(|ip| ip.parse().unwrap());
    let (source, warnings) = ("test".to_owned(), Vec::new());
    let collected = Collected {
        facts,
        source,
        warnings,
        at: Instant::now(),
    };
    let seen = Seen {
        broker_side: side,
        ..Seen::default()
    };
    complete(collected, seen)
}

fn two_nics() -> Value {
    json!({
        "eth0": {"MAC Address": "AA:00:00:00:00:01", "ip4addr": "10.0.0.1", "Link Status": "up"},
        "eth1": {"MAC Address": "aa:00:00:00:00:02", "ip4addr": "10.1.0.1", "Link Status": "up"},
    })
}

#[test]
fn a_placeholder_uuid_is_replaced_by_a_stable_one_and_a_warning() {
    let facts =
        json!({"UUID": "03000200-0400-0500-0006-000700080009", "Network Interfaces": two_nics()});
    let (once, again) = (with(facts.clone(), None), with(facts, None));
    assert_eq!(once.node, again.node);
    assert!(!PLACEHOLDERS.contains(&once.node.as_str()));
    assert_eq!(once.warnings.len(), 1);
    assert_eq!(once.facts["UUID"], json!(once.node.as_str()));
    let other = with(json!({"Serial Number": "7"}), None);
    assert_ne!(other.node, once.node);
}

#[test]
fn the_nic_that_reaches_the_broker_is_the_admin_nic_unless_sysinfo_names_one() {
    let uuid = "564dba97-54f6-4d3d-50d4-f4e2a9a3f0a5";
    let facts = json!({"UUID": uuid, "Network Interfaces": two_nics()});
    let found = with(facts.clone(), Some("10.1.0.1"));
    assert_eq!(found.mac.as_deref(), Some("aa:00:00:00:00:02"));
    assert_eq!(
        with(facts.clone(), None).mac.as_deref(),
        Some("aa:00:00:00:00:01")
    );
    let mut named = facts;
    named["Network Interfaces"]["eth0"]["NIC Names"] = json!(["admin"]);
    assert_eq!(
        with(named, Some("10.1.0.1")).mac.as_deref(),
        Some("aa:00:00:00:00:01")
    );
}

#[test]
fn a_node_js_agent_beside_this_one_is_in_every_announcement_until_it_has_gone() {
    let warnings = |sysinfo: &Sysinfo| sysinfo.facts["Ur Agent"]["warnings"].to_string();
    let alone = with(json!({"UUID": "n1"}), None);
    let beside = alone.clone().beside_node_js(true);
    assert!(warnings(&beside).contains("runs twice"));
    assert!(String::from_utf8_lossy(&beside.body).contains("runs twice"));
    let later = alone.clone().seen_like(&beside);
    assert!(warnings(&later).contains("runs twice"));
    assert_eq!(later.beside_node_js(false), alone);
}

#[test]
fn there_is_always_a_hostname() {
    assert!(with(json!({}), None).facts["Hostname"].is_string());
}

/// Values of every kind, in the places and under the names that we look at.
fn facts() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("10.1.0.1")),
        Just(json!("up")),
        Just(json!("02:00:00:00:00:01")),
        any::<i64>().prop_map(Value::from),
        "[a-z#*. ]{0,80}".prop_map(Value::from),
    ];
    const NAMES: [&str; 6] = [
        "net0",
        "MAC Address",
        "ip4addr",
        "Link Status",
        "NIC Names",
        "x",
    ];
    let object = |value| btree_map(select(&NAMES[..]), value, 0..8);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            object(inner).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #[test]
    fn a_node_whatever_it_says_of_itself_has_names_that_keys_can_carry(
        nics in facts(), virtual_nics in facts(), uuid in facts()
    ) {
        let facts = json!({
            "UUID": uuid, "Network Interfaces": nics, "Virtual Network Interfaces": virtual_nics
        });
        let found = with(facts, Some("10.1.0.1"));
        prop_assert!(found.facts["Hostname"].is_string());
        prop_assert_eq!(&found.facts["UUID"], found.node.as_str());
        let mac = found.mac.unwrap_or_default();
        prop_assert!(mac.len() < 60 && !mac.contains(['.', '#', '*', ' ']), "{}", mac);
    }
}

#[test]
fn two_nics_of_one_name_of_which_one_is_rubbish_are_no_harm() {
    let up = json!({"MAC Address": "02:00:00:00:00:01", "Link Status": "up"});
    let found = with(
        json!({"Network Interfaces": {"net0": "?"}, "Virtual Network Interfaces": {"net0": up}}),
        None,
    );
    assert_eq!(found.mac.as_deref(), Some("02:00:00:00:00:01"));
}

#[test]
fn an_address_that_is_none_is_not_put_into_keys() {
    let nic = json!({"MAC Address": "#.*", "Link Status": "up"});
    assert_eq!(
        with(json!({"Network Interfaces": {"net0": nic}}), None).mac,
        None
    );
}

#[test]
fn where_no_program_answers_the_node_has_the_name_that_its_programs_would_give_it() {
    let named = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let collected = Collected {
            facts: from_firmware(file.path()),
            source: "agent".to_owned(),
            warnings: Vec::new(),
            at: Instant::now(),
        };
        complete(collected, Seen::default())
            .node
            .as_str()
            .to_owned()
    };
    let uuid = "4c4c4544-0031-3510-8052-b4c04f4e4d32";
    assert_eq!(named(&format!("{}\n", uuid.to_ascii_uppercase())), uuid);
    assert_ne!(named(PLACEHOLDERS[0]), PLACEHOLDERS[0]);
    assert!(from_firmware("/nonexistent").is_empty());
}

/// As the kernel's command line of a made-up machine.
fn built_in_sysinfo_of(command_line: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("proc")).unwrap();
    let mut file = fs::File::create(root.path().join("proc/cmdline")).unwrap();
    file.write_all(command_line.as_bytes()).unwrap();
    let child = std::process::Command::new("/bin/sh")
        .args(["-c", BUILT_IN])
        .env("UR_SYSINFO_ROOT", root.path())
        .stdout(Stdio::piped())
        .spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_form_of_a_secret_on_the_command_line_is_announced() {
    for form in include_str!("../../tests/fixtures/secrets.tsv")
        .lines()
        .skip(1)
    {
        let (secret, _) = form.split_once('\t').unwrap_or((form, form));
        let said = built_in_sysinfo_of(&format!("first=1 {secret}\n"));
        let facts: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(facts["Boot Parameters"]["first"], json!("1"), "{said}");
        assert!(!said.contains("hush"), "{secret} is told as {said}");
    }
}

#[test]
fn a_question_for_some_names_is_for_the_nodes_that_have_one() {
    let node = named("node-one-1");
    let asks = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        node.is_named_by(&names)
    };
    assert!(asks(&[]) && asks(&["x", "node-one-1"]) && asks(&["node-one"]));
    assert!(!asks(&["node-two", "node-on"]) && !asks(&["one", ""]));
}
