//! The loop without a broker: deliveries and confirms are the test's, the spool is a real directory.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use futures_util::stream;
use job::{Created, Job, OutcomeRecord, Spool};
use protocol::{NodeId, Outcome, REBOOT_STATUS, Request, RequestId};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use super::*;
use crate::args::Cli;
use crate::jobs::Jobs;
use crate::reboot::Reboot;
use crate::sysinfo;
use broker::{Acker, Routing};

/// An agent of node n1 that starts no script: all that it admits waits.
fn agent(dir: &Path) -> Agent {
    let state_dir = dir.to_str().unwrap();
    let cli = Cli::parse_from(["ur-agent", "--state-dir", state_dir]);
    let spool = Spool::open(dir).unwrap();
    let found = spool.jobs().unwrap();
    let mut reboot = Reboot::new(&format!("touch {state_dir}/rebooted"));
    reboot.recover(&found);
    let jobs = Jobs::recover(&spool, found, 0);
    Agent::new(
        Arc::new(cli.args),
        spool,
        jobs,
        sysinfo::named("n1"),
        reboot,
    )
}

/// The other end of a session. When it is dropped, the connection breaks.
struct FakeBroker {
    deliver: Sender<Result<Delivery>>,
    outbox: Receiver<Outgoing>,
    sent: Sender<Sent>,
}

fn connect() -> (
    Session<
        impl Stream<Item = Result<Delivery>> + Unpin,
        impl Stream<Item = ConnectionEvent> + Unpin,
    >,
    FakeBroker,
) {
    let (deliver, mut delivered) = mpsc::channel(16);
    let (to, outbox) = mpsc::channel(1);
    let (sent, results) = mpsc::channel(16);
    let session = Session {
        deliveries: stream::poll_fn(move |cx| delivered.poll_recv(cx)),
        connection: stream::pending(),
        outbox: Outbox { to, sent: results },
    };
    let broker = FakeBroker {
        deliver,
        outbox,
        sent,
    };
    (session, broker)
}

impl FakeBroker {
    async fn deliver(&self, key: &str, body: &[u8]) -> Acker {
        let delivery = Delivery::unacked(key, body);
        let acker = delivery.acker.clone();
        self.deliver.send(Ok(delivery)).await.unwrap();
        acker
    }

    async fn next(&mut self) -> Outgoing {
        let next = timeout(Duration::from_secs(30), self.outbox.recv());
        next.await.expect("a message").expect("an agent")
    }

    /// The next ack, which is passed on. What is published before it is skipped.
    async fn ack(&mut self) {
        loop {
            if let Outgoing::Ack(acker) = self.next().await {
                assert!(!acker.is_used(), "acked twice");
                return acker.ack().await.unwrap();
            }
        }
    }

    /// The next notice, status or answer with such a key. Acks are passed on.
    async fn notice(&mut self, wanted: &str) -> Value {
        loop {
            let (key, body) = match self.next().await {
                Outgoing::Notice { key, body } => (key, body),
                Outgoing::Answer(answer) => (answer.key.clone(), answer.body.to_vec()),
                Outgoing::Status(job, before) => {
                    let body = serde_json::to_vec(&crate::reply::status(&job, before)).unwrap();
                    (format!("ur.execute-progress.n1.{}", job.id), body)
                }
                Outgoing::Ack(acker) => {
                    acker.ack().await.unwrap();
                    continue;
                }
                _ => continue,
            };
            if key == wanted {
                return serde_json::from_slice(&body).unwrap();
            }
        }
    }

    async fn reply(&mut self) -> (Job, Value) {
        loop {
            match self.next().await {
                Outgoing::Reply(owed) => {
                    let body = serde_json::from_slice(&owed.body(usize::MAX)).unwrap();
                    return (owed.job, body);
                }
                Outgoing::Ack(acker) => acker.ack().await.unwrap(),
                _ => {}
            }
        }
    }

    async fn confirm(&self, job: &Job, routing: Routing) {
        let sent = Sent::Reply(job.clone(), routing);
        self.sent.send(sent).await.unwrap();
    }
}

/// Serves until `script` has dropped its broker.
macro_rules! serve {
    ($agent:expr, |$broker:ident| $script:block) => {{
        let (session, mut $broker) = connect();
        let script = async move {
            $script
            drop($broker);
        };
        let (SessionError(_), ()) = tokio::join!($agent.serve(session), script);
    }};
}

