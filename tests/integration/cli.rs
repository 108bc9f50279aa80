//! `ur` from end to end: real agents answer it.

use std::fs;

use serde_json::Value;

use crate::support::agent::{Agent, Setup};
use crate::support::operator::{Said, Ur, json_lines};
use crate::support::{Node, wait_until};

fn spawn(node: &Node, args: &[&str]) -> Ur {
    Ur::start(&node.vhost.url, node.agent.dir(), args)
}

fn ur(node: &Node, args: &[&str]) -> Said {
    spawn(node, args).end()
}

#[test]
fn nodes_shows_who_is_there() {
    let node = Node::start();
    let out = ur(&node, &["nodes"]).exits(0);
    assert!(out.contains(&node.agent.uuid), "{out}");
    assert!(out.contains("testnode"), "{out}");
    let lines = json_lines(&ur(&node, &["nodes", "-J"]).exits(0));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["UUID"], node.agent.uuid.as_str());
}

#[test]
fn a_url_comes_from_a_file_and_a_password_in_an_argument_gets_a_warning() {
    let node = Node::start();
    let url = node.vhost.url.as_str();
    let path = node.agent.dir().join("amqp-url");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, format!("{url}\na comment\n").as_bytes()).unwrap();
    // What is typed comes before the environment.
    let end = |args: &[&str]| Ur::start("no URL", node.agent.dir(), args).end();
    let said = end(&["nodes", "--amqp-url-file", path.to_str().unwrap()]);
    assert!(!said.err.contains("warning"), "{}", said.err);
    assert!(said.exits(0).contains("testnode"));
    let said = end(&["nodes", "--amqp-url", url]);
    assert!(said.err.contains("--amqp-url-file"), "{}", said.err);
    said.exits(0);
    end(&["nodes"]).exits(2);
    end(&["nodes", "--amqp-url-file", "/no/such/file"]).exits(1);
}

