//! Bytes from outside: whatever they are, nothing panics, a refusal says why, what is accepted is valid,
//! and what is written is read back. `PROPTEST_CASES` sets how many of each are tried; what once failed
//! stands in `proptest-regressions/` and is tried first.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use broker::Url;
use job::capture::{Captured, follow};
use job::{Job, Spool};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{Index, select};
use protocol::{ErrorCode, Label, Message, NodeId, Reply, Request, RequestId, RoutingKey, Text};
use serde_json::Value;

use crate::support::agent::Setup;
use crate::support::{Node, code};

const RECORD: &str = r#"{"format":1,"node":"n1","routing_key":"ur.execute.n1.r1","received_at":"2026-01-01T00:00:00Z","message":{"type":"script","script":"echo x","max_output":100}}"#;
const PIDS: &str = r#"{"supervisor":{"pid":7,"start_time":1,"boot_id":"x"},"script":{"pid":8,"start_time":1,"boot_id":"x"},"started_at":"2026-01-01T00:00:00Z"}"#;
const END: &str = r#"{"outcome":{"state":"exited","status":0},"ended_at":"2026-01-01T00:00:00Z","started_at":null,"duration_ms":3,"usage":{"cpu_seconds":0.1,"max_rss_bytes":1},"stdout_bytes":5,"stderr_bytes":0}"#;
const UNHEARD_OF: &str = r#"{"outcome":{"state":"no_answer"},"ended_at":"2026-01-01T00:00:00Z","started_at":null,"duration_ms":null,"usage":null,"stdout_bytes":0,"stderr_bytes":0}"#;
const FILE: &str =
    r#"{"type":"file","file":"/bin/true","args":[1,true,"x"],"env":{"A":"b"},"timeout":1e308}"#;
const REPLY: &str = r#"{"exit_status":"ENOENT","stdout":"x","error":{"code":"new","message":""}}"#;

/// One of these texts with a few bytes changed, put in or left out: most of it is understood, so that the
/// rest is reached.
fn almost(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), select(b"\0\"{}[]:,.-0e9$%@/#*\n\\".to_vec())];
    let edits = vec((any::<Index>(), byte, 0..3_u8), 0..6);
    (select(texts), edits).prop_map(|(text, edits)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.splice(at..bytes.len().min(at + 1), [byte])),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    })
}

fn label() -> impl Strategy<Value = Label> {
    let text = || option::of(".*");
    (text(), text(), text()).prop_map(|(name, version, digest)| Label {
        name,
        version,
        digest,
    })
}

/// Anything that a sender may ask for.
fn request() -> impl Strategy<Value = Request> {
    let word = "[^\0]{0,20}";
    let env = option::of(btree_map("[^=\0]{1,8}", word, 0..3));
    let program = prop_oneof![
        ".*".prop_map(Request::script),
        "[^\0]{1,20}".prop_map(Request::file)
    ];
    let timeout = option::of((1..100_000_000_u64).prop_map(Duration::from_millis));
    let more = (any::<bool>(), 0..=64 * 1024 * 1024_u64, label());
    (
        program,
        vec(word, 0..4),
        env,
        option::of(".*"),
        option::of(word),
        timeout,
        more,
    )
        .prop_map(|(program, args, env, stdin, cwd, timeout, more)| Request {
            args,
            env,
            stdin,
            cwd,
            timeout,
            stream: more.0,
            max_output: more.1,
            label: more.2,
            ..program
        })
}

fn put(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(bytes).expect("writing it");
}

/// Files of a job as they may be after a bad disk, a newer version, or a script that writes beside its own.
fn job_files() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let file = prop_oneof![
        (Just("request.json"), almost(&[RECORD])),
        (Just("pid"), almost(&[PIDS])),
        (Just("outcome.json"), almost(&[END, UNHEARD_OF])),
        (Just("stdout"), vec(any::<u8>(), 0..300)),
        (
            Just("stdout.total"),
            almost(&["00000000000000000200", "18446744073709551615"])
        ),
        (Just("progress"), almost(&["{\"percent\":1}\n"])),
    ];
    vec(file, 0..6)
}