fn request() -> Vec<u8> {
    Request::script("true").encode()
}

#[tokio::test]
async fn a_delivery_is_acked_once_and_only_when_its_directory_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    let record = dir.path().join("jobs/r1/request.json");
    serve!(agent, |broker| {
        let acker = broker.deliver("ur.execute.n1.r1", &request()).await;
        loop {
            if let Outgoing::Ack(ours) = broker.next().await {
                assert!(record.is_file() && !acker.is_used());
                ours.ack().await.unwrap();
                break;
            }
        }
        assert!(acker.is_used());
        let progress = broker.notice("ur.execute-progress.n1.r1").await;
        assert_eq!(progress["state"], "queued");
        // The agent acks what comes after it, and this one no second time.
        let other = broker
            .deliver("ur.ping.n1", br#"{"client_id":"c","id":1}"#)
            .await;
        broker.ack().await;
        assert!(other.is_used());
    });
}

#[tokio::test]
async fn a_second_delivery_is_acked_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        for _ in 0..2 {
            let acker = broker.deliver("ur.execute.n1.r1", &request()).await;
            let progress = broker.notice("ur.execute-progress.n1.r1").await;
            assert_eq!(progress["state"], "queued");
            assert!(acker.is_used());
        }
    });
    assert_eq!((agent.jobs.waiting(), agent.jobs.running()), (1, 0));
}

#[tokio::test]
async fn what_comes_together_with_a_request_and_is_about_it_finds_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        let mut ackers = Vec::new();
        for (key, body) in [
            ("ur.execute.n1.r1", request()),
            ("ur.execute.n1.r2", request()),
            ("ur.execute.n1.r1", request()),
            ("ur.cancel.n1.r2", b"{}".to_vec()),
            ("ur.execute.n1.r1", Request::script("false").encode()),
        ] {
            ackers.push(broker.deliver(key, &body).await);
        }
        let refused = broker.notice("ur.execute-reply.n1.r1").await;
        assert_eq!(refused["error"]["code"], "conflict");
        let (job, reply) = broker.reply().await;
        assert_eq!((job.id.as_str(), &reply["cancelled"]), ("r2", &json!(true)));
        assert!(ackers.iter().all(Acker::is_used));
    });
    assert_eq!(agent.jobs.waiting(), 1);
}

#[tokio::test]
async fn of_requests_that_come_together_the_disk_may_take_some() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    // In the way of one.
    std::fs::File::create(dir.path().join("jobs/r2")).unwrap();
    serve!(agent, |broker| {
        for id in ["r1", "r2", "r3"] {
            let key = format!("ur.execute.n1.{id}");
            broker.deliver(&key, &request()).await;
        }
        let refused = broker.notice("ur.execute-reply.n1.r2").await;
        assert_eq!(refused["error"]["code"], "storage");
        let progress = broker.notice("ur.execute-progress.n1.r3").await;
        assert_eq!(progress["state"], "queued");
    });
    assert_eq!(agent.jobs.waiting(), 2);
}

#[tokio::test]
async fn a_refused_request_is_acked_and_answered_and_leaves_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        let acker = broker.deliver("ur.execute.n1.r1", b"{}").await;
        let reply = broker.notice("ur.execute-reply.n1.r1").await;
        assert_eq!(reply["error"]["code"], "bad_request");
        assert!(acker.is_used());
        broker.deliver("ur.cancel.n1.r2", b"{}").await;
        let reply = broker.notice("ur.execute-reply.n1.r2").await;
        assert_eq!(reply["error"]["code"], "unknown_request");
    });
    assert!(agent.spool.jobs().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unroutable_reply_waits_a_second_and_is_sent_again_until_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        broker.deliver("ur.execute.n1.r1", &request()).await;
        broker.deliver("ur.cancel.n1.r1", b"{}").await;
        let (job, reply) = broker.reply().await;
        assert_eq!(reply["cancelled"], json!(true));
        let before = Instant::now();
        broker.confirm(&job, Routing::Unroutable).await;
        let (job, again) = broker.reply().await;
        assert_eq!(again, reply);
        assert!(before.elapsed() >= Duration::from_secs(1));
        broker.confirm(&job, Routing::Taken).await;
        // By then the confirm has been seen.
        broker
            .deliver("ur.ping.n1", br#"{"client_id":"c","id":1}"#)
            .await;
        broker.notice("ur.ackc.n1").await;
    });
    assert!(!agent.replies.has_pending_replies() && !agent.is_busy());
}

