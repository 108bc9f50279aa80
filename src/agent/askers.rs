//! Askers: clients whose broadcast waits for sysinfo that is collected anew.

use std::time::Duration;

use tokio::time::Instant;

use protocol::RoutingKey;

use super::outbox::{ClientAnswer, Outgoing};
use super::sysinfo::Sysinfo;

/// A client of Triton asks before the broker has its bindings: an answer within milliseconds would pass it by, and be
/// taken by another client's queue perhaps, so that the broker calls it routed. The Node.js agent took as long.
const UNTIL_BOUND: Duration = Duration::from_millis(100);
/// A sysinfo program may hang. After that, what is known has to do.
const PATIENCE: Duration = Duration::from_millis(500);
/// More at a time are answered at once.
const MAX_ASKERS: usize = 1000;

#[derive(Default)]
pub(super) struct Askers(Vec<Asker>);

pub(super) struct Asker {
    key: String,
    asked_at: Instant,
    is_bound: bool,
}

impl Asker {
    /// A client that says how old sysinfo may be has its queue bound before it asks.
    pub(super) fn new(key: &RoutingKey, max_age: Option<Duration>) -> Self {
        Self {
            key: key.to_string(),
            asked_at: Instant::now(),
            is_bound: max_age.is_some(),
        }
    }

    pub(super) fn answer(self, sysinfo: &Sysinfo) -> Outgoing {
        let mut answer = ClientAnswer::new(self.key, sysinfo.body.clone());
        answer.not_before = (!self.is_bound).then(|| self.asked_at + UNTIL_BOUND);
        Outgoing::Answer(answer)
    }
}

impl Askers {
    /// Gives the asker back where too many wait.
    pub(super) fn add(&mut self, asker: Asker) -> Result<(), Asker> {
        if self.0.len() == MAX_ASKERS {
            return Err(asker);
        }
        self.0.push(asker);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take_all(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.0)
    }

    /// Those that have waited for long enough.
    pub(super) fn take_overdue(&mut self) -> Vec<Asker> {
        let now = Instant::now();
        self.0
            .extract_if(.., |asker| now - asker.asked_at >= PATIENCE)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysinfo;

    #[tokio::test(start_paused = true)]
    async fn an_asker_waits_half_a_second_and_is_answered_no_sooner_than_it_can_hear() {
        let key = protocol::reply_key(&protocol::NodeId::parse("n1").unwrap(), "r1");
        let mut askers = Askers::default();
        assert!(askers.add(Asker::new(&key, None)).is_ok());
        tokio::time::advance(PATIENCE / 2).await;
        assert!(askers.take_overdue().is_empty() && !askers.is_empty());
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(askers.take_overdue().len(), 1);

        let not_before = |max_age| match Asker::new(&key, max_age).answer(&sysinfo::named("n1")) {
            Outgoing::Answer(answer) => answer.not_before,
            other => panic!("{other:?}"),
        };
        assert_eq!(not_before(None), Some(Instant::now() + UNTIL_BOUND));
        assert_eq!(not_before(Some(Duration::from_secs(60))), None);
    }

    #[test]
    fn a_flood_of_askers_does_not_wait() {
        let key = protocol::reply_key(&protocol::NodeId::parse("n1").unwrap(), "r1");
        let mut askers = Askers::default();
        let taken = (0..2 * MAX_ASKERS).filter(|_| askers.add(Asker::new(&key, None)).is_ok());
        assert_eq!(taken.count(), MAX_ASKERS);
    }
}
