//! Publishing: every message mandatory and confirmed. A task of each channel owns its messages in flight, from
//! handing them to lapin until it is known what became of them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use tokio::select;
use tokio::sync::{mpsc, oneshot};

use protocol::{CONTENT_TYPE, MAX_KEY};

use crate::returns::{Confirmed, Returns};

/// Messages that wait for the task.
const QUEUE: usize = 16;

/// What the broker did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At least one queue has it.
    Taken,
    /// No queue is bound to its key: no receiver will ever see it.
    Unroutable,
    /// A queue that it was routed to did not take it (it is full); others may have it.
    Rejected,
}

/// A channel on which every message is confirmed; clones share it.
#[derive(Clone)]
pub struct Publisher {
    channel: Channel,
    exchange: ShortString,
    to: mpsc::Sender<Publishing>,
}

/// A message on its way.
pub struct Receipt(oneshot::Receiver<lapin::Result<Routing>>);

/// What the task needs of one.
struct Publishing {
    exchange: ShortString,
    key: ShortString,
    body: Box<dyn AsRef<[u8]> + Send>,
    properties: BasicProperties,
    written: oneshot::Sender<lapin::Result<()>>,
    judged: oneshot::Sender<lapin::Result<Routing>>,
}

impl Publisher {
    /// On a channel that confirms.
    pub(crate) fn on(channel: Channel, exchange: ShortString) -> Self {
        let (to, from) = mpsc::channel(QUEUE);
        tokio::spawn(work(channel.clone(), from));
        Self {
            channel,
            exchange,
            to,
        }
    }

    /// Hands a message to the broker, as `mandatory`. Waits while the broker blocks publishers.
    pub async fn publish(
        &self,
        key: &str,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Receipt> {
        self.publish_within(key, body, None).await
    }

    /// The same, for a message that the broker throws away if it has not handed it on by then. RabbitMQ
    /// knows no limit above 49 days.
    pub async fn publish_within(
        &self,
        key: &str,
        body: impl AsRef<[u8]> + Send + 'static,
        limit: Option<Duration>,
    ) -> Result<Receipt> {
        let mut properties = BasicProperties::default().with_content_type(CONTENT_TYPE.into());
        if let Some(limit) = limit {
            let most = Duration::from_millis(u32::MAX.into());
            let milliseconds = limit.min(most).as_millis().to_string();
            properties = properties.with_expiration(milliseconds.into());
        }
        let (written, is_written) = oneshot::channel();
        let (judged, routing) = oneshot::channel();
        let message = Publishing {
            exchange: self.exchange.clone(),
            key: short(key)?,
            body: Box::new(body),
            properties,
            written,
            judged,
        };
        let handed_over = self.to.send(message).await;
        handed_over.ok().context("the channel's task has ended")?;
        is_written.await.context("the channel's task has ended")??;
        Ok(Receipt(routing))
    }

    /// False once an error has closed the channel: another one has to be made.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }
}

impl Receipt {
    /// Waits until it is known what the broker did.
    pub async fn routing(self) -> Result<Routing> {
        Ok(self.0.await.context("the channel's task has ended")??)
    }
}

/// Ends when no publisher is left and nothing is in flight.
async fn work(channel: Channel, mut from: mpsc::Receiver<Publishing>) {
    let mut in_flight = FuturesUnordered::new();
    let mut returns = Returns::default();
    let (mut id, mut is_wanted) = (0_u64, true);
    while is_wanted || !in_flight.is_empty() {
        select! {
            biased;
            confirms = poll_fn(|cx| poll_all_ready(&mut in_flight, cx)), if !in_flight.is_empty() => {
                returns.judge(confirms, in_flight.len());
            }
            message = from.recv(), if is_wanted => match message {
                Some(message) => {
                    in_flight.push(publish(channel.clone(), id, message));
                    id += 1;
                }
                None => is_wanted = false,
            },
        }
    }
}

/// Hands a message to lapin and waits for the confirm. Never dropped before: lapin may give that confirm the return
/// of another message.
async fn publish(channel: Channel, id: u64, message: Publishing) -> Confirmed {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let Publishing {
        exchange,
        key,
        body,
        properties,
        written,
        judged,
    } = message;
    let properties = properties.with_message_id(id.to_string().into());
    let published = channel.basic_publish(exchange, key, options, (*body).as_ref(), properties);
    let published = published.await;
    drop(body);
    // Its publisher may have stopped waiting.
    let confirmed = match published {
        Ok(confirm) => {
            drop(written.send(Ok(())));
            confirm.await
        }
        Err(error) => {
            drop(written.send(Err(error.clone())));
            Err(error)
        }
    };
    Confirmed {
        id,
        confirmed,
        judged,
    }
}

/// Every confirm that is there; pending without one. A stream may be pending while it has some: then it has woken its
/// task.
fn poll_all_ready<S: Stream + Unpin>(
    stream: &mut S,
    cx: &mut TaskContext<'_>,
) -> Poll<Vec<S::Item>> {
    let woken = Arc::new(Woken {
        is_woken: AtomicBool::new(false),
        is_polled: AtomicBool::new(true),
        task: cx.waker().clone(),
    });
    let waker = Arc::clone(&woken).into();
    let mut ready = Vec::new();
    loop {
        woken.is_woken.store(false, Ordering::SeqCst);
        match stream.poll_next_unpin(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(Some(item)) => ready.push(item),
            Poll::Pending if woken.is_woken.load(Ordering::SeqCst) => {}
            Poll::Ready(None) => return Poll::Ready(ready),
            Poll::Pending if !ready.is_empty() => return Poll::Ready(ready),
            Poll::Pending => {
                woken.is_polled.store(false, Ordering::SeqCst);
                if !woken.is_woken.load(Ordering::SeqCst) {
                    return Poll::Pending;
                }
                woken.is_polled.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// Remembers that it was woken. Wakes its task unless that polls at the moment, and so will see it.
struct Woken {
    is_woken: AtomicBool,
    is_polled: AtomicBool,
    task: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_polled.load(Ordering::SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

/// A routing key as AMQP carries it.
pub(crate) fn short(key: &str) -> Result<ShortString> {
    if key.len() > MAX_KEY {
        bail!(
            "the routing key has {} bytes; AMQP allows {MAX_KEY}",
            key.len()
        );
    }
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_is_ready_comes_at_once_however_often_the_rest_wakes() {
        let after_wakes = |i: u32| {
            let mut wakes = i % 5;
            poll_fn(move |cx| match wakes.checked_sub(1) {
                Some(left) => {
                    wakes = left;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None if i % 10 == 9 => Poll::Pending,
                None => Poll::Ready(i),
            })
        };
        let mut stream: FuturesUnordered<_> = (0..100).map(after_wakes).collect();
        let ready = poll_fn(|cx| poll_all_ready(&mut stream, cx)).await;
        assert_eq!((ready.len(), stream.len()), (90, 10));
    }
}
