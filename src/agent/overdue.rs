//! Jobs whose supervisor should have ended them: their time is up, or a sender asked for it. A supervisor can be
//! stopped, by its own script too, or hang on a disk: it is woken, asked again, killed, and given up in the end.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use job::Job;
use protocol::RequestId;

/// How often a supervisor is woken, or asked once more.
const AGAIN: Duration = Duration::from_secs(1);
/// One that works takes 35 s at most: SIGTERM, five seconds, SIGKILL, and 30 for what hangs in the kernel. Counted
/// in calls, not in time: this agent may have been stopped as well.
const MAX_CALLS: u32 = 60;
/// Calls after which a supervisor is given up that does not die of SIGKILL.
const MAX_KILLS: u32 = 10;

/// How often supervisors are looked at whose time is not up.
const WAKE: Duration = Duration::from_secs(2);

pub(super) struct Overdue {
    due: HashMap<RequestId, Due>,
    woken: Instant,
}

impl Default for Overdue {
    fn default() -> Self {
        Self {
            due: HashMap::new(),
            woken: Instant::now(),
        }
    }
}

struct Due {
    job: Job,
    /// `None` where there is no limit.
    at: Option<Instant>,
    is_cancelled: bool,
    calls: u32,
}

impl Overdue {
    /// A job that runs. Without a limit, its supervisor is only to be woken.
    pub(super) fn watch(&mut self, job: &Job, left: Option<Duration>) {
        let due = Due {
            job: job.clone(),
            at: left.and_then(|left| Instant::now().checked_add(left)),
            is_cancelled: false,
            calls: 0,
        };
        self.due.entry(job.id.clone()).or_insert(due);
    }

    /// Its end was asked for.
    pub(super) fn cancelled(&mut self, id: &RequestId) {
        if let Some(due) = self.due.get_mut(id).filter(|due| !due.is_cancelled) {
            due.is_cancelled = true;
            due.at = Some(Instant::now() + AGAIN);
        }
    }

    pub(super) fn forget(&mut self, id: &RequestId) {
        self.due.remove(id);
    }

    /// Whether its supervisor was killed for its silence.
    pub(super) fn is_killed(&self, id: &RequestId) -> bool {
        self.due.get(id).is_some_and(|due| due.calls > MAX_CALLS)
    }

    /// Calls those whose time has come. Returns those that are given up.
    pub(super) fn call(&mut self) -> Vec<Job> {
        let now = Instant::now();
        if now - self.woken >= WAKE {
            self.woken = now;
            self.wake();
        }
        let due = |due: &&mut Due| due.at.is_some_and(|at| at <= now);
        let mut given_up = Vec::new();
        for due in self.due.values_mut().filter(due) {
            due.calls += 1;
            due.at = Some(now + AGAIN);
            let called = match due.calls {
                ..=MAX_CALLS if due.is_cancelled => due.job.cancel(),
                ..=MAX_CALLS => due.job.wake().map(drop),
                _ => due.job.kill(),
            };
            if due.calls == MAX_CALLS + 1 {
                warn!(request = %due.job.id, "its supervisor does not end it, and is killed with it");
            }
            if let Err(error) = called {
                warn!(request = %due.job.id, error = format!("{error:#}"), "cannot reach a supervisor");
            }
            if due.calls > MAX_CALLS + MAX_KILLS {
                given_up.push(due.job.clone());
            }
        }
        given_up
    }

    /// Continues every supervisor that is stopped: a script can do that, and end.
    fn wake(&self) {
        for due in self.due.values() {
            match due.job.wake() {
                Ok(true) => {
                    warn!(request = %due.job.id, "its supervisor was stopped, and is continued");
                }
                Ok(false) => {}
                Err(error) => {
                    warn!(request = %due.job.id, error = format!("{error:#}"), "cannot look at a supervisor");
                }
            }
        }
    }
}