#[test]
fn another_command_line_under_the_same_request_id_is_refused_and_the_same_one_is_answered_again() {
    let node = Node::start();
    let exec = |line: &str| ur(&node, &["exec", "-a", "--request", "deploy-1", line]);
    assert!(exec("echo A").exits(0).contains("A\n"));
    assert!(exec("echo A").exits(0).contains("A\n"));
    exec("echo B").is(2, &["deploy-1 was sent with another content", "echo A"]);
    // Of another user, whose ur does not know what the first one sent.
    let other = tempfile::tempdir().unwrap();
    let args = ["exec", "-a", "--request", "deploy-1", "echo B"];
    let said = Ur::start(&node.vhost.url, other.path(), &args).end();
    assert_ne!(said.exit, 0);
    assert!(!said.out.contains("  A\n"), "{}", said.out);
    assert!(
        said.out.contains("another content"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn exec_runs_a_command_line_and_tells_its_end_by_its_own() {
    let node = Node::start();
    let uuid = node.agent.uuid.as_str();
    let out = ur(&node, &["exec", "-n", uuid, "echo $((40 + 2))"]).exits(0);
    assert!(out.contains("42\n"), "{out}");
    ur(&node, &["exec", "-a", "exit 7"]).exits(3);
    ur(&node, &["exec", "-a", "kill -9 $$"]).exits(3);
    ur(&node, &["exec", "-a", "--timeout", "0.5", "sleep 1000"]).exits(3);
    ur(&node, &["exec", "-a", "kill -9 $PPID; sleep 1000"]).exits(21);
}

#[test]
fn a_named_node_that_is_missing_stops_everything_before_anything_runs() {
    let node = Node::start();
    let mark = node.agent.dir().join("mark");
    let names = format!("{},nosuch", node.agent.uuid);
    let command = format!("touch {}", mark.display());
    let said = ur(&node, &["exec", "-n", &names, &command]);
    assert!(said.err.contains("nosuch"), "{}", said.err);
    said.exits(10);
    assert!(!mark.exists());
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let node = Node::start();
    ur(&node, &["exec", "true"]).exits(2);
    ur(&node, &["exec", "-a", "-n", "x", "true"]).exits(2);
    ur(&node, &["exec", "-w", ".UUID ==", "true"]).exits(2);
}

#[test]
fn a_node_that_gives_no_final_answer_in_time_is_told_as_that() {
    let node = Node::start();
    ur(&node, &["exec", "-a", "--wait", "1", "sleep 1000"]).exits(20);
}

#[test]
fn script_sends_a_local_file_with_its_arguments() {
    let node = Node::start();
    let path = node.agent.dir().join("local.sh");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, b"#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
    let path = path.to_str().unwrap();
    let out = ur(&node, &["script", "-a", path, "a b", "-c"]).exits(0);
    assert!(out.contains("<a b><-c>"), "{out}");
    ur(&node, &["script", "-a", "/no/such/file"]).exits(1);
}

#[test]
fn file_runs_what_is_on_the_node() {
    let node = Node::start();
    let out = ur(&node, &["file", "-a", "/bin/echo", "from", "the node"]).exits(0);
    assert!(out.contains("from the node\n"), "{out}");
    ur(&node, &["file", "-a", "/no/such/file"]).exits(3);
}

#[test]
fn json_output_has_the_reply_of_every_node() {
    let node = Node::start();
    let command = "echo out; echo err >&2; exit 3";
    let array = ur(&node, &["exec", "-a", "-j", command]).exits(3);
    let array: Value = serde_json::from_str(&array).unwrap();
    let lines = json_lines(&ur(&node, &["exec", "-a", "-J", command]).exits(3));
    for result in [&array[0], &lines[0]] {
        assert_eq!(result["uuid"], node.agent.uuid.as_str(), "{result}");
        assert_eq!(result["hostname"], "testnode", "{result}");
        assert_eq!(result["result"]["exit_status"], 3, "{result}");
        assert_eq!(result["result"]["stdout"], "out\n", "{result}");
        assert_eq!(result["result"]["stderr"], "err\n", "{result}");
    }
}

#[test]
fn nodes_that_say_the_same_are_shown_once() {
    let node = Node::start();
    let url = node.vhost.url.as_str();
    let others = ["n2", "n3"].map(|name| Agent::start(name, url, Setup::default()));
    wait_until("all are there", || {
        json_lines(&ur(&node, &["nodes", "-J"]).out).len() == 3
    });
    let command = format!(
        "echo common; test $UR_NODE != {} || echo special",
        others[0].uuid
    );
    let out = ur(&node, &["exec", "-a", &command]).exits(0);
    assert_eq!(out.matches("common\n").count(), 2, "{out}");
    assert_eq!(out.matches("special\n").count(), 1, "{out}");
}

#[test]
fn ping_measures_and_fails_if_a_node_is_missing() {
    let node = Node::start();
    let out = ur(&node, &["ping", "-a"]).exits(0);
    assert!(out.contains("testnode") && out.contains("ms"), "{out}");
    ur(&node, &["ping", "-n", "nosuch"]).exits(10);
}

#[test]
fn cancel_ends_what_another_ur_waits_for_and_why_shows_the_status() {
    let node = Node::start();
    let (mark, uuid) = (node.agent.dir().join("mark"), node.agent.uuid.as_str());
    let command = format!("touch {}; sleep 1000", mark.display());
    let waiting = spawn(&node, &["exec", "-a", "--request", "r1", &command]);
    wait_until("the script runs", || mark.exists());
    let running = ur(&node, &["why", uuid, "r1"]).exits(0);
    assert!(running.contains("running"), "{running}");
    ur(&node, &["cancel", "-n", uuid, "r1"]).exits(0);
    waiting.end().exits(3);
    let status = ur(&node, &["why", uuid, "r1"]).exits(0);
    for word in ["published", "accepted", "started", "cancelled"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    ur(&node, &["cancel", "-n", uuid, "unknown"]).exits(10);
    ur(&node, &["why", uuid, "unknown"]).exits(10);
}

#[test]
fn jobs_shows_what_runs_and_what_waits_and_an_interrupt_may_cancel_it() {
    let node = Node::with(Setup::args(&["--max-jobs", "1"]));
    let run = |id: &str, line: &str| {
        let flags = ["--on-interrupt", "cancel", "--request", id, line];
        spawn(&node, &[&["exec", "-a"][..], &flags].concat())
    };
    let mark = node.agent.dir().join("mark");
    let progress = r#"echo '{"percent":40,"eta":720}' >>$UR_PROGRESS"#;
    let line = format!("{progress}; touch {}; sleep 1000", mark.display());
    let first = run("r1", &line);
    wait_until("the script runs", || mark.exists());
    let second = run("r2", "sleep 1000");
    let mut jobs = Value::Null;
    wait_until("both are there", || {
        jobs = json_lines(&ur(&node, &["jobs", "-a", "-J"]).exits(0))[0].clone();
        jobs["waiting"] == 1
    });
    assert_eq!(jobs["running"], 1, "{jobs}");
    let [running, waiting] = [0, 1].map(|i| &jobs["jobs"][i]);
    assert_eq!(
        (&running["request"], &running["percent"]),
        (&"r1".into(), &40.0.into())
    );
    assert_eq!(
        (&waiting["what"], &waiting["before"]),
        (&"sleep 1000".into(), &0.into())
    );
    let table = ur(&node, &["jobs", "-a"]).exits(0);
    for word in ["running 40 %, 12 min left", "queued, next", "sleep 1000"] {
        assert!(table.contains(word), "{table}");
    }
    for interrupted in [first, second] {
        interrupted.interrupt();
        let said = interrupted.end();
        assert!(said.err.contains("1 cancelled"), "{}", said.err);
        said.exits(130);
    }
    assert!(
        ur(&node, &["jobs", "-a"])
            .err
            .contains("0 running, 0 waiting; 1 idle")
    );
}

#[test]
fn an_expression_that_is_no_question_sends_nothing() {
    let node = Node::start();
    let mark = node.agent.dir().join("mark");
    let command = format!("touch {}", mark.display());
    for (expression, exit, told) in [
        (".Hostname = \"x\"", 2, "an object for testnode"),
        (".Hostname", 2, "a text for testnode"),
        (".Hostname > 5", 2, "cannot compare"),
        (".Hostnam != \"x\"", 2, "do you mean `Hostname`"),
        (".Hostnam == \"x\"", 10, "do you mean `Hostname`"),
        ("def f: f; f", 2, "512 MiB on testnode"),
        ("[repeat(1)] | length > 0", 2, "512 MiB on testnode"),
        ("nosuch", 2, "jq as jaq 3 has it"),
    ] {
        let said = ur(&node, &["exec", "-w", expression, &command]);
        said.is(exit, &[told]);
    }
    assert!(!mark.exists());
    let same = ".Hostname == \"testnode\" and .raw.Hostname == .Hostname";
    let found = ur(&node, &["nodes", "-J", "-w", same]);
    assert_eq!(json_lines(&found.exits(0)).len(), 1);
}

#[test]
fn an_empty_command_line_is_a_usage_error() {
    let node = Node::start();
    ur(&node, &["exec", "-a", ""]).exits(2);
    ur(&node, &["exec", "-a", " \n"]).exits(2);
    ur(&node, &["file", "-a", ""]).exits(2);
}

#[test]
fn a_script_and_parameters_lose_their_byte_order_mark_with_a_word() {
    let node = Node::start();
    let file = |name: &str, text: &str| {
        let path = node.agent.dir().join(name);
        let mut file = fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, format!("\u{feff}{text}").as_bytes()).unwrap();
        path.display().to_string()
    };
    let script = file("x.sh", "#!/bin/bash\necho ${BASH_VERSION:+bash} $PT_a\n");
    let said = ur(&node, &["script", "-a", &script]);
    assert!(said.err.contains("byte order mark"), "{}", said.err);
    assert!(said.exits(0).contains("bash"));
    let parameters = format!("@{}", file("p.json", r#"{"a": "given"}"#));
    let said = ur(&node, &["run", "-a", &script, "--params", &parameters]);
    assert_eq!(
        said.err.matches("byte order mark").count(),
        2,
        "{}",
        said.err
    );
    assert!(said.exits(0).contains("bash given"));
}

#[test]
fn what_is_piped_in_is_refused_or_given_to_the_script_or_is_the_script() {
    let node = Node::start();
    let (url, dir) = (node.vhost.url.as_str(), node.agent.dir());
    let fed = |args: &[&str], input: &str| Ur::start_fed(url, dir, args, input).end();
    let ran = dir.join("ran");
    let command = format!("cat; echo ran >{}", ran.display());
    let said = fed(&["exec", "-a", &command], "data\n");
    assert!(said.err.contains("--stdin - gives it"), "{}", said.err);
    said.exits(2);
    assert!(!ran.exists());
    let out = fed(&["exec", "-a", "--stdin", "-", "cat"], "data\n").exits(0);
    assert!(out.contains("data"), "{out}");
    let said = fed(&["exec", "-n", "-", "echo from a list"], "testnode\n");
    assert!(!said.err.contains("--stdin"), "{}", said.err);
    assert!(said.exits(0).contains("from a list"));
    let out = fed(&["script", "-a", "-", "an argument"], "echo \"got $1\"\n").exits(0);
    assert!(out.contains("got an argument"), "{out}");
}

#[test]
fn sigterm_leaves_the_run_with_its_id_without_a_question() {
    let node = Node::start();
    let args = ["exec", "-a", "-v", "--request", "r1", "sleep 1000"];
    let running = spawn(&node, &args);
    running.wait_for(": accepted");
    running.signal(rustix::process::Signal::TERM);
    let said = running.end();
    assert!(said.err.contains("ur attach r1"), "{}", said.err);
    said.exits(130);
    ur(&node, &["cancel", "-a", "r1"]).exits(0);
}
