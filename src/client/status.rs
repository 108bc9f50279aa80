//! What became of a request on a node: asks the node, whose job directory remembers.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::run::{STATUS_REQUEST, answers};
use broker::{Delivery, Routing};
use protocol::{NodeId, Outcome, Progress, Reply, RequestId, RoutingKey, State};

/// What a node knows of a request. A Node.js agent knows nothing and says nothing.
#[derive(Debug, Default)]
pub struct JobStatus {
    /// Somebody listens for this node's requests.
    pub connected: bool,
    pub progress: Option<Progress>,
    pub reply: Option<Reply>,
}

impl JobStatus {
    /// How it ended, judged as a run judges the same reply.
    pub fn outcome(&self) -> Option<Outcome> {
        self.reply.as_ref().map(task::outcome)
    }

    /// Nothing more can come.
    fn is_complete(&self) -> bool {
        let ended = |progress: &Progress| matches!(progress.state, State::Ended | State::Replied);
        self.reply.is_some() || self.progress.as_ref().is_some_and(|p| !ended(p))
    }

    fn hear(&mut self, delivery: &Delivery, node: &NodeId) -> serde_json::Result<()> {
        match RoutingKey::parse(&delivery.routing_key) {
            Ok(RoutingKey::Progress { node: who, .. }) if who == node.as_str() => {
                self.progress = Some(serde_json::from_slice(&delivery.body)?);
            }
            Ok(RoutingKey::ExecuteReply { node: who, .. }) if who == node.as_str() => {
                self.reply = Some(serde_json::from_slice(&delivery.body)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Asks the node that listens to `word`, and waits for its answer for at most `wait`.
pub async fn job_status(
    client: &Client,
    (node, word): (&NodeId, &str),
    request: &RequestId,
    wait: Duration,
) -> Result<JobStatus> {
    let mut subscription = client.subscribe(&answers(request, false)).await?;
    let question = RoutingKey::Execute {
        node: word.to_owned(),
        request: request.to_string(),
    };
    let mut story = JobStatus {
        connected: client.send(&question, STATUS_REQUEST).await? == Routing::Taken,
        ..JobStatus::default()
    };
    let until = Instant::now() + wait;
    while story.connected && !story.is_complete() {
        let Ok(delivery) = timeout_at(until, subscription.receive()).await else {
            break;
        };
        story.hear(&delivery?, node)?;
    }
    Ok(story)
}
