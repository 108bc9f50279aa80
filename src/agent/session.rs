//! A session with the broker: the loop that names what happened. What is done about each event stands in
//! `agent.rs`.
//!
//! Streams come in and a channel goes out, so that the loop runs in a test without a broker.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::Permit;
use tokio::sync::mpsc::error::SendError;
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
    Delivery(Option<Result<Box<Delivery>>>),
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
        loop {
            let busy = self.is_busy();
            let event = tokio::select! {
                delivery = session.deliveries.next() => {
                    LoopEvent::Delivery(delivery.map(|delivery| delivery.map(Box::new)))
                }
                permit = session.outbox.to.reserve(), if !self.replies.is_empty() => {
                    LoopEvent::OutboxReady(permit)
                }
                sent = session.outbox.sent.recv() => LoopEvent::Sent(sent),
                finished = self.jobs.next_finished() => LoopEvent::Finished(Box::new(finished)),
                event = session.connection.next() => LoopEvent::Connection(event),
                Some(Ok(sysinfo)) = self.collecting.join_next() => {
                    LoopEvent::Sysinfo(Box::new(sysinfo))
                }
                _ = poll_jobs.tick(), if busy => LoopEvent::PollJobs,
                _ = housekeeping.tick() => LoopEvent::Housekeeping,
                () = &mut heartbeat => LoopEvent::Heartbeat,
                _ = watchdog.tick() => LoopEvent::Watchdog,
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
            LoopEvent::Delivery(Some(delivery)) => self.delivered(*delivery?),
            LoopEvent::Delivery(None) => return Err(anyhow!("the broker cancelled our consumer")),
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
