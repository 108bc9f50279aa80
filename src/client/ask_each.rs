//! One question to each of many nodes, at once: the first answer of a node counts, and a silence ends it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::Target;
use broker::{Delivery, Routing, Subscription};
use protocol::NodeId;

/// Questions that the broker has not confirmed yet.
const UNCONFIRMED: usize = 256;

/// The answers, in the order of the targets.
pub(super) struct Asked<'a, A> {
    by_id: HashMap<&'a NodeId, usize>,
    /// When each was asked, as far as they were.
    at: Vec<Option<Instant>>,
    pub(super) answers: Vec<Option<A>>,
    pub(super) left: usize,
}

impl<'a, A: Clone> Asked<'a, A> {
    /// Those of which the answer is known are not asked.
    pub(super) fn of(targets: &'a [Target], known: impl Fn(&Target) -> Option<A>) -> Self {
        let answers: Vec<Option<A>> = targets.iter().map(known).collect();
        Self {
            by_id: targets.iter().map(|target| &target.id).zip(0..).collect(),
            at: Vec::new(),
            left: answers.iter().filter(|answer| answer.is_none()).count(),
            answers,
        }
    }

    /// The target that is to be asked next.
    pub(super) fn next(&mut self, now: Instant) -> Option<usize> {
        loop {
            let i = self.at.len();
            let is_open = self.answers.get(i)?.is_none();
            self.at.push(is_open.then_some(now));
            if is_open {
                return Some(i);
            }
        }
    }

    /// A node that was asked, and when.
    pub(super) fn asked(&self, node: &NodeId) -> Option<(usize, Instant)> {
        let i = *self.by_id.get(node)?;
        Some((i, (*self.at.get(i)?)?))
    }

    /// Whether it is the first answer of the node: that one counts.
    pub(super) fn answered(&mut self, i: usize, answer: A) -> bool {
        let is_first = self.answers[i].is_none();
        if is_first {
            self.answers[i] = Some(answer);
            self.left -= 1;
        }
        is_first
    }

    /// Asks all, and waits until nothing has come from any of them for `wait`: thousands of answers take their time.
    /// `received` says whether a delivery is the first answer of one of them; two answers are given for those that give
    /// none.
    pub(super) async fn ask<F: Future<Output = Result<Routing>>>(
        mut self,
        (subscription, wait): (&mut Subscription, Duration),
        ask: impl Fn(usize) -> F,
        (not_connected, no_answer): (A, A),
        received: impl Fn(&mut Self, &Delivery) -> bool,
    ) -> Result<Vec<A>> {
        let mut publishing = FuturesUnordered::new();
        let mut latest = Instant::now();
        while self.left > 0 {
            while publishing.len() < UNCONFIRMED
                && let Some(i) = self.next(Instant::now())
            {
                let asking = ask(i);
                publishing.push(async move { (i, asking.await) });
            }
            let is_news = select! {
                () = sleep_until(latest + wait) => break,
                Some((i, routing)) = publishing.next() => {
                    if routing? == Routing::Unroutable {
                        self.answered(i, not_connected.clone());
                    }
                    true
                }
                delivery = subscription.receive() => received(&mut self, &delivery?),
            };
            // Answers that no question asked for do not put off the end: they may never stop.
            if is_news {
                latest = Instant::now();
            }
        }
        let answers = self.answers.into_iter();
        Ok(answers
            .map(|answer| answer.unwrap_or_else(|| no_answer.clone()))
            .collect())
    }
}
