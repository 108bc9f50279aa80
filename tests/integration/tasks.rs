//! `ur run` and `ur task` with real tasks on a real node.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::operator::Said;
use crate::support::operator_home::{Desk, write};
use crate::support::text_of;

/// Prints what it was given.
const ECHO: &str = r#"#!/bin/sh
printf '{"stdin":%s,"level":"%s","serials":%s,"path":"%s"}' "$(cat)" "$PT_level" "$PT_serials" "$PATH"
"#;

fn erase() -> Value {
    json!({
        "description": "Erases.", "supports_noop": true,
        "parameters": {
            "level": {"type": "Enum[clear, purge]", "default": "clear"},
            "serials": {"type": "Array[String[1], 1]"},
            "key": {"type": "Optional[Pattern[/\\A[a-z0-9]+\\z/]]", "sensitive": true},
        },
        "extensions": {"ur": {"version": "1.2.0", "class": "destructive", "confirm": "serials"}},
    })
}

fn inspect() -> Value {
    let mut metadata = erase();
    metadata["extensions"]["ur"]["class"] = json!("inspect");
    metadata
}

#[test]
fn a_task_gets_its_parameters_twice_and_its_label_comes_back() {
    let desk = Desk::new();
    desk.task("my::echo", &inspect(), ECHO);
    let result = desk.result(&["my::echo", "serials=[\"S1\"]"]);
    let stdin = json!({"_task": "my::echo", "level": "clear", "serials": ["S1"]});
    assert_eq!(result["value"]["stdin"], stdin, "{result}");
    assert_eq!(result["value"]["level"], "clear");
    assert_eq!(result["value"]["serials"], json!(["S1"]));
    assert!(text_of(&result["value"]["path"]).contains("/usr/sbin"));
    let reply = &result["result"];
    assert_eq!(
        (&reply["name"], &reply["version"]),
        (&json!("my::echo"), &json!("1.2.0"))
    );
    let digest = text_of(&reply["digest"]);
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{reply}"
    );
    let job = desk
        .node
        .job(&text_of(&result["request"]))
        .join("request.json");
    assert!(fs::read_to_string(job).unwrap().contains(&digest));
}

