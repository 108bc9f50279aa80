//! A script's environment, and what the reply says of its end.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Node, and, runs, script, text_of, wait_until};

#[test]
fn exit_status_stdout_and_stderr_come_back() {
    let mut node = Node::start();
    let reply = node.ask(&script("echo out; echo err >&2; exit 3"));
    assert_eq!(reply["exit_status"], 3);
    assert_eq!(reply["stdout"], "out\n");
    assert_eq!(reply["stderr"], "err\n");
    assert_eq!(reply.get("error"), None);
    assert_eq!(reply["stdout_bytes"], 4);
    assert!(reply["duration_ms"].is_u64(), "{reply}");
}

#[test]
fn a_request_as_cnapi_sends_it_is_run() {
    let mut node = Node::start();
    let request = include_bytes!("../fixtures/wire/cnapi-request.json");
    let reply = node.ask_raw(request);
    let wanted: Value =
        serde_json::from_str(include_str!("../fixtures/wire/cnapi-reply.json")).unwrap();
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&reply[field], value, "{field} of {reply}");
    }
}

#[test]
fn a_script_that_a_signal_ends_keeps_its_stderr() {
    let mut node = Node::start();
    let reply = node.ask(&script("echo last words >&2; kill -9 $$"));
    assert_eq!(reply["exit_status"], 137);
    assert_eq!(reply["signal"], 9);
    assert_eq!(reply["stderr"], "last words\n");
}

#[test]
fn env_replaces_the_whole_environment() {
    let mut node = Node::start();
    let request = and(script("/usr/bin/env"), "env", json!({"ONLY": "this"}));
    let reply = node.ask(&request);
    let mut names: Vec<String> = text_of(&reply["stdout"])
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()))
        .collect();
    names.sort();
    let ours = ["ONLY", "UR_JOB_DIR", "UR_NODE", "UR_PROGRESS", "UR_REQUEST"];
    assert_eq!(names, ours);
}

#[test]
fn without_env_the_environment_is_that_of_the_agent_less_its_passwords() {
    let mut node = Node::start();
    let seen = node.shell("env");
    assert!(seen.contains("\nPATH=") || seen.starts_with("PATH="));
    assert!(!seen.contains("UR_AMQP_URL"), "{seen}");
}

#[test]
fn arguments_arrive_as_they_are() {
    let mut node = Node::start();
    let args = json!(["", "a b", "$HOME", "'\"\n", "ü", 7]);
    let request = and(script(r#"printf '<%s>' "$@""#), "args", args);
    assert_eq!(node.ask(&request)["stdout"], "<><a b><$HOME><'\"\n><ü><7>");
}

#[test]
fn stdin_is_empty_by_default() {
    let mut node = Node::start();
    assert_eq!(
        node.shell("wc -c; readlink /proc/self/fd/0"),
        "0\n/dev/null\n"
    );
}

#[test]
fn stdin_is_what_the_request_gives() {
    let mut node = Node::start();
    let long = "0123456789".repeat(100_000);
    let request = and(script("wc -c"), "stdin", long);
    assert_eq!(text_of(&node.ask(&request)["stdout"]).trim(), "1000000");
}

#[test]
fn the_working_directory_is_the_one_asked_for() {
    let mut node = Node::start();
    let reply = node.ask(&and(script("pwd"), "cwd", "/usr"));
    assert_eq!(reply["stdout"], "/usr\n");
    assert_eq!(node.shell(r#"test "$(pwd -P)" = "$UR_JOB_DIR""#), "");
}

#[test]
fn an_empty_script_succeeds() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "script", "script": ""}));
    assert_eq!(reply["exit_status"], 0);
}

#[test]
fn a_script_without_an_interpreter_line_runs_under_sh() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "script", "script": "echo plain\n"}));
    assert_eq!(reply["stdout"], "plain\n");
}

#[test]
fn a_script_of_15_megabytes_runs() {
    let mut node = Node::start();
    // RabbitMQ 4 takes 16 MiB.
    let comment = format!("# {}\n", "x".repeat(97)).repeat(150_000);
    let reply = node.ask(&script(&format!("{comment}wc -c <\"$0\"")));
    let bytes: u64 = text_of(&reply["stdout"]).trim().parse().unwrap();
    assert!(bytes > 15_000_000, "{reply}");
}

