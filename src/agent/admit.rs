//! Admission control: what a message asks for, and whether the node takes it. Synchronous; every refusal
//! of a request that was not started is made here.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;
use tracing::info;

use job::{Created, Job, NewJob, Spool};
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
    /// A request that there is nothing wrong with, to be committed.
    New(NewJob, AcceptedTerms),
    /// It is a job on disk now: start it when there is room.
    Start(Job, ReplyTerms),
    /// Its id is known: say how far it is, and its reply again if it has one. Starts nothing.
    Known(Job),
    /// The same, and its output as it comes.
    Follow(Job),
    Cancel(Job),
    /// A sender asks what runs and waits; the key is that of the answer.
    List(RoutingKey),
    /// The answer is no, on the key that the request asked to be answered on.
    Refuse(RoutingKey, Box<Reply>),
    /// A broadcast asks every node for its sysinfo; some say how old that may be.
    Sysinfo(RoutingKey, SysinfoRequest),
    Ping(Ping),
    /// Nothing can be answered: there is no request id, or it is no question.
    Ignore(String),
}

/// What is kept of a request until it is committed.
#[derive(Debug)]
pub(super) struct AcceptedTerms {
    terms: ReplyTerms,
    origin: Option<String>,
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
            RoutingKey::Execute { request, .. } => self.or_refuse(
                &request,
                || content(body),
                |control, id| control.execute(id, key, body),
            ),
            RoutingKey::Cancel { request, .. } => {
                self.or_refuse(&request, || None, |control, id| control.cancel(id))
            }
            RoutingKey::Broadcast { what, request } if what == "sysinfo" => {
                match self.answer_key(&request) {
                    Some(key) => {
                        Admission::Sysinfo(key, serde_json::from_slice(body).unwrap_or_default())
                    }
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
        content: impl FnOnce() -> Option<String>,
        then: impl FnOnce(&mut Self, &RequestId) -> Result<Admission, Refusal>,
    ) -> Admission {
        match RequestId::parse(request).and_then(|id| then(self, &id)) {
            Ok(admission) => admission,
            Err(refusal) => match self.answer_key(request) {
                Some(key) => {
                    let mut reply = Reply::of(&Outcome::Refused(refusal));
                    reply.content = content();
                    Admission::Refuse(key, Box::new(reply))
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
            let is_followed = matches!(Message::decode(body), Ok(Message::Status { stream: true }));
            return same_content(job, body).map(match is_followed {
                true => Admission::Follow,
                false => Admission::Known,
            });
        }
        if let Some(refusal) = self.refusals.find(id) {
            return Err(refusal);
        }
        let request = match Message::decode(body)? {
            Message::Run(request) => request,
            Message::Status { .. } => return Err(unknown(id)),
            Message::Jobs => return Ok(Admission::List(reply_key(self.node, id.as_str()))),
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
        let origin = request.origin.as_ref().map(ToString::to_string);
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
        let new = self.spool.build(id, (self.node, key), body)?;
        Ok(Admission::New(new, AcceptedTerms { terms, origin }))
    }

    /// What became of a new job that came as this message.
    pub(super) fn committed(
        &mut self,
        created: Result<Created, Refusal>,
        (key, body): (&str, &[u8]),
        AcceptedTerms { terms, origin }: AcceptedTerms,
    ) -> Admission {
        let Ok(RoutingKey::Execute { request, .. }) = RoutingKey::parse(key) else {
            return Admission::Ignore(format!("{key:?} brings no job"));
        };
        let then = |control: &mut Self, id: &RequestId| match created {
            Ok(Created::New(job)) => {
                // Who says to have sent it, and what: the job's directory is gone after an hour.
                info!(request = %job.id, sha256 = terms.content, origin, "admitted");
                Ok(Admission::Start(job, terms))
            }
            Ok(Created::Existing(job)) => same_content(job, body).map(Admission::Known),
            Err(refusal) => {
                control.refusals.remember(id, &refusal);
                Err(refusal)
            }
        };
        self.or_refuse(&request, || content(body), then)
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
    let Some(content) = content(body) else {
        return Ok(job);
    };
    match job.message() {
        Ok(Message::Run(known)) if known.content() != content => {
            let message = format!(
                "request {} is known here with another content, which is not touched by this: \
                 take a new id",
                job.id
            );
            Err(Refusal::new(ErrorCode::Conflict, message))
        }
        _ => Ok(job),
    }
}

/// The digest of what a message asks for; a status request asks for nothing of its own.
fn content(body: &[u8]) -> Option<String> {
    match Message::decode(body) {
        Ok(Message::Status { .. } | Message::Jobs) => None,
        Ok(Message::Run(request)) => Some(request.content()),
        Err(_) => Some(content_of_bytes(body)),
    }
}

fn unknown(id: &RequestId) -> Refusal {
    let message =
        format!("no request {id} is known here: it never arrived, or was forgotten since");
    Refusal::new(ErrorCode::UnknownRequest, message)
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
#[path = "admit_tests.rs"]
mod tests;
