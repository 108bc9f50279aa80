//! The status of a request on a node: asked of the node, whose job directory remembers.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::answer::{self, AnswerKind};
use super::plan::{STATUS_REQUEST, answers};
use broker::{Delivery, Routing};
use protocol::{NodeId, Outcome, Progress, Reply, RequestId, RoutingKey, State};

/// What a node knows of a request. A Node.js agent knows nothing and says nothing.
#[derive(Debug, Default)]
pub struct JobStatus {
    /// An agent listens for this node's requests.
    pub connected: bool,
    pub progress: Option<Progress>,
    pub reply: Option<Reply>,
}

impl JobStatus {
    /// How it ended, judged as a run judges the same reply.
    pub fn outcome(&self) -> Option<Outcome> {
        let outcome = self.reply.as_ref().map(task::outcome);
        outcome.map(answer::plain)
    }

    /// Nothing more can come.
    fn is_complete(&self) -> bool {
        let ended = |progress: &Progress| matches!(progress.state, State::Ended | State::Replied);
        self.reply.is_some() || self.progress.as_ref().is_some_and(|p| !ended(p))
    }

    /// What cannot be read is passed over: another message may follow that can.
    fn received(&mut self, delivery: &Delivery, from: &NodeId) {
        let body = &delivery.body;
        match AnswerKind::of(&delivery.routing_key) {
            Some((node, AnswerKind::Progress)) if node == *from => {
                self.progress = answer::progress(body).or(self.progress.take());
            }
            Some((node, AnswerKind::Reply)) if node == *from => {
                let reply = answer::reply(body).ok().map(|(reply, _)| reply);
                let ours = reply.filter(|reply| reply.is_meant_for(None));
                self.reply = ours.or(self.reply.take());
            }
            _ => {}
        }
    }
}

/// Asks the node that listens to `routing_word`, and waits for its answer for at most `wait`.
pub async fn job_status(
    client: &Client,
    (node, routing_word): (&NodeId, &str),
    request: &RequestId,
    wait: Duration,
) -> Result<JobStatus> {
    let mut subscription = client.subscribe(&answers(request, false)).await?;
    let key = RoutingKey::Execute {
        node: routing_word.to_owned(),
        request: request.to_string(),
    };
    let mut status = JobStatus {
        connected: client.send(&key, STATUS_REQUEST).await? == Routing::Taken,
        ..JobStatus::default()
    };
    let until = Instant::now() + wait;
    while status.connected && !status.is_complete() {
        let Ok(delivery) = timeout_at(until, subscription.receive()).await else {
            break;
        };
        status.received(&delivery?, node);
    }
    Ok(status)
}