#[test]
fn a_file_of_the_node_runs_with_arguments() {
    let mut node = Node::start();
    let reply = node.ask(&json!({"type": "file", "file": "/bin/echo", "args": ["from", "file"]}));
    assert_eq!(reply["stdout"], "from file\n");
}

#[test]
fn a_relative_file_is_looked_up_from_the_working_directory_of_the_agent() {
    let mut node = Node::start();
    // cargo runs tests in the package's own directory, and agents inherit it.
    let reply = node.ask(&json!({"type": "file", "file": "../tools/with-broker"}));
    assert_eq!(reply["exit_status"], 2, "{reply}");
    assert!(
        text_of(&reply["stderr"]).contains("usage: with-broker"),
        "{reply}"
    );
}

#[test]
fn a_second_delivery_of_a_running_request_starts_nothing_and_is_told_its_state() {
    let mut node = Node::start();
    let gate = node.agent.dir().join("gate");
    let mark = node.agent.dir().join("mark");
    let request = script(&format!(
        "echo ran >>{}; while ! test -e {}; do sleep 0.05; done; cat {0}",
        mark.display(),
        gate.display()
    ));
    let body = request.to_string();
    node.send_as("r1", body.as_bytes());
    wait_until("the script runs", || mark.exists());
    node.send_as("r1", body.as_bytes());
    let running = node.progress("r1", "running");
    assert!(running["started_at"].is_string(), "{running}");
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply("r1")["stdout"], "ran\n");
}

#[test]
fn a_second_delivery_of_an_ended_request_gets_the_same_reply_and_runs_nothing() {
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let request = script(&format!("echo ran >>{0}; cat {0}", mark.display()));
    let body = request.to_string();
    node.send_as("r1", body.as_bytes());
    let first = node.reply_message("r1");
    node.send_as("r1", body.as_bytes());
    let second = node.reply_message("r1");
    assert_eq!(first.body, second.body);
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
}

#[test]
fn the_same_request_delivered_twice_at_once_runs_once() {
    let mut node = Node::start();
    let mark = node.agent.dir().join("mark");
    let request = script(&format!("echo ran >>{0}; sleep 0.2", mark.display()));
    let body = request.to_string();
    for _ in 0..5 {
        node.send_as("r1", body.as_bytes());
    }
    node.reply("r1");
    node.shell("true");
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
}

#[test]
fn a_status_message_tells_how_far_a_request_is_and_starts_nothing() {
    let mut node = Node::start();
    let id = node.send(&script("true"));
    node.reply(&id);
    node.send_as(&id, br#"{"type":"status"}"#);
    let key = node.key("execute-progress", &id);
    let ended = node.client.wait_for("the status", |message| {
        message.key == key && message.json()["ended_at"].is_string()
    });
    assert!(ended.json()["accepted_at"].is_string());
    node.reply(&id);
}

#[test]
fn a_reply_goes_out_while_a_daemon_of_the_script_holds_its_output() {
    let mut node = Node::start();
    let beat = node.agent.dir().join("beat");
    let reply = node.ask(&script(&format!(
        "setsid sh -c 'while sleep 0.05; do echo x; echo x >>{}; done' & echo started",
        beat.display()
    )));
    assert_eq!(reply["exit_status"], 0);
    assert!(
        text_of(&reply["stdout"]).starts_with("started\n"),
        "{reply}"
    );
    let beats = || fs::read_to_string(&beat).unwrap_or_default().len();
    let before = beats();
    wait_until("the daemon goes on", || beats() > before + 10);
}

#[test]
fn a_reply_goes_out_while_a_daemon_of_the_script_floods_its_output() {
    let mut node = Node::start();
    let reply = node.ask(&script("yes & echo begun >&2; sleep 0.2"));
    assert_eq!(reply["exit_status"], 0, "{reply}");
    assert_eq!(reply["stderr"], "begun\n");
}

#[test]
fn requests_run_side_by_side_up_to_the_limit_and_each_is_answered_once() {
    let setup = crate::support::agent::Setup::args(&["--max-jobs", "8"]);
    let mut node = Node::with(setup);
    let request = script("echo $UR_REQUEST");
    let ids: Vec<String> = (0..300).map(|_| node.send(&request)).collect();
    for id in &ids {
        let reply = node.reply(id);
        assert_eq!(reply["stdout"], format!("{id}\n"), "{reply}");
    }
    node.shell("true");
    let extra = node.client.take(Duration::ZERO, |message| {
        message.key.starts_with("ur.execute-reply.")
    });
    assert_eq!(extra, None);
}

#[test]
fn no_more_than_the_limit_run_at_a_time_and_those_that_wait_say_so() {
    let setup = crate::support::agent::Setup::args(&["--max-jobs", "1"]);
    let mut node = Node::with(setup);
    let log = node.agent.dir().join("order");
    let long = |name: &str| {
        let log = log.display();
        script(&format!(
            "echo {name} >>{log}; sleep 0.2; echo end-{name} >>{log}"
        ))
    };
    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| node.send(&long(name)))
        .collect();
    node.progress(&ids[0], "accepted");
    node.progress(&ids[1], "queued");
    node.progress(&ids[2], "queued");
    for id in &ids {
        node.reply(id);
    }
    let order = fs::read_to_string(&log).unwrap();
    assert_eq!(order, "a\nend-a\nb\nend-b\nc\nend-c\n");
}

