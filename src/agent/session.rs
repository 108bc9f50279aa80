//! A session with the broker: the loop that names what happened. What is done about each event stands in
//! `agent.rs`.
//!
//! Streams come in and a channel goes out, so that the loop runs in a test without a broker.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc::Permit;
use tokio::sync::mpsc::error::SendError;
use tokio::task::yield_now;
use tokio::time::{Instant, interval, sleep};
use tracing::{info, warn};

use broker::{ConnectionEvent, Delivery, is_refusal};

use super::agent::Agent;
use super::announce;
use super::jobs::FinishedJob;
use super::outbox::{Outbox, Outgoing, Sent};
use super::sysinfo::Sysinfo;

/// How often running jobs are looked at for progress and output, and unroutable replies for their time.
const POLL_JOBS: Duration = Duration::from_millis(200);
/// How often sysinfo is collected anew and old jobs expire.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// Messages that are taken together. The loop stands still until their jobs are on disk and started.
const MAX_TOGETHER: usize = 16;
/// Other events that may come before the next messages are taken.
const MAX_BEFORE: u32 = 100;
/// How often systemd hears from us; a third of the unit's `WatchdogSec`.
pub(super) const WATCHDOG: Duration = Duration::from_secs(20);

/// One connection as the loop sees it.
pub(super) struct Session<D, E> {
    pub deliveries: D,
    pub connection: E,
    pub outbox: Outbox,
}

/// Why a session is over.
#[derive(Debug)]
pub(super) struct SessionError(pub(super) Error);

enum LoopEvent<'a> {
    Deliveries(Option<Vec<Result<Delivery>>>),
    Finished(Box<FinishedJob>),
    Sent(Option<Sent>),
    Connection(Option<ConnectionEvent>),
    OutboxReady(Result<Permit<'a, Outgoing>, SendError<()>>),
    Sysinfo(Box<Sysinfo>),
    PollJobs,
    Housekeeping,
    Heartbeat,
    Watchdog,
}

impl Agent {
    /// Until the connection breaks.
    pub(super) async fn serve(
        &mut self,
        mut session: Session<
            impl Stream<Item = Result<Delivery>> + Unpin,
            impl Stream<Item = ConnectionEvent> + Unpin,
        >,
    ) -> SessionError {
        let mut poll_jobs = interval(POLL_JOBS);
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.reset();
        let mut watchdog = interval(WATCHDOG);
        let mut heartbeat = std::pin::pin!(sleep(Duration::ZERO));
        let mut deliveries = session.deliveries.ready_chunks(MAX_TOGETHER);
        let mut before = 0;
        loop {
            let busy = self.is_busy();
            // Replies leave first: what comes meanwhile comes together. But not for ever.
            let replies_first = !self.replies.is_empty() && before < MAX_BEFORE;
            let overdue = match before < MAX_BEFORE {
                true => None,
                false => deliveries.next().now_or_never(),
            };
            let event = match overdue {
                Some(came) => LoopEvent::Deliveries(came),
                None => tokio::select! {
                    biased;
                    _ = watchdog.tick() => LoopEvent::Watchdog,
                    () = &mut heartbeat => LoopEvent::Heartbeat,
                    event = session.connection.next() => LoopEvent::Connection(event),
                    sent = session.outbox.sent.recv() => LoopEvent::Sent(sent),
                    permit = session.outbox.to.reserve(), if !self.replies.is_empty() => {
                        LoopEvent::OutboxReady(permit)
                    }
                    finished = self.jobs.next_finished() => LoopEvent::Finished(Box::new(finished)),
                    Some(Ok(sysinfo)) = self.collecting.join_next() => {
                        LoopEvent::Sysinfo(Box::new(sysinfo))
                    }
                    _ = poll_jobs.tick(), if busy => LoopEvent::PollJobs,
                    _ = housekeeping.tick() => LoopEvent::Housekeeping,
                    came = next(&mut deliveries, replies_first) => LoopEvent::Deliveries(came),
                },
            };
            before = match event {
                LoopEvent::Deliveries(_) => 0,
                _ => before.saturating_add(1),
            };
            if let LoopEvent::Heartbeat = event {
                let next = Instant::now() + announce::heartbeat_period();
                heartbeat.as_mut().reset(next);
            }
            if let Err(error) = self.handle(event) {
                return SessionError(error);
            }
        }
    }

    /// An error ends the session, never the agent.
    fn handle(&mut self, event: LoopEvent<'_>) -> Result<()> {
        match event {
            LoopEvent::Deliveries(Some(came)) => {
                let mut failed = Ok(());
                let came = came.into_iter();
                let came = came.map_while(|one| one.map_err(|error| failed = Err(error)).ok());
                self.delivered(came.collect());
                failed?;
            }
            LoopEvent::Deliveries(None) => {
                return Err(anyhow!("the broker cancelled our consumer"));
            }
            LoopEvent::OutboxReady(Err(_)) | LoopEvent::Sent(None) => {
                return Err(anyhow!("publishing stopped"));
            }
            LoopEvent::OutboxReady(Ok(permit)) => {
                if let Some(next) = self.replies.pop() {
                    permit.send(next);
                }
            }
            LoopEvent::Finished(finished) => self.finished(*finished),
            LoopEvent::Sent(Some(sent)) => self.sent(sent),
            LoopEvent::Connection(event) => connection(event)?,
            LoopEvent::Sysinfo(sysinfo) => self.collected(*sysinfo)?,
            LoopEvent::PollJobs => self.poll_jobs(),
            LoopEvent::Housekeeping => self.housekeeping(),
            LoopEvent::Heartbeat => self.heartbeat(),
            LoopEvent::Watchdog => notify_watchdog(),
        }
        Ok(())
    }
}

/// The next delivery; with `outbox_first`, the outbox gets one turn before it.
async fn next<T>(
    deliveries: &mut (impl Stream<Item = T> + Unpin),
    outbox_first: bool,
) -> Option<T> {
    if outbox_first {
        yield_now().await;
    }
    deliveries.next().await
}

fn connection(event: Option<ConnectionEvent>) -> Result<()> {
    match event {
        Some(ConnectionEvent::Blocked(reason)) => {
            warn!(reason, "publishers are blocked by the broker; replies wait");
        }
        Some(ConnectionEvent::Unblocked) => info!("publishers are no longer blocked"),
        Some(ConnectionEvent::Failed(error)) => {
            // A refusal closes a channel only; whatever uses the channel gets the error, too.
            if !is_refusal(&error) {
                return Err(error);
            }
        }
        None => return Err(anyhow!("the connection is closed")),
    }
    Ok(())
}

pub(super) fn notify_watchdog() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
        warn!(%error, "cannot notify systemd's watchdog");
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
