//! One request to many nodes: send, collect, survive the loss of the broker. What is done with the
//! messages is in the state; this is the loop that waits for them.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{Instant, Interval, interval, sleep};

use super::report::{Report, RunEvent};
use super::run_state::{Payload, RunState};
use super::{Client, Target};
use broker::clock;
use broker::{
    Delivery, Publisher, Routing, Subscription, backoff, error_chain, is_refusal, message_limit,
};
use protocol::{Label, NodeId, Outcome, Request, RequestId, RoutingKey};

/// Messages that the broker has not confirmed yet, and the bytes in them: each is in memory whole.
const UNCONFIRMED: usize = 64;
const UNCONFIRMED_BYTES: usize = 64 * 1024 * 1024;
/// How exactly time limits are kept.
const TICK: Duration = Duration::from_millis(100);
/// Asks a node what became of a request. Starts nothing.
pub const STATUS_REQUEST: &[u8] = br#"{"type":"status"}"#;

/// What is to be sent, and how.
pub struct Plan {
    pub request: RequestId,
    pub action: Action,
    /// The same for every node.
    pub body: Vec<u8>,
    /// How long a node may take to say that it has the request. It is sent again meanwhile, and not
    /// started later. `None` for what has no such answer.
    pub pickup: Option<Duration>,
    /// How long a node may take to answer, from when it picked the request up or, if it does not say
    /// when, from when it was sent to.
    pub wait: Duration,
    /// Nodes that are sent to and have not answered, at a time.
    pub concurrency: Option<usize>,
    /// Send to no more nodes when so many have failed.
    pub max_fail: Option<usize>,
    /// Listen for output as it comes.
    pub stream: bool,
    /// Which task it is, if it is one.
    pub label: Label,
    /// How it ended on nodes that have told already, should they have forgotten.
    pub earlier: HashMap<NodeId, Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Execute,
    Cancel,
    /// Starts nothing: asks for the answers to a request that was sent before.
    Attach,
}

impl Plan {
    fn key(&self, target: &Target) -> RoutingKey {
        let request = self.request.to_string();
        match self.action {
            Action::Execute | Action::Attach => RoutingKey::Execute {
                node: target.routing_word.clone(),
                request,
            },
            Action::Cancel => RoutingKey::Cancel {
                node: target.id.to_string(),
                request,
            },
        }
    }

    /// How many messages may be on their way.
    fn window(&self) -> usize {
        (UNCONFIRMED_BYTES / self.body.len().max(1)).clamp(1, UNCONFIRMED)
    }

    fn answers(&self) -> Vec<String> {
        answers(&self.request, self.stream)
    }
}

/// The keys of all that nodes may say about a request.
pub(super) fn answers(request: &RequestId, stream: bool) -> Vec<String> {
    let (node, request) = (|| "*".to_owned(), request.to_string());
    let mut keys = vec![
        RoutingKey::ExecuteReply {
            node: node(),
            request: request.clone(),
        },
        RoutingKey::Progress {
            node: node(),
            request: request.clone(),
        },
    ];
    if stream {
        keys.push(RoutingKey::Output {
            node: node(),
            request,
        });
    }
    keys.iter().map(RoutingKey::to_string).collect()
}

/// Sends to every target and waits for what becomes of it, or for `stop`. Fails where the broker
/// refuses the request itself, and if `on_event` does.
pub async fn run(
    client: &mut Client,
    plan: &Plan,
    targets: Vec<Target>,
    stop: impl Future<Output = ()>,
    on_event: &mut dyn FnMut(RunEvent<'_>) -> Result<()>,
) -> Result<Report> {
    let subscription = client.subscribe(&plan.answers()).await?;
    let mut run = Run {
        plan,
        state: RunState::new(targets, plan),
        tick: interval(TICK),
        on_event,
    };
    let mut stop = pin!(stop);
    let mut subscription = Some(subscription);
    while let Some(open) = subscription {
        subscription = match run.session(client, open, stop.as_mut()).await? {
            Ended::Over => None,
            Ended::Lost => run.connect_again(client, stop.as_mut()).await?,
        };
    }
    // An interrupted run has some.
    let unanswered = run.state.unanswered();
    run.give_up(unanswered)?;
    Ok(run.state.into_report())
}

struct Run<'a> {
    plan: &'a Plan,
    state: RunState<'a>,
    tick: Interval,
    on_event: &'a mut dyn FnMut(RunEvent<'_>) -> Result<()>,
}

/// Why a session is over.
enum Ended {
    Over,
    Lost,
}

enum Step {
    Stop,
    Tick,
    Delivery(Result<Delivery>),
    Delivered(Delivered),
}

/// What became of a message of ours.
struct Delivered {
    to: usize,
    payload: Payload,
    routing: Result<Routing>,
}

