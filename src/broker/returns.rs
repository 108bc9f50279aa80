//! Messages that the broker returned: whose they are. RabbitMQ returns an unroutable message before it confirms it;
//! lapin keeps what was returned in a queue, and gives the first of it to whichever confirm comes next, be it of
//! another message. So each message has an id, which comes back with it, and counts as taken only when its own return,
//! if there were one, must have been seen.

use std::collections::HashSet;

use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use tokio::sync::oneshot;

use crate::Routing;

/// The confirm of a message, or the error that closed its channel.
pub(crate) struct Confirmed {
    pub id: u64,
    pub confirmed: lapin::Result<Confirmation>,
    pub judged: oneshot::Sender<lapin::Result<Routing>>,
}

/// Of one channel.
#[derive(Default)]
pub(crate) struct Returns {
    /// Unroutable, and not judged yet.
    returned: HashSet<u64>,
    /// Confirmed, and not judged yet: their own return may still be in lapin's queue.
    undecided: Vec<Undecided>,
}

struct Undecided {
    id: u64,
    /// After how many more confirms its return would have been seen.
    after: usize,
    judged: oneshot::Sender<lapin::Result<Routing>>,
}

impl Returns {
    /// Judges by every confirm that lapin has now, while so many more are to come.
    ///
    /// The returns in lapin's queue are of messages whose confirms are to come, so there are no more than of these, and
    /// each confirm takes one out. Therefore nothing is left in the queue of what was there at a confirm
    /// - that came without a return; or
    /// - after which all have come that were to come then, or as many.
    pub(crate) fn judge(&mut self, confirms: Vec<Confirmed>, to_come: usize) {
        let (mut came, mut queue_was_empty, mut failure) = (0, false, None);
        for Confirmed { confirmed, .. } in &confirms {
            match confirmed {
                Ok(Confirmation::Ack(returned) | Confirmation::Nack(returned)) => {
                    came += 1;
                    queue_was_empty |= returned.is_none();
                    self.returned.extend(returned.as_ref().and_then(id_of));
                }
                Ok(Confirmation::NotRequested) => {
                    unreachable!("every publisher asks for confirms")
                }
                Err(error) => failure = Some(error.clone()),
            }
        }
        // An error takes nothing out.
        let to_come = to_come + confirms.len() - came;
        for mut earlier in std::mem::take(&mut self.undecided) {
            let left = earlier.after.saturating_sub(came);
            earlier.after = if queue_was_empty { 0 } else { left };
            self.decide(earlier, failure.as_ref());
        }
        for Confirmed {
            id,
            confirmed,
            judged,
        } in confirms
        {
            match confirmed {
                // By a queue: it has a route.
                Ok(Confirmation::Nack(_)) => tell(judged, Ok(Routing::Rejected)),
                Ok(confirmation) => {
                    let is_without = confirmation.take_message().is_none();
                    let after = if is_without { 0 } else { to_come };
                    self.decide(Undecided { id, after, judged }, failure.as_ref());
                }
                Err(error) => tell(judged, Err(error)),
            }
        }
    }

    /// A channel that was closed by an error returns and confirms nothing any more.
    fn decide(&mut self, one: Undecided, failure: Option<&lapin::Error>) {
        if self.returned.remove(&one.id) {
            tell(one.judged, Ok(Routing::Unroutable));
        } else if one.after == 0 {
            tell(one.judged, Ok(Routing::Taken));
        } else if let Some(error) = failure {
            tell(one.judged, Err(error.clone()));
        } else {
            self.undecided.push(one);
        }
    }
}

/// Whoever published may not want to know.
fn tell(judged: oneshot::Sender<lapin::Result<Routing>>, routing: lapin::Result<Routing>) {
    drop(judged.send(routing));
}