#[test]
fn progress_lines_of_the_script_arrive() {
    let mut node = Node::start();
    let id = node.send(&script(
        r#"echo '{"percent":40,"eta":90,"msg":"sdb: pass 1"}' >>"$UR_PROGRESS"; sleep 0.5; echo rubbish >>"$UR_PROGRESS"; echo '{"percent":100}' >>"$UR_PROGRESS""#,
    ));
    let first = node.progress(&id, "running");
    assert_eq!(first["percent"], 40.0);
    assert_eq!(first["eta"], 90.0);
    assert_eq!(first["msg"], "sdb: pass 1");
    assert_eq!(node.progress(&id, "running")["percent"], 100.0);
    assert_eq!(node.reply(&id)["exit_status"], 0);
}

#[test]
fn output_arrives_in_pieces_with_offsets_while_the_script_runs() {
    let mut node = Node::start();
    let gate = node.agent.dir().join("gate");
    let request = script(&format!(
        "echo one; while ! test -e {}; do sleep 0.05; done; echo two",
        gate.display()
    ));
    let id = node.send(&and(request, "stream", true));
    let key = node.key("execute-output", &id);
    let is_piece = |message: &crate::support::client::Received| message.key == key;
    let piece = node.client.wait_for("the first piece", is_piece).json();
    assert_eq!(
        piece,
        json!({"stream": "stdout", "offset": 0, "data": "one\n"})
    );
    fs::create_dir(gate).unwrap();
    let piece = node.client.wait_for("the second piece", is_piece).json();
    assert_eq!(
        piece,
        json!({"stream": "stdout", "offset": 4, "data": "two\n"})
    );
    assert_eq!(node.reply(&id)["stdout"], "one\ntwo\n");
}

#[test]
fn output_is_not_streamed_unless_asked_for() {
    let mut node = Node::start();
    let id = node.send(&script("echo x; sleep 0.5; echo y"));
    node.reply(&id);
    let key = node.key("execute-output", &id);
    let piece = node
        .client
        .take(Duration::ZERO, |message| message.key == key);
    assert_eq!(piece, None);
}

#[test]
fn short_of_memory_the_kernel_ends_a_script_before_the_agent() {
    if !runs(&["sh", "-c", "echo -900 >/proc/self/oom_score_adj"], &[]) {
        return eprintln!("skipped: only root can lower its score, and not everywhere");
    }
    let mut node = Node::start();
    let agent = format!("/proc/{}/oom_score_adj", node.agent.pid());
    assert_eq!(fs::read_to_string(agent).unwrap(), "-900\n");
    assert_eq!(node.shell("cat /proc/self/oom_score_adj"), "0\n");
    let supervisor = "cat /proc/$PPID/oom_score_adj";
    assert_eq!(node.shell(supervisor), "-900\n");
}
