//! A sysinfo program that does not do its work: the node is announced all the same, and says so.

use serde_json::Value;

use crate::support::agent::{Agent, Setup, write_program};
use crate::support::broker::Vhost;
use crate::support::client::Client;

/// Starts an agent whose sysinfo program was replaced, and returns its only warning. The built-in sysinfo
/// answers for it.
fn warning_of(prepare: fn(&std::path::Path)) -> String {
    let vhost = Vhost::new();
    // The node will be called what this machine is called.
    let mut client = Client::connect(&vhost.url, "*");
    let setup = Setup {
        prepare: Some(prepare),
        ..Setup::default()
    };
    let agent = Agent::start("nobody", &vhost.url, setup);
    let ours = |facts: &Value| {
        let warnings = facts["Ur Agent"]["warnings"].to_string();
        warnings.contains(agent.dir().to_str().expect("text"))
    };
    let startup = client.wait_for("startup", |message| {
        message.key.starts_with("ur.startup.") && ours(&message.json())
    });
    let facts = startup.json();
    assert_eq!(facts["Ur Agent"]["sysinfo_source"], "built-in", "{facts}");
    assert_eq!(facts["System Type"], "Linux", "{facts}");
    let warnings = facts["Ur Agent"]["warnings"].as_array().expect("an array");
    let ours: Vec<&str> = warnings
        .iter()
        .filter_map(|warning| warning.as_str())
        .filter(|warning| warning.contains("the built-in sysinfo answers"))
        .collect();
    assert_eq!(ours.len(), 1, "{facts}");
    let log = agent.log();
    assert_eq!(
        log.matches("the built-in sysinfo answers").count(),
        1,
        "{log}"
    );
    ours[0].to_owned()
}

#[test]
fn a_sysinfo_that_hangs_is_given_up() {
    let warning = warning_of(|dir| write_program(&dir.join("sysinfo"), "exec sleep 1000"));
    assert!(warning.contains("did not end within 10s"), "{warning}");
}

#[test]
fn a_sysinfo_that_prints_rubbish_is_replaced() {
    let warning = warning_of(|dir| write_program(&dir.join("sysinfo"), "echo '{\"UUID\": '"));
    assert!(warning.contains("understanding its output"), "{warning}");
}

#[test]
fn a_sysinfo_that_prints_nothing_is_replaced() {
    let warning = warning_of(|dir| write_program(&dir.join("sysinfo"), ":"));
    assert!(warning.contains("understanding its output"), "{warning}");
}

#[test]
fn a_sysinfo_that_fails_is_replaced() {
    let warning = warning_of(|dir| write_program(&dir.join("sysinfo"), "echo '{}'; exit 3"));
    assert!(warning.contains("exit status: 3"), "{warning}");
}

#[test]
fn a_sysinfo_that_does_not_exist_is_replaced() {
    let warning = warning_of(|dir| std::fs::remove_file(dir.join("sysinfo")).unwrap());
    assert!(warning.contains("No such file"), "{warning}");
}

#[test]
fn a_sysinfo_program_is_told_where_the_setup_file_is() {
    let mut node = crate::support::Node::with(Setup {
        prepare: Some(|dir| {
            let path = dir.join("sysinfo");
            let own = std::fs::read_to_string(&path).unwrap();
            let text = own.replace("cat <<'END'", "cat <<END").replace(
                "\"System Type\"",
                "\"Setup File\":\"$UR_SETUP_FILE\",\"System Type\"",
            );
            write_program(&path, text.strip_prefix("#!/bin/sh\n").unwrap());
        }),
        ..Setup::default()
    });
    node.client.publish("ur.broadcast.sysinfo.r1", b"{}");
    let setup_file = node.agent.dir().join("setup.json");
    assert_eq!(node.reply("r1")["Setup File"], setup_file.to_str().unwrap());
}
