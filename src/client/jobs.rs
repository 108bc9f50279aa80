//! The jobs of nodes: what runs and waits on each. Every ur-agent is asked at once; a Node.js agent, which would not
//! answer, is not asked.

use std::time::Duration;

use anyhow::Result;

use super::answer::{self, AnswerKind};
use super::ask_each::Asked;
use super::plan::answers;
use super::{Client, Plain, Target};
use broker::Delivery;
use protocol::{JOBS_REQUEST, JobList, RequestId, RoutingKey};

/// Bytes of a list: a hundred jobs, each with a note of its sender.
const MAX_LIST: usize = 4 * 1024 * 1024;

/// What a node says of its jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeJobs {
    Listed(JobList),
    /// It has answered, and not with a list.
    Unreadable,
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
    let ask = |i: usize| {
        let key = RoutingKey::Execute {
            node: targets[i].routing_word.clone(),
            request: request.to_string(),
        };
        async move { client.send(&key, JOBS_REQUEST).await }
    };
    let without = (NodeJobs::NotConnected, NodeJobs::NoAnswer);
    Asked::of(targets, of_node_js)
        .ask((&mut subscription, wait), ask, without, received)
        .await
}

fn of_node_js(target: &Target) -> Option<NodeJobs> {
    target.agent.is_none().then_some(NodeJobs::NodeJs)
}

/// Whether it is the first answer of a node.
fn received(asked: &mut Asked<'_, NodeJobs>, delivery: &Delivery) -> bool {
    let Some((node, AnswerKind::Reply)) = AnswerKind::of(&delivery.routing_key) else {
        return false;
    };
    let Some((i, _)) = asked.asked(&node) else {
        return false;
    };
    let list = list(&delivery.body);
    asked.answered(i, list.map_or(NodeJobs::Unreadable, NodeJobs::Listed))
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
    use tokio::time::Instant;

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
        let mut asked = Asked::of(&targets, of_node_js);
        let now = Instant::now();
        let to_ask = [asked.next(now), asked.next(now), asked.next(now)];
        assert_eq!((to_ask, asked.left), ([Some(0), Some(1), None], 2));
        let reply = |node: &str, body: &[u8]| {
            Delivery::unacked(&format!("ur.execute-reply.{node}.r"), body)
        };
        let one = br#"{"exit_status":0,"running":1,"waiting":0,"jobs":[{"request":"r1",
            "what":"\u001b[2J","state":"running","at":"2026-01-01T00:00:00Z"}]}"#;
        assert!(received(&mut asked, &reply("u1", one)));
        assert!(!received(&mut asked, &reply("u1", one)), "once");
        assert!(!received(&mut asked, &reply("u9", one)), "a stranger");
        let refused = Outcome::Refused(Refusal::new(ErrorCode::BadRequest, "unknown `type`"));
        assert!(received(
            &mut asked,
            &reply("u2", &Reply::of(&refused).encode())
        ));
        assert_eq!(asked.left, 0);
        let Some(NodeJobs::Listed(list)) = &asked.answers[0] else {
            panic!("a list")
        };
        assert_eq!(list.jobs[0].what.as_deref(), Some("\\u{1b}[2J"));
        let rest = [Some(NodeJobs::Unreadable), Some(NodeJobs::NodeJs)];
        assert_eq!(asked.answers[1..], rest);
    }
}
