//! A run: one request sent to many nodes, their answers collected, the loss of the broker survived. This is the
//! loop that waits; what a message changes is in the state.

use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::stream::{Fuse, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use tokio::select;
use tokio::time::{Instant, Interval, interval, sleep};

use super::plan::{CANCEL_REQUEST, STATUS_REQUEST};
use super::report::{Report, RunEvent};
use super::run_state::{Payload, RunState};
use super::{Client, Plan, Target};
use broker::{
    Delivery, Publisher, Routing, Subscription, backoff, clock, error_chain, is_refusal,
    message_limit,
};
use protocol::{Request, RoutingKey};

/// How exactly time limits are kept.
const TICK: Duration = Duration::from_millis(100);
/// How often it is told that time passes.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long a new attempt to connect may be put off: a person waits, and is to be connected again within two seconds.
const MAX_WAIT: Duration = Duration::from_millis(1500);

/// What the operator wants of a run that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// To be asked: [`RunEvent::Asking`] tells the view. What is wanted follows.
    Ask,
    /// To go on as before: [`Steer::Ask`] was answered. A question about the next batch is asked again.
    Wait,
    /// Another batch, if that is what the run waits for.
    GoOn,
    /// To wait no longer. Nodes go on with what they have.
    Leave,
    /// That what still runs is ended on its node, and to see that.
    Cancel,
}

