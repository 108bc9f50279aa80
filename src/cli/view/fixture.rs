//! Results of nodes, for tests.

use std::sync::Arc;

use client::{NodeResult, Plain, Target};
use protocol::{NodeId, Outcome, Reply, Text};

pub(crate) fn result(hostname: &str, outcome: Outcome, stdout: &str, stderr: &str) -> NodeResult {
    let has_reply = !matches!(outcome, Outcome::NotConnected | Outcome::NoAnswer);
    let reply = has_reply.then(|| {
        let mut reply = Reply::of(&outcome);
        reply.set_stdout(Text::of(stdout.into()), stdout.len() as u64);
        reply.set_stderr(Text::of(stderr.into()), stderr.len() as u64);
        Box::new(reply)
    });
    let target = Target {
        id: NodeId::parse(&format!("uuid-of-{hostname}")).unwrap(),
        mac: None,
        hostname: Plain::name(hostname),
        has_namesake: false,
        routing_word: format!("uuid-of-{hostname}"),
        agent: None,
    };
    NodeResult {
        reply,
        ..NodeResult::of(Arc::new(target), outcome)
    }
}

pub(crate) fn ok(hostname: &str, stdout: &str) -> NodeResult {
    result(hostname, Outcome::Exited { status: 0 }, stdout, "")
}

pub(crate) fn exit(hostname: &str, status: i32, stderr: &str) -> NodeResult {
    result(hostname, Outcome::Exited { status }, "", stderr)
}