#[tokio::test]
async fn a_reply_in_flight_when_the_connection_breaks_is_sent_in_the_next_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        broker.deliver("ur.execute.n1.r1", &request()).await;
        broker.deliver("ur.cancel.n1.r1", b"{}").await;
        broker.reply().await;
    });
    agent.begin_session();
    serve!(agent, |broker| {
        let Outgoing::Startup { key, .. } = broker.next().await else {
            panic!("not announced first");
        };
        assert_eq!(key, "ur.startup.n1");
        let (job, reply) = broker.reply().await;
        assert_eq!(job.id.as_str(), "r1");
        assert_eq!(reply["cancelled"], json!(true));
    });
}

#[tokio::test]
async fn a_reboot_waits_until_the_reply_is_taken_and_new_requests_are_refused_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (asks, node) = (Request::script("exit 113"), NodeId::parse("n1").unwrap());
    let id = RequestId::parse("r1").unwrap();
    let Ok(Created::New(job)) = spool.create(&id, (&node, "k"), &asks.encode()) else {
        panic!("not admitted");
    };
    let outcome = Outcome::Exited {
        status: REBOOT_STATUS,
    };
    job.write_outcome(&OutcomeRecord::unseen(outcome)).unwrap();
    drop(spool);
    let mut agent = agent(dir.path());
    let rebooted = dir.path().join("rebooted");
    serve!(agent, |broker| {
        let (job, reply) = broker.reply().await;
        assert_eq!(reply["reboot"], json!(true));
        broker.deliver("ur.execute.n1.r2", &request()).await;
        let refused = broker.notice("ur.execute-reply.n1.r2").await;
        assert_eq!(refused["error"]["code"], "refused");
        assert!(!job.is_rebooting());
        broker.confirm(&job, Routing::Taken).await;
        while !rebooted.exists() {
            yield_now().await;
        }
        assert!(job.is_rebooting());
    });
}

#[tokio::test]
async fn a_ping_is_answered_before_replies_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        for id in ["r1", "r2", "r3"] {
            broker
                .deliver(&format!("ur.execute.n1.{id}"), &request())
                .await;
            broker.deliver(&format!("ur.cancel.n1.{id}"), b"{}").await;
        }
        broker
            .deliver("ur.ping.n1", br#"{"client_id":"c","id":1}"#)
            .await;
        // The agent reads them all before it is asked for more than one message.
        while broker.deliver.capacity() < broker.deliver.max_capacity() {
            yield_now().await;
        }
        let mut replies = 0;
        loop {
            match broker.next().await {
                Outgoing::Reply(_) => replies += 1,
                Outgoing::Answer(answer) if answer.key == "ur.ackc.n1" => break,
                _ => {}
            }
        }
        assert_eq!(replies, 0);
    });
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_no_one_takes_keeps_a_node_that_reboots_up_for_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let node = NodeId::parse("n1").unwrap();
    for (id, status) in [("asks", REBOOT_STATUS), ("other", 0)] {
        let id = RequestId::parse(id).unwrap();
        let body = Request::script("true").encode();
        let Ok(Created::New(job)) = spool.create(&id, (&node, "k"), &body) else {
            panic!("not admitted");
        };
        let outcome = Outcome::Exited { status };
        job.write_outcome(&OutcomeRecord::unseen(outcome)).unwrap();
    }
    drop(spool);
    let mut agent = agent(dir.path());
    serve!(agent, |broker| {
        let begun = Instant::now();
        let mut asked = None;
        while asked.as_ref().is_none_or(|job: &Job| !job.is_rebooting()) {
            let (job, _) = broker.reply().await;
            let routing = match job.id.as_str() {
                "asks" => Routing::Taken,
                _ => Routing::Unroutable,
            };
            broker.confirm(&job, routing).await;
            if job.id.as_str() == "asks" {
                asked = Some(job);
            }
        }
        let waited = begun.elapsed();
        assert!((2..6).contains(&waited.as_secs()), "{waited:?}");
    });
}