impl Run<'_> {
    /// Sends and collects for as long as the connection lives.
    async fn session(
        &mut self,
        client: &Client,
        mut subscription: Subscription,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Ended> {
        let publisher = client.publisher();
        let mut leaving = FuturesUnordered::new();
        while !self.state.is_over() {
            while leaving.len() < self.plan.window()
                && let Some((i, payload)) = self.next()?
            {
                let message = self.message(i, payload);
                leaving.push(deliver(&publisher, i, payload, message));
            }
            let step = select! {
                () = &mut stop => Step::Stop,
                _ = self.tick.tick() => Step::Tick,
                delivery = subscription.receive() => Step::Delivery(delivery),
                Some(delivered) = leaving.next() => Step::Delivered(delivered),
            };
            if let Err(error) = self.handle(step)? {
                (self.on_event)(RunEvent::ConnectionLost(&error_chain(&error)))?;
                self.state.connection_lost(Instant::now());
                return Ok(Ended::Lost);
            }
        }
        Ok(Ended::Over)
    }

    /// The inner error is one that a new connection may cure.
    fn handle(&mut self, step: Step) -> Result<Result<()>> {
        let now = Instant::now();
        let event = match step {
            Step::Stop => {
                self.state.interrupt();
                None
            }
            Step::Tick => {
                let overdue = self.state.overdue(now);
                return self.give_up(overdue).map(Ok);
            }
            Step::Delivery(Ok(delivery)) => self.state.received(&delivery, now),
            Step::Delivery(Err(error)) => return Ok(Err(error)),
            Step::Delivered(Delivered {
                to,
                payload,
                routing,
            }) => match (payload, routing) {
                (Payload::Request, Ok(routing)) => self.state.sent(to, routing, now),
                (Payload::StatusRequest, Ok(routing)) => {
                    self.state.asked(to, routing, now);
                    None
                }
                (_, Err(error)) => return self.refused(error).map(Err),
            },
        };
        event.map_or(Ok(()), |event| (self.on_event)(event))?;
        Ok(Ok(()))
    }

    /// Gives back an error that is about the connection, and fails with one that is about us.
    fn refused(&self, error: anyhow::Error) -> Result<anyhow::Error> {
        if let Some(limit) = message_limit(&error) {
            let size = self.plan.body.len();
            bail!("the request has {size} bytes, the broker takes {limit}");
        }
        if is_refusal(&error) {
            return Err(error.context("sending the request"));
        }
        Ok(error)
    }

    fn give_up(&mut self, nodes: Vec<usize>) -> Result<()> {
        let now = Instant::now();
        for i in nodes {
            if let Some(event) = self.state.give_up(i, now) {
                (self.on_event)(event)?;
            }
        }
        Ok(())
    }

    /// Who is to be sent to, and what. Those who wait for an answer come before those whose turn it
    /// is next.
    fn next(&mut self) -> Result<Option<(usize, Payload)>> {
        let now = Instant::now();
        if let Some((i, payload)) = self.state.next_due(now) {
            if payload == Payload::Request {
                (self.on_event)(RunEvent::Resending(self.state.target(i)))?;
            }
            return Ok(Some((i, payload)));
        }
        let Some(i) = self.state.next_to_send(now) else {
            return Ok(None);
        };
        (self.on_event)(RunEvent::Publishing(self.state.target(i)))?;
        Ok(Some((i, Payload::Request)))
    }

    fn message(&self, i: usize, payload: Payload) -> Message {
        let target = self.state.target(i);
        if payload == Payload::StatusRequest {
            let request = self.plan.request.to_string();
            let node = target.routing_word.clone();
            return Message {
                key: RoutingKey::Execute { node, request },
                body: STATUS_REQUEST.to_vec(),
                limit: None,
            };
        }
        let limit = self.state.left_to_pick_up(i, Instant::now());
        // Only where both sides know the time: the node looks at its own clock.
        let start_before = limit.zip(clock::synchronized_now());
        let start_before = start_before.and_then(|(limit, now)| now.checked_add(limit).ok());
        let body = match start_before {
            Some(limit) if target.agent.is_some() => {
                Request::with_start_before(&self.plan.body, limit)
            }
            _ => self.plan.body.clone(),
        };
        Message {
            key: self.plan.key(target),
            body,
            limit,
        }
    }

    /// A new connection and a new queue; none if the run is over before there is one.
    async fn connect_again(
        &mut self,
        client: &mut Client,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Subscription>> {
        let answers = self.plan.answers();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut connecting = pin!(connect(client, attempt, &answers));
            let connected = loop {
                if self.state.is_over() {
                    return Ok(None);
                }
                select! {
                    () = &mut stop => self.state.interrupt(),
                    _ = self.tick.tick() => {
                        let overdue = self.state.overdue(Instant::now());
                        self.give_up(overdue)?;
                    }
                    connected = &mut connecting => break connected,
                }
            };
            match connected {
                Ok(subscription) => {
                    (self.on_event)(RunEvent::Reconnected)?;
                    return Ok(Some(subscription));
                }
                Err(error) => (self.on_event)(RunEvent::NoConnection(&error_chain(&error)))?,
            }
        }
    }
}

struct Message {
    key: RoutingKey,
    body: Vec<u8>,
    /// The broker is to throw it away after that.
    limit: Option<Duration>,
}

async fn deliver(
    publisher: &Publisher,
    to: usize,
    payload: Payload,
    message: Message,
) -> Delivered {
    let key = message.key.to_string();
    let routing = async {
        let sent = publisher.publish_within(&key, &message.body, message.limit);
        sent.await?.routing().await
    };
    Delivered {
        to,
        payload,
        routing: routing.await,
    }
}

async fn connect(client: &mut Client, attempt: u32, answers: &[String]) -> Result<Subscription> {
    sleep(backoff(attempt)).await;
    client.reconnect().await?;
    client.subscribe(answers).await
}
