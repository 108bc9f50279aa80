//! The jobs of nodes: what runs and waits on each. Every ur-agent is asked at once; one that is older says that it does
//! not know the question, and a Node.js agent, which says nothing, is not asked.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::answer::{self, AnswerKind};
use super::plan::answers;
use super::{Client, Plain, Target};
use broker::{Delivery, Routing};
use protocol::{JOBS_REQUEST, JobList, NodeId, RequestId, RoutingKey};

/// Questions that the broker has not confirmed yet.
const UNCONFIRMED: usize = 256;
/// Bytes of a list: a hundred jobs, each with a note of its sender.
const MAX_LIST: usize = 4 * 1024 * 1024;

/// What a node says of its jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeJobs {
    Listed(JobList),
    /// Its agent does not know the question.
    Older,
    /// A Node.js agent, which was not asked.
    NodeJs,
    NotConnected,
    NoAnswer,
}

/// Asks every target once and waits for all, until nothing has come from any of them for `wait`. In the order of
/// `targets`.
pub async fn jobs(client: &Client, targets: &[Target], wait: Duration) -> Result<Vec<NodeJobs>> {
    let request = RequestId::random();
    let mut subscription = client.subscribe(&answers(&request, false)).await?;
    let mut asked = Asked::of(targets);
    let mut to_ask = asked.to_ask().into_iter();
    let mut publishing = FuturesUnordered::new();
    let mut latest = Instant::now();
    while asked.left > 0 {
        while publishing.len() < UNCONFIRMED
            && let Some(i) = to_ask.next()
        {
            let key = RoutingKey::Execute {
                node: targets[i].routing_word.clone(),
                request: request.to_string(),
            };
            publishing.push(async move { (i, client.send(&key, JOBS_REQUEST).await) });
        }
        let is_news = select! {
            () = sleep_until(latest + wait) => break,
            Some((i, routing)) = publishing.next() => {
                if routing? == Routing::Unroutable {
                    asked.answered(i, NodeJobs::NotConnected);
                }
                true
            }
            delivery = subscription.receive() => asked.received(&delivery?),
        };
        if is_news {
            latest = Instant::now();
        }
    }
    let answers = asked.answers.into_iter();
    Ok(answers
        .map(|answer| answer.unwrap_or(NodeJobs::NoAnswer))
        .collect())
}

struct Asked<'a> {
    by_id: HashMap<&'a NodeId, usize>,
    answers: Vec<Option<NodeJobs>>,
    left: usize,
}

impl<'a> Asked<'a> {
    fn of(targets: &'a [Target]) -> Self {
        let answers = targets.iter().map(|target| match target.agent {
            Some(_) => None,
            None => Some(NodeJobs::NodeJs),
        });
        let answers: Vec<_> = answers.collect();
        Self {
            by_id: targets.iter().map(|target| &target.id).zip(0..).collect(),
            left: answers.iter().filter(|answer| answer.is_none()).count(),
            answers,
        }
    }

    fn to_ask(&self) -> Vec<usize> {
        let answers = self.answers.iter().enumerate();
        answers
            .filter_map(|(i, it)| it.is_none().then_some(i))
            .collect()
    }

    /// Whether it is the first answer of a node.
    fn received(&mut self, delivery: &Delivery) -> bool {
        let Some((node, AnswerKind::Reply)) = AnswerKind::of(&delivery.routing_key) else {
            return false;
        };
        let Some(&i) = self.by_id.get(&node) else {
            return false;
        };
        match list(&delivery.body) {
            Some(list) => self.answered(i, NodeJobs::Listed(list)),
            None => self.answered(i, NodeJobs::Older),
        }
    }

    fn answered(&mut self, i: usize, answer: NodeJobs) -> bool {
        let is_first = self.answers[i].is_none();
        if is_first {
            self.answers[i] = Some(answer);
            self.left -= 1;
        }
        is_first
    }
}

/// A list whose words can be shown. `None` for an answer that has none.
fn list(body: &[u8]) -> Option<JobList> {
    if body.len() > MAX_LIST {
        return None;
    }
    let mut list: JobList = serde_json::from_slice(body).ok()?;
    for job in &mut list.jobs {
        job.what = job.what.take().map(|what| Plain::of(&what).into());
        answer::make_plain(&mut job.progress);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::super::Selector;
    use super::super::node::tests::node;
    use super::*;
    use protocol::{ErrorCode, Outcome, Refusal, Reply};

    #[test]
    fn each_node_is_told_by_its_first_answer_and_by_its_agent() {
        let mut nodes = [
            node("u1", "m1", "n1"),
            node("u2", "m2", "n2"),
            node("u3", "m3", "n3"),
        ];
        for modern in &mut nodes[..2] {
            modern.agent = Some(Plain::name("0.1.0"));
        }
        let targets = Selector::All.select(&nodes).unwrap().targets;
        let mut asked = Asked::of(&targets);
        assert_eq!((asked.to_ask(), asked.left), (vec![0, 1], 2));
        let reply = |node: &str, body: &[u8]| {
            Delivery::unacked(&format!("ur.execute-reply.{node}.r"), body)
        };
        let one = br#"{"exit_status":0,"running":1,"waiting":0,"jobs":[{"request":"r1",
            "what":"\u001b[2J","state":"running","at":"2026-01-01T00:00:00Z"}]}"#;
        assert!(asked.received(&reply("u1", one)));
        assert!(!asked.received(&reply("u1", one)), "once");
        assert!(!asked.received(&reply("u9", one)), "a stranger");
        let older = Outcome::Refused(Refusal::new(ErrorCode::BadRequest, "unknown `type`"));
        assert!(asked.received(&reply("u2", &Reply::of(&older).encode())));
        assert_eq!(asked.left, 0);
        let Some(NodeJobs::Listed(list)) = &asked.answers[0] else {
            panic!("a list")
        };
        assert_eq!(list.jobs[0].what.as_deref(), Some("\\u{1b}[2J"));
        let rest = [Some(NodeJobs::Older), Some(NodeJobs::NodeJs)];
        assert_eq!(asked.answers[1..], rest);
    }
}