proptest! {
    #[test]
    fn a_routing_key_is_none_or_survives_the_round_trip(text in "(ur|.{0,3})(\\.[^.]{0,9}|\\.execute|\\.ack.?){0,5}") {
        if let Ok(key) = RoutingKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn what_names_a_node_or_a_request_is_one_word_of_a_key_and_of_a_path(text in "[a-zA-Z0-9_.#*/\0-]{0,140}") {
        let node = NodeId::parse(&text).map(|id| id.to_string());
        let request = RequestId::parse(&text).map(|id| id.to_string());
        if let Err(refusal) = &request {
            prop_assert_eq!(refusal.code, ErrorCode::BadRequest);
        }
        for word in node.into_iter().chain(request) {
            prop_assert!(!word.is_empty() && !word.contains(['.', '#', '*', '/', '\0']));
            prop_assert_eq!(word, text.as_str());
        }
    }

    #[test]
    fn a_request_is_read_or_refused_in_words_that_an_answer_has_room_for(
        body in prop_oneof![almost(&[FILE, RECORD, r#"{"type":"script","script":"x"}"#]), vec(any::<u8>(), 0..100)]
    ) {
        if let Err(refusal) = Message::decode(&body) {
            prop_assert_eq!(refusal.code, ErrorCode::BadRequest);
            prop_assert!((1..5000).contains(&refusal.message.len()));
        }
    }

    #[test]
    fn any_request_survives_the_round_trip(request in request()) {
        let read = Message::decode(&request.encode()).unwrap();
        prop_assert_eq!(read, Message::Run(Box::new(request)));
    }

    #[test]
    fn a_reply_that_can_be_read_has_an_outcome(body in almost(&[REPLY, r#"{"exit_status":7,"signal":9}"#])) {
        if let Ok(reply) = serde_json::from_slice::<Reply>(&body) {
            let again: Value = serde_json::from_slice(&reply.encode()).unwrap();
            prop_assert!(again.is_object());
            prop_assert!(!reply.outcome().to_string().is_empty());
        }
    }

    #[test]
    fn output_that_is_no_text_loses_nothing(bytes in vec(any::<u8>(), 0..200)) {
        let text = Text::of(bytes.clone());
        prop_assert_eq!(text.base64.is_none(), std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn a_url_never_tells_its_password(
        user in "[a-z]{1,8}", more in "[ -~]{0,12}", host in "[a-z.:0-9\\[\\]]{0,12}", rest in "(/[ -~]{0,9})?"
    ) {
        let text = format!("amqp://{user}:s3cr3t{more}@{host}{rest}");
        let said = match text.parse::<Url>() {
            Ok(url) => format!("{url} {url:?}"),
            Err(error) => format!("{error:#} {error:?}"),
        };
        prop_assert!(!said.contains("s3cr3t"), "{}", said);
    }

    #[test]
    fn a_url_is_read_or_refused(text in almost(&["amqp://u:p@h:5672/v?heartbeat=5", "amqp://[fd00::1]:1/%2f", "amqps://h"])) {
        if let Err(error) = String::from_utf8_lossy(&text).parse::<Url>() {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_job_directory_is_read_or_an_error_says_which_file_it_is(files in job_files()) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let path = spool.jobs_dir().join("r1");
        fs::create_dir(&path).unwrap();
        for (name, bytes) in &files {
            put(&path.join(name), bytes);
        }
        let job = Job::at(&path).unwrap();
        let max = match job.message() {
            Ok(Message::Run(request)) => request.max_output,
            _ => 100,
        };
        let wrong = [
            job.record().err(),
            job.pids().err(),
            job.outcome().err(),
            Captured::read(&job.path("stdout"), max, u64::MAX).err(),
            follow(&job.path("stdout"), max, 0, 64).err(),
        ];
        for error in wrong.into_iter().flatten() {
            prop_assert!(format!("{error:#}").contains("r1"), "{:#}", error);
        }
        prop_assert!(spool.jobs().unwrap().len() <= 1);
    }

    #[test]
    fn captured_output_never_exceeds_what_was_asked_for(
        stdout in vec(any::<u8>(), 0..300), total in almost(&["00000000000000000200"]), max in 0..200_u64
    ) {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("stdout"), &stdout);
        put(&dir.path().join("stdout.total"), &total);
        if let Ok(captured) = Captured::read(&dir.path().join("stdout"), max, u64::MAX) {
            prop_assert!(captured.bytes().len() as u64 <= max);
        }
    }
}

/// What a strategy comes up with, the same each time.
fn samples<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sample = || strategy.new_tree(&mut runner).expect("a sample").current();
    (0..count).map(|_| sample()).collect()
}

#[test]
fn an_agent_serves_beside_300_spoilt_jobs_and_leaves_what_it_cannot_read() {
    let mut node = Node::start();
    node.agent.kill();
    let jobs = node.agent.state_dir().join("jobs");
    let mut unreadable = 0;
    for (i, files) in samples(&job_files(), 300).iter().enumerate() {
        let dir = jobs.join(format!("spoilt{i}"));
        fs::create_dir(&dir).unwrap();
        files
            .iter()
            .for_each(|(name, bytes)| put(&dir.join(name), bytes));
        let job = Job::at(&dir).unwrap();
        unreadable += usize::from(job.path("request.json").exists() && job.record().is_err());
    }
    node.agent.start_again();
    node.wait_until_announced();
    assert_eq!(node.shell("echo well"), "well\n");
    let told = node
        .agent
        .log()
        .matches("its directory is left alone")
        .count();
    assert_eq!(told, unreadable);
    assert!(unreadable > 20, "{unreadable} of 300 say nothing");
    assert!(fs::read_dir(jobs).unwrap().count() >= 300);
}

#[test]
fn an_agent_answers_a_ping_after_500_messages_that_are_almost_requests() {
    let mut node = Node::with(Setup::args(&["--max-jobs", "4"]));
    let bodies = almost(&[r#"{"type":"script","script":"exit 3","timeout":5}"#]);
    for body in samples(&bodies, 500) {
        let id = uuid::Uuid::new_v4().to_string();
        node.send_as(&id, &body);
        let reply = node.reply(&id);
        // What was spoilt may still be a script, of another text.
        assert!(reply["exit_status"].is_u64(), "{reply}");
        if reply["exit_status"] == 125 {
            assert_eq!(code(&reply), "bad_request", "{reply}");
        }
    }
    assert_eq!(node.shell("echo well"), "well\n");
}
