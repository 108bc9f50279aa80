//! Every field of a request, right and wrong.

use serde_json::json;

use super::*;
use crate::ErrorCode;

fn decode(body: &str) -> Result<Message, Refusal> {
    Message::decode(body.as_bytes())
}

fn refusal(body: &str) -> String {
    let refusal = decode(body).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::BadRequest);
    refusal.message
}

#[test]
fn a_request_survives_the_round_trip() {
    let request = Request {
        args: vec!["a".into(), "b c".into()],
        env: Some([("PATH".to_owned(), "/bin".to_owned())].into()),
        stdin: Some("in".into()),
        timeout: Some(Duration::from_millis(1500)),
        cwd: Some("/tmp".into()),
        start_before: Some("2026-01-01T00:00:30.5Z".parse().unwrap()),
        stream: true,
        max_output: 100,
        label: Label {
            name: Some("disk::erase".into()),
            version: Some("1.2.0".into()),
            digest: Some("sha256:00".into()),
        },
        timestamp: Some(json!("2026-01-01T00:00:00Z")),
        origin: Some(json!({"user": "root"})),
        ..Request::script("#!/bin/sh\ntrue\n")
    };
    let read = Message::decode(&request.encode()).unwrap();
    assert_eq!(read, Message::Run(Box::new(request)));
}

#[test]
fn a_limit_is_added_to_what_is_encoded_already() {
    let request = Request::script("true");
    let limit = "2026-01-01T00:00:30.5Z".parse().unwrap();
    let read = Message::decode(&Request::with_start_before(&request.encode(), limit));
    let expected = Request {
        start_before: Some(limit),
        ..request
    };
    assert_eq!(read, Ok(Message::Run(Box::new(expected))));
}

#[test]
fn a_plain_request_has_no_field_that_ur_did_not_know() {
    let message: Value = serde_json::from_slice(&Request::script("true").encode()).unwrap();
    let names: Vec<&String> = message.as_object().unwrap().keys().collect();
    assert_eq!(names, ["args", "script", "type"]);
}

#[test]
fn numbers_booleans_and_null_in_args_and_env_become_text() {
    let read =
        decode(r#"{"type":"script","script":"","args":[1,true,2.5,null],"env":{"N":7,"E":null}}"#);
    let Message::Run(request) = read.unwrap() else {
        panic!("not a request")
    };
    assert_eq!(request.args, ["1", "true", "2.5", "null"]);
    let env = request.env.unwrap();
    assert_eq!((env["N"].as_str(), env["E"].as_str()), ("7", "null"));
}

#[test]
fn null_is_as_good_as_absent_and_unknown_fields_are_ignored() {
    let read = decode(r#"{"type":"script","script":"x","args":null,"env":null,"new":{}}"#);
    assert_eq!(read, Ok(Message::Run(Box::new(Request::script("x")))));
}

#[test]
fn a_refusal_names_the_field_and_what_is_wrong_with_it() {
    assert!(refusal("{").contains("not JSON"));
    assert!(refusal("").contains("not JSON"));
    assert!(refusal(&"[".repeat(200_000)).contains("not JSON"));
    assert!(refusal("[]").contains("an array, not an object"));
    assert!(refusal("null").contains("null"));
    assert!(refusal("{}").contains("`type` is missing"));
    assert!(refusal(r#"{"type":"scrpt"}"#).contains("\"scrpt\""));
    assert!(refusal(r#"{"type":7}"#).contains("`type` is 7"));
    assert!(refusal(r#"{"type":"script"}"#).contains("`script` is missing"));
    assert!(refusal(r#"{"type":"script","script":[]}"#).contains("`script` is an array"));
    assert!(refusal(r#"{"type":"file"}"#).contains("`file` is missing"));
    assert!(refusal(r#"{"type":"file","file":""}"#).contains("`file` is empty"));
    let with = |field: &str| refusal(&format!(r#"{{"type":"script","script":"",{field}}}"#));
    assert!(with(r#""args":"x""#).contains("`args` is a string"));
    assert!(with(r#""args":[[]]"#).contains("`args[0]` is an array"));
    assert!(with(r#""args":["a\u0000b"]"#).contains("NUL"));
    assert!(with(r#""env":["A=1"]"#).contains("`env` is an array"));
    assert!(with(r#""env":{"A=B":"1"}"#).contains("A=B"));
    assert!(with(r#""env":{"A":{}}"#).contains("`env"));
    assert!(with(r#""env":{"A":"a\u0000b"}"#).contains("NUL"));
    assert!(with(r#""env":{"A\u0000B":"a"}"#).contains("NUL"));
    assert!(with(r#""start_before":"noon""#).contains("RFC 3339"));
    assert!(with(r#""start_before":7"#).contains("`start_before` is 7"));
    assert!(with(r#""timeout":0"#).contains("above 0"));
    assert!(with(r#""timeout":-1"#).contains("`timeout` is -1"));
    assert!(with(r#""max_output":99999999999"#).contains("up to"));
    assert!(with(r#""stream":"yes""#).contains("true or false"));
    let long = "x".repeat(257);
    assert!(with(&format!(r#""digest":"{long}""#)).contains("`digest` has 257 bytes"));
}

#[test]
fn requests_that_run_the_same_have_the_same_content_whoever_sent_them_and_when() {
    let content = |body: &str| match decode(body).unwrap() {
        Message::Run(request) => request.content(),
        Message::Status { .. } | Message::Jobs => panic!("no request"),
    };
    let first = content(r#"{"type":"script","script":"echo A"}"#);
    assert_eq!(first.len(), 64);
    let aside = r#"{ "start_before":"2026-01-01T00:00:30Z", "origin":{"user":"root"}, "timestamp":7, "stream":true,
        "max_output":7, "env":null, "new":[], "script":"echo \u0041", "type":"script"}"#;
    assert_eq!(content(aside), first);
    for other in [
        r#"{"type":"script","script":"echo B"}"#,
        r#"{"type":"file","file":"echo A"}"#,
        r#"{"type":"script","script":"echo A","args":["x"]}"#,
        r#"{"type":"script","script":"echo A","env":{}}"#,
        r#"{"type":"script","script":"echo A","stdin":""}"#,
        r#"{"type":"script","script":"echo A","cwd":"/"}"#,
        r#"{"type":"script","script":"echo A","timeout":1}"#,
        r#"{"type":"script","script":"echo A","version":"1.0.0"}"#,
    ] {
        assert_ne!(content(other), first, "{other}");
    }
}

#[test]
fn a_note_that_is_too_long_to_be_repeated_is_no_reason_to_refuse() {
    let long = "x".repeat(5000);
    let body = format!(r#"{{"type":"script","script":"","origin":"{long}","timestamp":"t"}}"#);
    let Ok(Message::Run(request)) = decode(&body) else {
        panic!("refused");
    };
    assert_eq!(
        (request.origin, request.timestamp),
        (None, Some(json!("t")))
    );
}

#[test]
fn more_arguments_than_a_kernel_takes_are_refused_before_they_are_read() {
    let many = "1,".repeat(3_000_000);
    let body = format!(r#"{{"type":"script","script":"","args":[{many}1]}}"#);
    let refusal = decode(&body).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::CannotExecute);
    assert!(refusal.message.contains("`args` has 6000003 bytes"));
}
