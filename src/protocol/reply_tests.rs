//! Tests of replies: each outcome as it is published, and read again.

use super::*;
use crate::Request;
use serde_json::json;

#[test]
fn every_ending_a_node_knows_survives_the_round_trip() {
    let refusal = |code| Outcome::Refused(Refusal::new(code, "why"));
    for outcome in [
        Outcome::Exited { status: 0 },
        Outcome::Exited { status: 255 },
        Outcome::Signalled { signal: 9 },
        Outcome::TimedOut,
        Outcome::Cancelled,
        refusal(ErrorCode::BadRequest),
        refusal(ErrorCode::NotFound),
        refusal(ErrorCode::UnknownRequest),
        refusal(ErrorCode::Storage),
        Outcome::Undetermined {
            message: "supervisor died".into(),
        },
    ] {
        let wire = Reply::of(&outcome).encode();
        let (reply, length) = (Reply::of(&outcome), wire.len());
        assert_eq!(reply.encode_within(length), Ok(wire.clone()));
        assert_eq!(reply.encode_within(length - 1), Err(length));
        let read: Reply = serde_json::from_slice(&wire).unwrap();
        assert_eq!(read.outcome(), outcome);
    }
}

#[test]
fn the_exit_status_is_the_number_a_shell_would_give() {
    let status = |outcome: Outcome| Reply::of(&outcome).exit_status;
    let refused = |code| status(Outcome::Refused(Refusal::new(code, "")));
    assert_eq!(status(Outcome::Signalled { signal: 9 }), json!(137));
    assert_eq!(status(Outcome::TimedOut), json!(124));
    assert_eq!(status(Outcome::Cancelled), json!(143));
    assert_eq!(refused(ErrorCode::BadRequest), json!(125));
    assert_eq!(refused(ErrorCode::CannotExecute), json!(126));
    assert_eq!(refused(ErrorCode::NotFound), json!(127));
    assert_eq!(refused(ErrorCode::UnknownRequest), json!(125));
}

#[test]
fn the_reason_stands_in_stderr_too_where_a_script_wrote_nothing_and_is_told_once() {
    let refused = Outcome::Refused(Refusal::new(ErrorCode::CannotExecute, "a directory"));
    let mut reply = Reply::of(&refused);
    assert_eq!(reply.stderr, "a directory\n");
    reply.set_stderr(Text::of(Vec::new()), 0);
    assert_eq!(reply.stderr, "a directory\n");
    assert_eq!(reply.stderr_as_bytes(), b"");
    reply.set_stderr(Text::of(b"from the script".to_vec()), 15);
    assert_eq!(reply.stderr_as_bytes(), b"from the script");
    assert_eq!(Reply::of(&Outcome::TimedOut).stderr, "");
}

#[test]
fn a_reply_is_meant_for_the_sender_of_its_content_and_a_conflict_for_no_other() {
    let [first, second] = ["echo A", "echo B"].map(|text| Request::script(text).content());
    let of = |outcome: &Outcome, content: &str| Reply {
        content: Some(content.to_owned()),
        ..Reply::of(outcome)
    };
    let refusal = Refusal::new(ErrorCode::Conflict, "another content");
    let conflict = of(&Outcome::Refused(refusal), &second);
    let ended = of(&Outcome::Exited { status: 0 }, &first);
    assert!(conflict.is_meant_for(Some(&second)) && ended.is_meant_for(Some(&first)));
    assert!(!conflict.is_meant_for(Some(&first)) && !ended.is_meant_for(Some(&second)));
    assert!(!conflict.is_meant_for(None) && ended.is_meant_for(None));
    // Agents that do not say what they answer to.
    assert!(Reply::of(&Outcome::Cancelled).is_meant_for(Some(&first)));
}

#[test]
fn what_a_newer_agent_says_besides_is_kept_and_what_is_known_is_not_told_twice() {
    let full = Reply {
        stdout_base64: Some(String::new()),
        stderr_base64: Some(String::new()),
        stdout_bytes: Some(0),
        stderr_bytes: Some(0),
        signal: Some(9),
        timed_out: true,
        cancelled: true,
        reboot: true,
        started_at: Some(Timestamp::UNIX_EPOCH),
        duration_ms: Some(0),
        usage: Some(Usage::default()),
        error: Some(Refusal::bad_request("")),
        name: Some(String::new()),
        version: Some(String::new()),
        digest: Some(String::new()),
        content: Some(String::new()),
        agent: Some(String::new()),
        ..Reply::default()
    };
    let mut wire = json!(full);
    let names: Vec<&String> = wire.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), field_names().len());
    wire["cgroup"] = json!({"oom_kills": 1});
    let (read, unknown) = Reply::decode(wire.to_string().as_bytes()).unwrap();
    assert_eq!(read, full);
    assert_eq!(Value::from(unknown), json!({"cgroup": {"oom_kills": 1}}));
}

#[test]
fn an_older_agents_not_found_is_an_unknown_request_where_nothing_ran() {
    let of = |code| Reply::of(&Outcome::Refused(Refusal::new(code, "")));
    assert!(of(ErrorCode::UnknownRequest).is_unknown_request());
    let mut missing = of(ErrorCode::NotFound);
    assert!(missing.is_unknown_request());
    missing.stdout_bytes = Some(0);
    assert!(!missing.is_unknown_request());
    assert!(!of(ErrorCode::Busy).is_unknown_request());
}

#[test]
fn a_script_that_asks_for_a_reboot_has_succeeded() {
    let reply = Reply::of(&Outcome::Exited {
        status: REBOOT_STATUS,
    });
    assert_eq!(reply.exit_status, json!(0));
    assert!(reply.reboot);
    assert_eq!(reply.outcome(), Outcome::Exited { status: 0 });
}

#[test]
fn a_reply_of_a_node_js_agent_is_understood() {
    let read = |body| serde_json::from_value::<Reply>(body).unwrap();
    let killed = read(json!({"exit_status": 1, "stdout": "x"}));
    assert_eq!(killed.outcome(), Outcome::Exited { status: 1 });
    assert_eq!(killed.stderr, "");
    let missing = read(json!({"exit_status": "ENOENT", "stdout": "", "stderr": ""}));
    assert_eq!(missing.outcome().state(), "refused");
}
