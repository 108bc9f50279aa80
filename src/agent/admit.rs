//! Admission control: what a message asks for, and whether the node takes it. Synchronous; every refusal
//! of a request that was not started is made here.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use job::{Created, Job, Spool};
use protocol::{
    ErrorCode, MAX_KEY, Message, NodeId, Outcome, Ping, Refusal, Reply, Request, RequestId,
    RoutingKey, SysinfoRequest, content_of_bytes, reply_key,
};

use super::reply::ReplyTerms;

/// Refusals that are remembered, some 200 bytes each.
const MAX_REFUSALS: usize = 1000;
/// Requests that wait for their turn. Each is a directory on what is often a RAM disk.
const MAX_WAITING: usize = 20_000;
/// Bytes of a ping, which goes back to its sender in part.
const MAX_PING: usize = 4096;

#[derive(Debug)]
pub(super) enum Admission {
    /// It is a job on disk now: start it when there is room.
    Start(Job, ReplyTerms),
    /// Its id is known: say how far it is, and its reply again if it has one. Starts nothing.
    Known(Job),
    Cancel(Job),
    /// The answer is no, on the key that the request asked to be answered on.
    Refuse(RoutingKey, Box<Reply>),
    /// A broadcast asks every node for its sysinfo; some say how old that may be.
    Sysinfo(RoutingKey, Option<Duration>),
    Ping(Ping),
    /// Nothing can be answered: there is no request id, or it is no question.
    Ignore(String),
}

/// Which node is asked, and whether there is room.
pub(super) struct AdmissionControl<'a> {
    pub node: &'a NodeId,
    pub spool: &'a Spool,
    pub waiting: usize,
    pub rebooting: bool,
    /// `None` where the node's clock is not synchronized. Asked only where a request has a `start_before`.
    pub now: &'a dyn Fn() -> Option<Timestamp>,
    pub refusals: &'a mut RecentRefusals,
}

/// Requests that were refused for a reason that may pass: no room, no process, a reboot. The sender has
/// been told that they were not run, so another copy that was on its way must not be. Copies die with
/// our queue or follow each other closely, so the latest are enough, and memory is.
#[derive(Default)]
pub(super) struct RecentRefusals(VecDeque<(RequestId, Refusal)>);

impl RecentRefusals {
    fn find(&self, id: &RequestId) -> Option<Refusal> {
        let known = self.0.iter().find(|(known, _)| known == id);
        known.map(|(_, refusal)| refusal.clone())
    }

    fn remember(&mut self, id: &RequestId, refusal: &Refusal) {
        if self.0.len() == MAX_REFUSALS {
            self.0.pop_front();
        }
        self.0.push_back((id.clone(), refusal.clone()));
    }
}

