//! Tests of admission: what becomes a job, what is known, what is refused and what is ignored.

use super::*;
use std::time::Duration;

use proptest::prelude::proptest;
use proptest::sample::select;

fn at(rebooting: bool, waiting: usize, check: impl FnOnce(&mut AdmissionControl)) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let node = NodeId::parse("n1").unwrap();
    check(&mut AdmissionControl {
        node: &node,
        spool: &spool,
        waiting,
        rebooting,
        now: &|| None,
        refusals: &mut RecentRefusals::default(),
    });
}

/// As the agent does with a message that came alone.
fn admit(control: &mut AdmissionControl, key: &str, body: &[u8]) -> Admission {
    match control.admit(key, body) {
        Admission::New(new, terms) => {
            let created = control.spool.commit(vec![new]).remove(0);
            control.committed(created, (key, body), terms)
        }
        admission => admission,
    }
}

fn code(admission: &Admission) -> ErrorCode {
    match admission {
        Admission::Refuse(_, reply) => reply.error.as_ref().unwrap().code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_request_is_a_job_once_and_known_ever_after() {
    at(false, 0, |control| {
        let body = Request::script("true").encode();
        assert!(matches!(
            admit(control, "ur.execute.n1.r1", &body),
            Admission::Start(..)
        ));
        let later = Request::with_start_before(&body, Timestamp::now());
        for body in [body.as_slice(), &later, br#"{"type":"status"}"#] {
            assert!(matches!(
                admit(control, "ur.execute.n1.r1", body),
                Admission::Known(_)
            ));
        }
        assert!(matches!(
            admit(control, "ur.cancel.n1.r1", b"{}"),
            Admission::Cancel(_)
        ));
    });
}

#[test]
fn another_content_under_a_known_id_is_refused_and_named_by_its_digest() {
    at(false, 0, |control| {
        let [first, second] = ["echo A", "echo B"].map(Request::script);
        admit(control, "ur.execute.n1.r1", &first.encode());
        for (body, content) in [
            (second.encode(), second.content()),
            (b"rubbish".to_vec(), content_of_bytes(b"rubbish")),
        ] {
            let Admission::Refuse(key, reply) = admit(control, "ur.execute.n1.r1", &body) else {
                panic!("not refused");
            };
            assert_eq!(key.to_string(), "ur.execute-reply.n1.r1");
            assert_eq!(
                (reply.error.unwrap().code, reply.content),
                (ErrorCode::Conflict, Some(content))
            );
        }
        // The first one goes on.
        assert!(matches!(
            admit(control, "ur.execute.n1.r1", &first.encode()),
            Admission::Known(_)
        ));
    });
}

#[test]
fn a_refusal_goes_to_the_key_the_sender_waits_at() {
    at(false, 0, |control| {
        let key = |admission: Admission| match admission {
            Admission::Refuse(key, _) => key.to_string(),
            other => panic!("not refused: {other:?}"),
        };
        let long = "x".repeat(150);
        for id in ["r1", "odd id!", long.as_str()] {
            let refused = admit(control, &format!("ur.execute.n1-00:11.{id}"), b"{}");
            assert_eq!(code(&refused), ErrorCode::BadRequest);
            assert_eq!(key(refused), format!("ur.execute-reply.n1.{id}"));
        }
        let unknown = admit(control, "ur.execute.n1.r9", br#"{"type":"status"}"#);
        assert_eq!(code(&unknown), ErrorCode::UnknownRequest);
        assert_eq!(
            code(&admit(control, "ur.cancel.n1.r9", b"{}")),
            ErrorCode::UnknownRequest
        );
    });
}

#[test]
fn a_node_that_is_full_or_going_down_says_so() {
    let body = Request::script("true").encode();
    at(true, 0, |control| {
        assert_eq!(
            code(&admit(control, "ur.execute.n1.r1", &body)),
            ErrorCode::Refused
        );
    });
    at(false, MAX_WAITING, |control| {
        assert_eq!(
            code(&admit(control, "ur.execute.n1.r1", &body)),
            ErrorCode::Busy
        );
    });
}

#[test]
fn a_request_that_comes_late_is_refused_where_the_time_is_known() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let request = Request {
        start_before: Some(time("2026-01-01T00:01:00Z")),
        ..Request::script("true")
    };
    let (early, late) = (time("2026-01-01T00:00:59Z"), time("2026-01-01T00:01:00Z"));
    at(false, 0, |control| {
        let mut admit_at = |now: Option<Timestamp>, id: &str| {
            let now = || now;
            let mut control = AdmissionControl {
                now: &now,
                refusals: control.refusals,
                ..*control
            };
            admit(
                &mut control,
                &format!("ur.execute.n1.{id}"),
                &request.encode(),
            )
        };
        assert_eq!(code(&admit_at(Some(late), "r1")), ErrorCode::Refused);
        assert!(matches!(admit_at(None, "r2"), Admission::Start(..)));
        assert!(matches!(admit_at(Some(early), "r3"), Admission::Start(..)));
        // The second delivery of what was started in time.
        assert!(matches!(admit_at(Some(late), "r3"), Admission::Known(_)));
    });
}

#[test]
fn a_request_that_was_refused_for_now_stays_refused() {
    let body = Request::script("true").encode();
    at(false, MAX_WAITING, |control| {
        assert_eq!(
            code(&admit(control, "ur.execute.n1.r1", &body)),
            ErrorCode::Busy
        );
        control.waiting = 0;
        assert_eq!(
            code(&admit(control, "ur.execute.n1.r1", &body)),
            ErrorCode::Busy
        );
        let other = admit(control, "ur.execute.n1.r2", &body);
        assert!(matches!(other, Admission::Start(..)));
    });
}

#[test]
fn a_ping_of_a_client_whose_id_has_dots_is_answered() {
    at(false, 0, |control| {
        let body = br#"{"client_id":"a.b","id":1}"#;
        let Admission::Ping(ping) = admit(control, "ur.ping.n1", body) else {
            panic!("not answered");
        };
        assert_eq!(ping.client_id, "a.b");
    });
}

#[test]
fn a_broadcast_says_how_old_sysinfo_may_be_or_does_not() {
    at(false, 0, |control| {
        let mut age = |body: &[u8]| match admit(control, "ur.broadcast.sysinfo.r1", body) {
            Admission::Sysinfo(_, asked) => asked.max_age(),
            other => panic!("{other:?}"),
        };
        assert_eq!(age(br#"{"max_age":60}"#), Some(Duration::from_secs(60)));
        for body in [
            b"{}".as_slice(),
            b"",
            br#"{"max_age":-1}"#,
            br#"{"max_age":"x"}"#,
        ] {
            assert_eq!(age(body), None);
        }
    });
}

#[test]
fn what_cannot_be_answered_is_ignored_with_a_reason() {
    at(false, 0, |control| {
        for (key, body) in [
            ("ur.execute.n1", "{}"),
            ("ur.execute.n1.r1.x", "{}"),
            ("ur.broadcast.reboot.r1", "{}"),
            ("ur.startup.n1", "{}"),
            ("ur.ping.n1", "rubbish"),
            ("ur.ping.n1", r#"{"client_id":""}"#),
            (
                "ur.ping.n1",
                &format!(r#"{{"client_id":"a","id":"{}"}}"#, "x".repeat(MAX_PING)),
            ),
            (&format!("ur.execute.n1.{}", "x".repeat(240)), "{}"),
        ] {
            assert!(
                matches!(admit(control, key, body.as_bytes()), Admission::Ignore(_)),
                "{key}"
            );
        }
    });
}

proptest! {
    #[test]
    fn whatever_comes_on_whatever_key_is_a_valid_job_or_has_an_answer_or_a_reason(
        key in "ur\\.(execute|cancel|broadcast|ping)\\.(n1|sysinfo)(\\.(r1|[^.]{1,9}|[a-z]{120,240})){0,2}",
        body in select(vec!["{}", "[", "7", r#"{"type":"script","script":"x"}"#, r#"{"type":"status"}"#, r#"{"client_id":1}"#])
    ) {
        at(false, 0, |control| match admit(control, &key, body.as_bytes()) {
            Admission::Start(job, _) => assert!(RequestId::parse(job.id.as_str()).is_ok() && job.message().is_ok()),
            Admission::Refuse(answer, reply) => {
                assert!(answer.to_string().len() <= MAX_KEY && answer.to_string().starts_with("ur.execute-reply.n1."));
                assert!(!reply.error.unwrap().message.is_empty());
            }
            Admission::Sysinfo(answer, _) => assert!(answer.to_string().len() <= MAX_KEY),
            Admission::Ping(ping) => assert!(!ping.client_id.is_empty()),
            Admission::Ignore(reason) => assert!(!reason.is_empty()),
            other => panic!("nothing was there before: {other:?}"),
        });
    }
}
