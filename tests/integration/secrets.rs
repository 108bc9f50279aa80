//! Scripts and the broker's URL hold passwords, which no other user of the node may read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::agent::Setup;
use crate::support::broker::Vhost;
use crate::support::{Node, and, script};

#[test]
fn the_password_of_the_broker_is_neither_in_the_log_nor_among_the_arguments() {
    let vhost = Vhost::new();
    let Some(vhost) = vhost.with_user("ur-test-user", "s3cr3t-pw") else {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    };
    let mut node = Node::at(vhost, Setup::default());
    assert!(
        !node
            .shell("env; cat /proc/$PPID/environ")
            .contains("s3cr3t-pw")
    );
    let cmdline = fs::read(format!("/proc/{}/cmdline", node.agent.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&cmdline).contains("s3cr3t-pw"));
    node.agent.kill();
    assert!(node.agent.log().contains("connected"));
    assert!(!node.agent.log().contains("s3cr3t-pw"));
}

#[test]
fn script_arguments_environment_and_output_are_not_in_the_log() {
    let mut node = Node::start();
    let request = and(
        script("echo out-hush; echo err-hush >&2; : script-hush"),
        "args",
        ["arg-hush"],
    );
    let mut request = and(request, "stdin", "stdin-hush");
    request["env"]["A"] = "env-hush".into();
    let reply = node.ask(&request);
    assert_eq!(reply["stdout"], "out-hush\n");
    node.ask_raw(br#"{"type":"script-hush""#);
    node.shell("true");
    let log = node.agent.log();
    assert!(log.contains("ended") && !log.contains("hush"), "{log}");
}

#[test]
fn the_state_directory_and_what_is_in_it_is_for_its_owner_alone() {
    let setup = Setup {
        prepare: Some(|dir| {
            fs::set_permissions(dir.join("state"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ..Setup::default()
    };
    let mut node = Node::with(setup);
    let id = node.send(&and(
        script("echo x; echo y >&2; echo '{}' >>$UR_PROGRESS"),
        "stdin",
        "z",
    ));
    node.reply(&id);
    let state = node.agent.state_dir();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&node.job(&id)), 0o700);
    for file in ["request.json", "stdout", "stderr"] {
        assert_eq!(mode(&node.job(&id).join(file)) & 0o077, 0, "{file}");
    }
    assert!(!node.job(&id).join("stdin").exists());
}