impl AdmissionControl<'_> {
    pub(super) fn admit(&mut self, key: &str, body: &[u8]) -> Admission {
        let Ok(parsed) = RoutingKey::parse(key) else {
            return Admission::Ignore(format!("{key:?} is not a routing key of ours"));
        };
        match parsed {
            RoutingKey::Execute { request, .. } => {
                self.or_refuse(&request, |control, id| control.execute(id, key, body))
            }
            RoutingKey::Cancel { request, .. } => {
                self.or_refuse(&request, |control, id| control.cancel(id))
            }
            RoutingKey::Broadcast { what, request } if what == "sysinfo" => {
                match self.answer_key(&request) {
                    Some(key) => Admission::Sysinfo(key, max_age(body)),
                    None => Admission::Ignore("the broadcast's id is too long".to_owned()),
                }
            }
            RoutingKey::Broadcast { what, .. } => {
                Admission::Ignore(format!("unknown broadcast {what:?}"))
            }
            RoutingKey::Ping { .. } => ping(body),
            other => Admission::Ignore(format!("{other} is not for a node")),
        }
    }

    /// A request that has an id gets an answer, even where the id itself is what is wrong, unless the
    /// answer's own key would be too long.
    fn or_refuse(
        &mut self,
        request: &str,
        then: impl FnOnce(&mut Self, &RequestId) -> Result<Admission, Refusal>,
    ) -> Admission {
        match RequestId::parse(request).and_then(|id| then(self, &id)) {
            Ok(admission) => admission,
            Err(refusal) => match self.answer_key(request) {
                Some(key) => {
                    Admission::Refuse(key, Box::new(Reply::of(&Outcome::Refused(refusal))))
                }
                None => Admission::Ignore(format!("{}; no key can answer it", refusal.message)),
            },
        }
    }

    /// `None` where AMQP has no key that is long enough.
    fn answer_key(&self, request: &str) -> Option<RoutingKey> {
        let key = reply_key(self.node, request);
        (key.to_string().len() <= MAX_KEY).then_some(key)
    }

    fn execute(&mut self, id: &RequestId, key: &str, body: &[u8]) -> Result<Admission, Refusal> {
        if let Some(job) = self.spool.find(id) {
            return same_content(job, body).map(Admission::Known);
        }
        if let Some(refusal) = self.refusals.find(id) {
            return Err(refusal);
        }
        let request = match Message::decode(body)? {
            Message::Run(request) => request,
            Message::Status => return Err(unknown(id)),
        };
        self.take(id, *request, key, body)
            .inspect_err(|refusal| self.refusals.remember(id, refusal))
    }

    /// A request there is nothing wrong with. The node may have no place for it all the same.
    fn take(
        &self,
        id: &RequestId,
        request: Request,
        key: &str,
        body: &[u8],
    ) -> Result<Admission, Refusal> {
        if self.rebooting {
            let message = "the node is about to reboot; send it again when it is back";
            return Err(Refusal::new(ErrorCode::Refused, message));
        }
        let limit = request.start_before;
        // Its text is in the body still, once is enough.
        let terms = ReplyTerms::of(request);
        if let Some(limit) = limit
            && let Some(now) = (self.now)()
            && now >= limit
        {
            let message = format!(
                "it was to be started before {limit}, and it is {now:.3} here: \
                 it came late, or one of the clocks is wrong"
            );
            return Err(Refusal::new(ErrorCode::Refused, message));
        }
        if self.waiting >= MAX_WAITING {
            let message = format!("{MAX_WAITING} requests wait on the node already");
            return Err(Refusal::new(ErrorCode::Busy, message));
        }
        match self.spool.create(id, (self.node, key), body)? {
            Created::New(job) => Ok(Admission::Start(job, terms)),
            Created::Existing(job) => same_content(job, body).map(Admission::Known),
        }
    }

    fn cancel(&self, id: &RequestId) -> Result<Admission, Refusal> {
        self.spool
            .find(id)
            .map(Admission::Cancel)
            .ok_or_else(|| unknown(id))
    }
}

/// Refuses a message of a known id whose content is not the job's: its sender would take the answer to the other one
/// for its own. Of a job that cannot be read only its id is compared.
fn same_content(job: Job, body: &[u8]) -> Result<Job, Refusal> {
    let content = match Message::decode(body) {
        Ok(Message::Status) => return Ok(job),
        Ok(Message::Run(request)) => request.content(),
        Err(_) => content_of_bytes(body),
    };
    match job.message() {
        Ok(Message::Run(known)) if known.content() != content => {
            let message = format!(
                "request {} is known here with another content, which is not touched by this: \
                 take a new id",
                job.id
            );
            Err(Refusal {
                content: Some(content),
                ..Refusal::new(ErrorCode::Conflict, message)
            })
        }
        _ => Ok(job),
    }
}

fn unknown(id: &RequestId) -> Refusal {
    let message =
        format!("no request {id} is known here: it never arrived, or was forgotten since");
    Refusal::new(ErrorCode::UnknownRequest, message)
}

/// The `max_age` of a broadcast, in seconds.
fn max_age(body: &[u8]) -> Option<Duration> {
    let asked: SysinfoRequest = serde_json::from_slice(body).ok()?;
    Duration::try_from_secs_f64(asked.max_age?).ok()
}