#[test]
fn a_wrong_parameter_is_a_usage_error_and_nothing_is_sent() {
    let desk = Desk::new();
    desk.task("my::echo", &inspect(), ECHO);
    let serials = "serials=[\"S1\"]";
    let ur = |words: &[&str]| desk.ur(&[&["run", "-a", "my::echo"], words].concat());
    ur(&[serials, "level=low"]).is(2, &["`level`", "Enum[clear, purge]", "\"low\""]);
    ur(&[serials, "lvel=clear"]).is(2, &["`lvel`", "level"]);
    ur(&[]).is(2, &["`serials`", "missing"]);
    ur(&["--params", r#"{"serials": "S1"}"#]).is(2, &["`serials`", "Array[String[1], 1]"]);
    ur(&["--params", "[]"]).is(2, &["--params"]);
    ur(&[serials, "clear"]).is(2, &["NAME=VALUE"]);
    assert_eq!(desk.requests(), 0);
}

#[test]
fn an_error_in_the_result_is_a_failure_whatever_the_exit_status() {
    let desk = Desk::new();
    let error =
        r#"echo '{"_error":{"msg":"no such disk","kind":"disk/none","details":{"disk":"sdx"}}}'"#;
    desk.task("my::soft", &json!({}), error);
    desk.task("my::hard", &json!({}), &format!("{error}; exit 7"));
    let said = desk.ur(&["run", "-a", "my::soft"]);
    said.is(3, &["no such disk (disk/none), exit 1", "sdx"]);
    desk.ur(&["run", "-a", "my::hard"])
        .is(3, &["no such disk", "exit 7"]);
}

#[test]
fn output_that_is_no_object_is_output_all_the_same() {
    let desk = Desk::new();
    desk.task("my::plain", &json!({}), "echo plain words");
    assert_eq!(
        desk.result(&["my::plain"])["value"],
        json!({"_output": "plain words\n"})
    );
    desk.ur(&["run", "-a", "my::plain"])
        .is(0, &["testnode  plain words\n"]);
}

#[test]
fn an_error_in_a_result_with_exit_status_0_is_told_alike_by_run_and_why() {
    let desk = Desk::new();
    let error = r#"{"_error":{"msg":"no disk","kind":"disk/none"}}"#;
    desk.task("my::fails", &json!({}), &format!("echo '{error}'"));
    let ended = "no disk (disk/none), exit 1";
    desk.ur(&["run", "-a", "--request", "r1", "my::fails"])
        .is(3, &[&format!("=== testnode: {ended}")]);
    desk.ur(&["why", "testnode", "r1"])
        .is(0, &[&format!("ended: {ended}, after ")]);
}

#[test]
fn noop_reaches_the_task_that_supports_it_and_no_other() {
    let desk = Desk::new();
    desk.task("my::echo", &erase(), ECHO);
    let result = desk.result(&["my::echo", "--noop", "serials=[\"S1\"]"]);
    assert_eq!(result["value"]["stdin"]["_noop"], true, "{result}");
    desk.ur(&["runs"])
        .is(0, &["my::echo level=clear serials=[\"S1\"] --noop  1 ok"]);
    desk.task("my::plain", &json!({}), "true");
    desk.ur(&["run", "-a", "--noop", "my::plain"])
        .is(2, &["does not support --noop"]);
    assert_eq!(desk.requests(), 1);
}

#[test]
fn a_secret_reaches_the_task_and_is_shown_nowhere() {
    let desk = Desk::new();
    desk.task("my::key", &inspect(), "echo \"${#PT_key}\"");
    write(
        &desk.home.path().join("p.json"),
        r#"{"serials": ["S1"], "key": "hush77"}"#,
    );
    let said = desk.ur(&["run", "-a", "-v", "my::key", "--params", "@p.json"]);
    said.is(0, &["6"]);
    assert!(!format!("{}{}", said.out, said.err).contains("hush"));
    let said = desk.ur(&["run", "-a", "my::key", "serials=[\"S1\"]", "key=HUSH"]);
    said.is(2, &["`key`", "[sensitive]"]);
    assert!(!said.err.contains("HUSH"), "{}", said.err);
    assert!(!desk.node.agent.log().contains("hush"));
}

#[test]
fn what_destroys_asks_first_and_refuses_where_nobody_can_be_asked() {
    let desk = Desk::new();
    desk.task("my::erase", &erase(), "echo '{\"erased\":true}'");
    let words = ["run", "-a", "my::erase", "serials=[\"S1\"]"];
    desk.ur(&words).is(2, &["destructive", "--yes"]);
    let mut lenient = erase();
    lenient["parameters"]["serials"]["type"] = json!("Optional[Array[String[1], 1]]");
    desk.task("my::lenient", &lenient, "true");
    desk.ur(&["run", "-a", "--yes", "my::lenient"])
        .is(2, &["`serials`", "destroyed"]);
    on_a_terminal(&desk, "my::erase", "7")
        .is(1, &["my::erase 1.2.0", "testnode", "S1", "not confirmed"]);
    assert_eq!(desk.requests(), 0);
    on_a_terminal(&desk, "my::erase", "1").is(0, &["{\"erased\":true}"]);
    desk.ur(&[&words[..], &["--yes"]].concat())
        .is(0, &["{\"erased\":true}"]);
}

/// Types an answer on a terminal of its own, as soon as it is asked for one.
fn on_a_terminal(desk: &Desk, task: &str, answer: &str) -> Said {
    let ur = &ur_tests::program("ur");
    let mut command = Command::new("/bin/sh");
    let line = format!("{ur} run -q -a {task} 'serials=[\"S1\"]' key=hush77");
    let types = r#"for i in $(seq 600); do
            grep -qs 'how many nodes' "$2" && break
            sleep 0.05
        done
        echo "$1""#;
    let seen = desk.home.path().join(format!("typescript{answer}"));
    command
        .args([
            "-c",
            &format!("{{ {types}; }} | script -qefc \"$0\" \"$2\""),
        ])
        .args([&line, answer])
        .arg(seen);
    let said = desk.run(command);
    assert!(said.out.contains("key=[sensitive]"), "{}", said.out);
    said
}

#[test]
fn a_built_in_task_runs_unless_a_module_of_the_operator_has_its_name() {
    let desk = Desk::new();
    let ours = desk.result(&["ur::sysinfo"]);
    assert!(
        ours["value"]["UUID"].is_string() || ours["value"]["Hostname"].is_string(),
        "{ours}"
    );
    assert_eq!(ours["result"]["name"], "ur::sysinfo");
    let dir = desk.home.path().join("mine");
    write(
        &dir.join("ur/tasks/sysinfo.sh"),
        "#!/bin/sh\necho '{\"mine\":true}'\n",
    );
    let modulepath = ["--modulepath", "mine"];
    let mine = desk.result(&[&modulepath[..], &["ur::sysinfo"]].concat());
    assert_eq!(mine["value"], json!({"mine": true}));
    desk.ur(&[&["tasks"], &modulepath[..]].concat())
        .lists(&["ur::sysinfo", "-", "-"]);
}

#[test]
fn shared_shell_code_travels_inside_the_script() {
    let desk = Desk::new();
    desk.file(
        "lib/files/answer.sh",
        "# shellcheck shell=sh\nanswer() { printf '{\"answer\":%s}' \"$1\"; }\n",
    );
    let script = "#!/bin/sh\n# shellcheck source=../../lib/files/answer.sh\n. \"$PT__installdir/lib/files/answer.sh\"\nanswer 42\n";
    desk.task(
        "my::shared",
        &json!({"files": ["lib/files/answer.sh"]}),
        script,
    );
    let result = desk.result(&["my::shared"]);
    assert_eq!(result["value"], json!({"answer": 42}), "{result}");
}

#[test]
fn a_task_in_another_language_runs_with_its_files_and_leaves_nothing() {
    let desk = Desk::new();
    desk.file(
        "my/files/helper/answer.py",
        "def answer():\n    return 42\n",
    );
    desk.file("my/files/raw", "\u{1}bytes\n");
    desk.file(
        "my/tasks/python.json",
        &json!({"files": ["my/files/"], "input_method": "stdin"}).to_string(),
    );
    let script = "#!/usr/bin/env -S python3 -B\nimport json, os, sys\nparams = json.load(sys.stdin)\n\
                  sys.path.append(os.path.join(params['_installdir'], 'my/files/helper'))\nfrom answer import answer\n\
                  print(json.dumps({'answer': answer(), 'x': params['x'], 'dir': params['_installdir'], 'file': __file__}))\n";
    desk.file("my/tasks/python.py", script);
    let result = desk.result(&["my::python", "x=a \"b\""]);
    let value = &result["value"];
    assert_eq!(
        (&value["answer"], &value["x"]),
        (&json!(42), &json!("a \"b\"")),
        "{result}"
    );
    assert_eq!(
        text_of(&value["file"]),
        format!("{}/my/tasks/python.py", text_of(&value["dir"]))
    );
    assert!(!Path::new(&text_of(&value["dir"])).exists());
    desk.file(
        "my/tasks/python.py",
        "#!/usr/bin/env python3\nimport sys\nsys.exit(7)\n",
    );
    desk.ur(&["run", "-a", "my::python"]).is(3, &["exit 7"]);
}

#[test]
fn a_local_file_is_a_task_too() {
    let desk = Desk::new();
    write(
        &desk.home.path().join("here.sh"),
        "#!/bin/sh\necho \"$PT_a $PT__task\"\n",
    );
    desk.ur(&["run", "-a", "./here.sh", "a=1"])
        .is(0, &["testnode  1 local::here\n"]);
    write(&desk.home.path().join("here.json"), r#"{"parameters": {}}"#);
    desk.ur(&["run", "-a", "./here.sh", "a=1"])
        .is(2, &["no parameter `a`"]);
}

#[test]
fn the_time_limit_of_the_metadata_holds_unless_another_is_given() {
    let desk = Desk::new();
    let metadata = json!({"extensions": {"ur": {"timeout": 0.2}}});
    desk.task("my::slow", &metadata, "sleep 1; echo done");
    desk.ur(&["run", "-a", "my::slow"]).is(3, &["timed out"]);
    desk.ur(&["run", "-a", "--timeout", "30", "my::slow"])
        .is(0, &["done"]);
}

#[test]
fn content_that_changed_under_a_released_version_is_found() {
    let desk = Desk::new();
    let modules = desk.home.path().join(".ur/modules");
    let dir = modules.to_str().unwrap();
    desk.ur(&["task", "new", "my::greet"])
        .is(0, &["my/tasks/greet.sh"]);
    desk.ur(&["task", "check", dir])
        .is(0, &["nothing to be put right"]);
    desk.ur(&["task", "lock", dir]).is(0, &["1 new"]);
    desk.ur(&["task", "check", dir]).is(0, &[]);
    let script = modules.join("my/tasks/greet.sh");
    let text = fs::read_to_string(&script).unwrap();
    write(&script, &text.replace("hello", "bye"));
    desk.ur(&["task", "check", dir])
        .is(1, &["my::greet", "0.1.0", "raise"]);
    desk.ur(&["task", "lock", dir])
        .is(1, &["nothing was recorded"]);
    let metadata = modules.join("my/tasks/greet.json");
    let text = fs::read_to_string(&metadata).unwrap();
    write(&metadata, &text.replace("0.1.0", "0.1.1"));
    desk.ur(&["task", "lock", dir]).is(0, &["1 new"]);
    assert_eq!(
        desk.result(&["my::greet", "name=you"])["value"]["greeting"],
        "bye you"
    );
}

#[test]
fn metadata_that_is_not_understood_is_told_with_file_and_key_and_hides_no_task() {
    let desk = Desk::new();
    desk.task(
        "my::bad",
        &json!({"parameters": {"x": {"type": "Regexp"}}}),
        "true",
    );
    desk.task(
        "my::good",
        &json!({"description": "Is good. And more."}),
        "true",
    );
    let said = desk.ur(&["tasks"]);
    said.is(1, &["my/tasks/bad.json", "`parameters.x.type`", "`Regexp`"]);
    said.lists(&["my::good", "-", "-", "Is", "good"]);
    desk.ur(&["run", "-a", "my::bad"])
        .is(1, &["my/tasks/bad.json"]);
    assert_eq!(desk.requests(), 0);
}