/// Sends to every target and waits for what becomes of it, as far as `steering` lets it. Fails where the
/// broker refuses the request itself, and if `on_event` does.
pub async fn run(
    client: &mut Client,
    plan: &Plan,
    targets: Vec<Target>,
    steering: impl Stream<Item = Steer>,
    on_event: &mut dyn FnMut(RunEvent<'_>) -> Result<()>,
) -> Result<Report> {
    let subscription = client.subscribe(&plan.answers()).await?;
    let mut run = Run {
        plan,
        state: RunState::new(targets, plan),
        tick: interval(TICK),
        told_at: Instant::now(),
        on_event,
    };
    let mut steering = pin!(steering.fuse());
    let mut subscription = Some(subscription);
    while let Some(open) = subscription {
        subscription = match run.session(client, open, steering.as_mut()).await? {
            SessionEnd::Complete => None,
            SessionEnd::Disconnected => run.connect_again(client, steering.as_mut()).await?,
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
    /// When [`RunEvent::Tick`] was told.
    told_at: Instant,
    on_event: &'a mut dyn FnMut(RunEvent<'_>) -> Result<()>,
}

/// Why no more is sent and received on a connection.
enum SessionEnd {
    Complete,
    Disconnected,
}

enum RunInput {
    Steer(Steer),
    Tick,
    Received(Result<Delivery>),
    Published(Published),
}

/// What became of a message of ours.
struct Published {
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
        mut steering: Pin<&mut Fuse<impl Stream<Item = Steer>>>,
    ) -> Result<SessionEnd> {
        let publisher = client.publisher();
        let mut publishing = FuturesUnordered::new();
        self.state.connected(Instant::now());
        while !self.state.is_over() {
            while publishing.len() < self.plan.window()
                && let Some((i, payload)) = self.next()?
            {
                let publication = self.publication(i, payload);
                publishing.push(publish(&publisher, i, payload, publication));
            }
            let step = select! {
                Some(steer) = steering.next() => RunInput::Steer(steer),
                _ = self.tick.tick() => RunInput::Tick,
                delivery = subscription.receive() => RunInput::Received(delivery),
                Some(published) = publishing.next() => RunInput::Published(published),
            };
            if let Err(error) = self.handle(step)? {
                (self.on_event)(RunEvent::ConnectionLost(&error_chain(&error)))?;
                self.state.connection_lost(Instant::now());
                return Ok(SessionEnd::Disconnected);
            }
        }
        Ok(SessionEnd::Complete)
    }

    /// The inner error is one that a new connection may cure.
    fn handle(&mut self, input: RunInput) -> Result<Result<()>> {
        let now = Instant::now();
        let event = match input {
            RunInput::Steer(steer) => return self.steer(steer).map(Ok),
            RunInput::Tick => return self.tick(now).map(Ok),
            RunInput::Received(Ok(delivery)) => self.state.received(&delivery, now),
            RunInput::Received(Err(error)) => return Ok(Err(error)),
            RunInput::Published(Published {
                to,
                payload,
                routing,
            }) => match (payload, routing) {
                (Payload::Request, Ok(routing)) => self.state.sent(to, routing, now),
                (Payload::StatusRequest | Payload::Cancel, Ok(routing)) => {
                    self.state.question_sent(to, routing, now);
                    None
                }
                (_, Err(error)) => return self.refused(error).map(Err),
            },
        };
        event.map_or(Ok(()), |event| (self.on_event)(event))?;
        Ok(Ok(()))
    }

    fn steer(&mut self, steer: Steer) -> Result<()> {
        match steer {
            Steer::Ask => {
                self.state.ask();
                (self.on_event)(RunEvent::Asking)?;
            }
            Steer::Wait => {
                self.state.wait_on();
                (self.on_event)(RunEvent::GoingOn)?;
            }
            Steer::GoOn => {
                self.state.go_on();
                (self.on_event)(RunEvent::GoingOn)?;
            }
            Steer::Leave => self.state.leave(),
            Steer::Cancel => {
                let unable = self.state.cancel(Instant::now());
                (self.on_event)(RunEvent::Cancelling)?;
                self.give_up(unable)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        let overdue = self.state.overdue(now);
        self.give_up(overdue)?;
        if let Some(event) = self.state.end_of_batch(now) {
            (self.on_event)(event)?;
        }
        if now - self.told_at >= TOLD_EVERY {
            self.told_at = now;
            (self.on_event)(RunEvent::Tick)?;
        }
        Ok(())
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

    /// The node that is to be sent to, and what. A retry comes before a node that was not sent to yet.
    fn next(&mut self) -> Result<Option<(usize, Payload)>> {
        let now = Instant::now();
        if let Some((i, payload)) = self.state.next_retry(now) {
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

    fn publication(&self, i: usize, payload: Payload) -> Publication {
        let target = self.state.target(i);
        let question = match payload {
            Payload::StatusRequest => Some((self.plan.status_key(target), STATUS_REQUEST)),
            Payload::Cancel => Some((self.plan.cancel_key(target), CANCEL_REQUEST)),
            Payload::Request => None,
        };
        if let Some((key, body)) = question {
            return Publication {
                key,
                body: body.to_vec(),
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
        Publication {
            key: self.plan.key(target),
            body,
            limit,
        }
    }

    /// A new connection and a new queue; none if the run is over before there is one.
    async fn connect_again(
        &mut self,
        client: &mut Client,
        mut steering: Pin<&mut Fuse<impl Stream<Item = Steer>>>,
    ) -> Result<Option<Subscription>> {
        let answers = self.plan.answers();
        let away_since = Instant::now();
        loop {
            let retry_in = backoff(away_since.elapsed()).min(MAX_WAIT);
            let mut connecting = pin!(connect(client, retry_in, &answers));
            let connected = loop {
                if self.state.is_over() {
                    return Ok(None);
                }
                select! {
                    Some(steer) = steering.next() => self.steer(steer)?,
                    _ = self.tick.tick() => self.tick(Instant::now())?,
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

struct Publication {
    key: RoutingKey,
    body: Vec<u8>,
    /// The broker is to throw it away after that.
    limit: Option<Duration>,
}

async fn publish(
    publisher: &Publisher,
    to: usize,
    payload: Payload,
    publication: Publication,
) -> Published {
    let key = publication.key.to_string();
    let routing = async {
        let sent = publisher.publish_within(&key, publication.body, publication.limit);
        sent.await?.routing().await
    };
    Published {
        to,
        payload,
        routing: routing.await,
    }
}

async fn connect(
    client: &mut Client,
    retry_in: Duration,
    answers: &[String],
) -> Result<Subscription> {
    sleep(retry_in).await;
    client.reconnect().await?;
    client.subscribe(answers).await
}