/// The client's id may have dots, as with the Node.js agent: the key begins with `ur.ack`, so that it can stand for no other message.
fn ping(body: &[u8]) -> Admission {
    let read = |value: &Value| {
        let client_id = match value.get("client_id")? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let id = value.get("id").cloned().unwrap_or_default();
        let fits = !client_id.is_empty() && client_id.len() <= 128;
        fits.then_some(Ping { client_id, id })
    };
    let value = match body.len() {
        0..=MAX_PING => serde_json::from_slice(body).ok(),
        _ => None,
    };
    match value.as_ref().and_then(read) {
        Some(ping) => Admission::Ping(ping),
        None => Admission::Ignore("a ping without a client_id that can be answered to".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
                control.admit("ur.execute.n1.r1", &body),
                Admission::Start(..)
            ));
            let later = Request::with_start_before(&body, Timestamp::now());
            for body in [body.as_slice(), &later, br#"{"type":"status"}"#] {
                assert!(matches!(
                    control.admit("ur.execute.n1.r1", body),
                    Admission::Known(_)
                ));
            }
            assert!(matches!(
                control.admit("ur.cancel.n1.r1", b"{}"),
                Admission::Cancel(_)
            ));
        });
    }

    #[test]
    fn another_content_under_a_known_id_is_refused_and_named_by_its_digest() {
        at(false, 0, |control| {
            let [first, second] = ["echo A", "echo B"].map(Request::script);
            control.admit("ur.execute.n1.r1", &first.encode());
            for (body, content) in [
                (second.encode(), second.content()),
                (b"rubbish".to_vec(), content_of_bytes(b"rubbish")),
            ] {
                let Admission::Refuse(key, reply) = control.admit("ur.execute.n1.r1", &body) else {
                    panic!("not refused");
                };
                assert_eq!(key.to_string(), "ur.execute-reply.n1.r1");
                let error = reply.error.unwrap();
                assert_eq!(
                    (error.code, error.content),
                    (ErrorCode::Conflict, Some(content))
                );
            }
            // The first one goes on.
            assert!(matches!(
                control.admit("ur.execute.n1.r1", &first.encode()),
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
                let refused = control.admit(&format!("ur.execute.n1-00:11.{id}"), b"{}");
                assert_eq!(code(&refused), ErrorCode::BadRequest);
                assert_eq!(key(refused), format!("ur.execute-reply.n1.{id}"));
            }
            let unknown = control.admit("ur.execute.n1.r9", br#"{"type":"status"}"#);
            assert_eq!(code(&unknown), ErrorCode::UnknownRequest);
            assert_eq!(
                code(&control.admit("ur.cancel.n1.r9", b"{}")),
                ErrorCode::UnknownRequest
            );
        });
    }

    #[test]
    fn a_node_that_is_full_or_going_down_says_so() {
        let body = Request::script("true").encode();
        at(true, 0, |control| {
            assert_eq!(
                code(&control.admit("ur.execute.n1.r1", &body)),
                ErrorCode::Refused
            );
        });
        at(false, MAX_WAITING, |control| {
            assert_eq!(
                code(&control.admit("ur.execute.n1.r1", &body)),
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
            let mut admit = |now: Option<Timestamp>, id: &str| {
                let now = || now;
                let mut control = AdmissionControl {
                    now: &now,
                    refusals: control.refusals,
                    ..*control
                };
                control.admit(&format!("ur.execute.n1.{id}"), &request.encode())
            };
            assert_eq!(code(&admit(Some(late), "r1")), ErrorCode::Refused);
            assert!(matches!(admit(None, "r2"), Admission::Start(..)));
            assert!(matches!(admit(Some(early), "r3"), Admission::Start(..)));
            // The second delivery of what was started in time.
            assert!(matches!(admit(Some(late), "r3"), Admission::Known(_)));
        });
    }

    #[test]
    fn a_request_that_was_refused_for_now_stays_refused() {
        let body = Request::script("true").encode();
        at(false, MAX_WAITING, |control| {
            assert_eq!(
                code(&control.admit("ur.execute.n1.r1", &body)),
                ErrorCode::Busy
            );
            control.waiting = 0;
            assert_eq!(
                code(&control.admit("ur.execute.n1.r1", &body)),
                ErrorCode::Busy
            );
            let other = control.admit("ur.execute.n1.r2", &body);
            assert!(matches!(other, Admission::Start(..)));
        });
    }

    #[test]
    fn a_ping_of_a_client_whose_id_has_dots_is_answered() {
        at(false, 0, |control| {
            let body = br#"{"client_id":"a.b","id":1}"#;
            let Admission::Ping(ping) = control.admit("ur.ping.n1", body) else {
                panic!("not answered");
            };
            assert_eq!(ping.client_id, "a.b");
        });
    }

    #[test]
    fn a_broadcast_says_how_old_sysinfo_may_be_or_does_not() {
        at(false, 0, |control| {
            let mut age = |body: &[u8]| match control.admit("ur.broadcast.sysinfo.r1", body) {
                Admission::Sysinfo(_, age) => age,
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
                    matches!(control.admit(key, body.as_bytes()), Admission::Ignore(_)),
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
            at(false, 0, |control| match control.admit(&key, body.as_bytes()) {
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
}