fn id_of(returned: &BasicReturnMessage) -> Option<u64> {
    let id = returned.properties.message_id().as_ref()?;
    id.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::ErrorKind;
    use lapin::message::Delivery;

    type Judgement = oneshot::Receiver<lapin::Result<Routing>>;

    fn confirm(id: u64, confirmed: lapin::Result<Confirmation>) -> (Confirmed, Judgement) {
        let (judged, judgement) = oneshot::channel();
        let confirm = Confirmed {
            id,
            confirmed,
            judged,
        };
        (confirm, judgement)
    }

    fn returned(id: u64) -> Option<BasicReturnMessage> {
        let mut delivery = Delivery::mock(0, "".into(), "k".into(), false, Vec::new());
        let properties = delivery.properties.with_message_id(id.to_string().into());
        delivery.properties = properties;
        Some(BasicReturnMessage {
            delivery,
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
        })
    }

    fn acked(id: u64, with: Option<BasicReturnMessage>) -> (Confirmed, Judgement) {
        confirm(id, Ok(Confirmation::Ack(with)))
    }

    fn failed(id: u64) -> (Confirmed, Judgement) {
        let closed = ErrorKind::InvalidChannelState(lapin::ChannelState::Closed, "test");
        confirm(id, Err(closed.into()))
    }

    fn told(judgement: &mut Judgement) -> Option<Result<Routing, ()>> {
        let told = judgement.try_recv().ok()?;
        Some(told.map_err(drop))
    }

    #[test]
    fn a_message_alone_is_judged_at_its_confirm() {
        let mut returns = Returns::default();
        let (taken, mut was_taken) = acked(0, None);
        returns.judge(vec![taken], 0);
        assert_eq!(told(&mut was_taken), Some(Ok(Routing::Taken)));
        let (unroutable, mut was_unroutable) = acked(1, returned(1));
        returns.judge(vec![unroutable], 0);
        assert_eq!(told(&mut was_unroutable), Some(Ok(Routing::Unroutable)));
    }

    #[test]
    fn a_return_counts_for_its_own_message_whichever_confirm_carries_it() {
        let mut returns = Returns::default();
        let (first, mut a) = acked(0, returned(1));
        returns.judge(vec![first], 1);
        assert_eq!(told(&mut a), None);
        let (second, mut b) = acked(1, None);
        returns.judge(vec![second], 0);
        assert_eq!(told(&mut a), Some(Ok(Routing::Taken)));
        assert_eq!(told(&mut b), Some(Ok(Routing::Unroutable)));
    }

    #[test]
    fn a_confirm_that_comes_out_first_may_have_come_last() {
        let mut returns = Returns::default();
        let ((late, mut b), (early, mut a)) = (acked(1, None), acked(0, returned(1)));
        returns.judge(vec![late, early], 5);
        assert_eq!(told(&mut b), Some(Ok(Routing::Unroutable)));
        // Its own return may have come after the confirm that found none.
        assert_eq!(told(&mut a), None);
        let (third, mut c) = acked(2, returned(0));
        returns.judge(vec![third], 4);
        assert_eq!(told(&mut a), Some(Ok(Routing::Unroutable)));
        assert_eq!(told(&mut c), None);
    }

    #[test]
    fn after_as_many_confirms_as_were_to_come_nothing_of_then_is_left() {
        let mut returns = Returns::default();
        let (first, mut a) = acked(0, returned(1));
        returns.judge(vec![first], 2);
        let (second, mut b) = acked(1, returned(2));
        returns.judge(vec![second], 2);
        assert_eq!(told(&mut b), Some(Ok(Routing::Unroutable)));
        assert_eq!(told(&mut a), None);
        let (third, mut c) = acked(2, returned(3));
        returns.judge(vec![third], 2);
        assert_eq!(told(&mut c), Some(Ok(Routing::Unroutable)));
        assert_eq!(told(&mut a), Some(Ok(Routing::Taken)));
    }

    #[test]
    fn a_rejected_message_has_a_route_and_the_return_it_carries_is_anothers() {
        let mut returns = Returns::default();
        let (first, mut a) = confirm(0, Ok(Confirmation::Nack(returned(1))));
        returns.judge(vec![first], 1);
        assert_eq!(told(&mut a), Some(Ok(Routing::Rejected)));
        let (second, mut b) = acked(1, None);
        returns.judge(vec![second], 0);
        assert_eq!(told(&mut b), Some(Ok(Routing::Unroutable)));
    }

    #[test]
    fn a_closed_channel_leaves_nothing_undecided() {
        let mut returns = Returns::default();
        let (first, mut a) = acked(0, returned(7));
        returns.judge(vec![first], 3);
        let ((second, mut b), (third, mut c)) = (acked(1, None), acked(2, returned(8)));
        let (fourth, mut d) = failed(3);
        returns.judge(vec![second, third, fourth], 0);
        assert_eq!(told(&mut a), Some(Ok(Routing::Taken)));
        assert_eq!(told(&mut b), Some(Ok(Routing::Taken)));
        // Its own return may have come to nobody.
        assert_eq!(told(&mut c), Some(Err(())));
        assert_eq!(told(&mut d), Some(Err(())));
    }

    /// RabbitMQ and lapin as they are, in every order that the seed gives: returns before confirms, confirms of several
    /// at a time and in any order, handed out late.
    #[test]
    fn every_message_of_many_is_judged_right() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.usize(1..60);
            let routable: Vec<bool> = (0..count).map(|_| random.bool()).collect();
            let (mut returns, mut queue) = (Returns::default(), std::collections::VecDeque::new());
            let (mut published, mut unconfirmed) = (0, Vec::new());
            let (mut ready, mut judgements) = (Vec::new(), Vec::new());
            while judgements.len() < count || !ready.is_empty() {
                match random.u8(0..3) {
                    0 if published < count => {
                        if !routable[published] {
                            queue.push_back(published as u64);
                        }
                        unconfirmed.push(published);
                        published += 1;
                    }
                    1 if !unconfirmed.is_empty() => {
                        let id = unconfirmed.swap_remove(random.usize(..unconfirmed.len()));
                        let with = queue.pop_front().and_then(returned);
                        let (confirm, judgement) = acked(id as u64, with);
                        ready.push(confirm);
                        judgements.push((id, judgement));
                    }
                    2 => {
                        random.shuffle(&mut ready);
                        returns.judge(std::mem::take(&mut ready), unconfirmed.len());
                    }
                    _ => {}
                }
            }
            for (id, mut judgement) in judgements {
                let right = if routable[id] {
                    Routing::Taken
                } else {
                    Routing::Unroutable
                };
                assert_eq!(told(&mut judgement), Some(Ok(right)), "{id} of seed {seed}");
            }
        }
    }
}
