//! A rolling run: which of the nodes may be sent to by now. Batch after batch, and so many of a failure domain at once.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Target;
use protocol::NodeId;

/// How a run rolls. The default sends to all nodes at once.
#[derive(Debug, Default)]
pub struct Rolling {
    /// How many nodes each batch has. Empty: all are one batch.
    pub batches: Vec<usize>,
    pub between: Between,
    /// At most so many nodes of a failure domain are at work at once.
    pub per_domain: Option<(HashMap<NodeId, String>, usize)>,
}

/// What comes between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Between {
    #[default]
    Nothing,
    Pause(Duration),
    /// The operator says when to go on.
    Question,
}

/// A batch has ended, and another one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Counted from 1.
    pub batch: usize,
    pub batches: usize,
    /// Nodes of the next one.
    pub next: usize,
    pub between: Between,
}

/// Whose turn has come.
pub(super) struct Turns {
    batches: Vec<usize>,
    between: Between,
    /// The batch that is at work.
    batch: usize,
    /// How many of its nodes have not been sent to.
    left: usize,
    until_next: UntilNext,
    /// The domain of each node, as a number.
    domains: Vec<usize>,
    most: usize,
    /// How many of each domain are at work.
    at_work: Vec<usize>,
    /// Every node that waits is of a domain that has no room.
    is_full: bool,
}

/// What the next batch waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UntilNext {
    EndOfBatch,
    Time(Instant),
    Operator,
}

impl Turns {
    pub(super) fn new(rolling: &Rolling, targets: &[Target]) -> Self {
        let mut batches = rolling.batches.clone();
        if batches.is_empty() {
            batches.push(targets.len());
        }
        let mut turns = Self {
            left: batches[0],
            batches,
            between: rolling.between,
            batch: 0,
            until_next: UntilNext::EndOfBatch,
            domains: Vec::new(),
            most: usize::MAX,
            at_work: Vec::new(),
            is_full: false,
        };
        if let Some((domain_of, most)) = &rolling.per_domain {
            let mut numbers: HashMap<&str, usize> = HashMap::new();
            for target in targets {
                let domain = domain_of.get(&target.id).map_or("", String::as_str);
                let next = numbers.len();
                turns.domains.push(*numbers.entry(domain).or_insert(next));
            }
            turns.at_work = vec![0; numbers.len()];
            turns.most = *most;
        }
        turns
    }

    /// Takes the node whose turn it is out of those that wait.
    pub(super) fn next(&mut self, waiting: &mut VecDeque<usize>) -> Option<usize> {
        if self.left == 0 || self.is_full {
            return None;
        }
        let has_room = |i: &usize| {
            let domain = self.domains.get(*i);
            domain.is_none_or(|&domain| self.at_work[domain] < self.most)
        };
        let Some(at) = waiting.iter().position(has_room) else {
            self.is_full = true;
            return None;
        };
        let i = waiting.remove(at)?;
        self.left -= 1;
        if let Some(&domain) = self.domains.get(i) {
            self.at_work[domain] += 1;
        }
        Some(i)
    }

    pub(super) fn ended(&mut self, i: usize) {
        if let Some(&domain) = self.domains.get(i) {
            self.at_work[domain] -= 1;
            self.is_full = false;
        }
    }

    /// Asked where no node is at work and some wait: whether the batch has just ended. Begins the next one in time.
    pub(super) fn idle(&mut self, now: Instant) -> Option<BatchEnd> {
        match self.until_next {
            UntilNext::EndOfBatch if self.left == 0 => {}
            UntilNext::Time(at) if now >= at => {
                self.begin();
                return None;
            }
            _ => return None,
        }
        let end = BatchEnd {
            batch: self.batch + 1,
            batches: self.batches.len(),
            next: *self.batches.get(self.batch + 1)?,
            between: self.between,
        };
        match self.between {
            Between::Nothing => self.begin(),
            Between::Pause(pause) => self.until_next = UntilNext::Time(now + pause),
            Between::Question => self.until_next = UntilNext::Operator,
        }
        Some(end)
    }

    /// The operator's word.
    pub(super) fn go_on(&mut self) {
        if self.until_next == UntilNext::Operator {
            self.begin();
        }
    }

    /// The question was not answered, and another one was asked since.
    pub(super) fn ask_again(&mut self) {
        if self.until_next == UntilNext::Operator {
            self.until_next = UntilNext::EndOfBatch;
        }
    }

    fn begin(&mut self) {
        self.until_next = UntilNext::EndOfBatch;
        self.batch += 1;
        self.left = self.batches.get(self.batch).copied().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selector;
    use super::super::node::tests::node;
    use super::*;

    fn targets(count: usize) -> Vec<Target> {
        let nodes = (0..count).map(|i| node(&format!("u{i}"), "m", &format!("n{i}")));
        let nodes: Vec<_> = nodes.collect();
        Selector::All.select(&nodes).unwrap().targets
    }

    fn all(turns: &mut Turns, waiting: &mut VecDeque<usize>) -> Vec<usize> {
        std::iter::from_fn(|| turns.next(waiting)).collect()
    }

    #[test]
    fn a_batch_is_sent_when_the_one_before_it_has_ended_and_the_time_or_the_word_has_come() {
        let rolling = |between| Rolling {
            batches: vec![1, 2, 1],
            between,
            per_domain: None,
        };
        let (now, pause) = (Instant::now(), Duration::from_secs(5));
        for between in [Between::Nothing, Between::Pause(pause), Between::Question] {
            let mut turns = Turns::new(&rolling(between), &targets(4));
            let mut waiting: VecDeque<usize> = (0..4).collect();
            assert_eq!(all(&mut turns, &mut waiting), [0]);
            let end = turns.idle(now).unwrap();
            assert_eq!((end.batch, end.batches, end.next), (1, 3, 2));
            let next = all(&mut turns, &mut waiting);
            if between == Between::Nothing {
                assert_eq!(next, [1, 2]);
                continue;
            }
            assert_eq!(next, [0; 0]);
            assert_eq!(turns.idle(now), None, "told once");
            turns.go_on();
            turns.idle(now + pause);
            assert_eq!(all(&mut turns, &mut waiting), [1, 2]);
        }
    }

    #[test]
    fn of_a_domain_no_more_are_at_work_than_may_be_and_others_pass_by() {
        let targets = targets(5);
        let racks = ["a", "a", "a", "b", "b"];
        let domains = targets.iter().map(|target| target.id.clone());
        let rolling = Rolling {
            per_domain: Some((domains.zip(racks.map(str::to_owned)).collect(), 1)),
            ..Rolling::default()
        };
        let mut turns = Turns::new(&rolling, &targets);
        let mut waiting: VecDeque<usize> = (0..5).collect();
        assert_eq!(all(&mut turns, &mut waiting), [0, 3]);
        turns.ended(0);
        assert_eq!(all(&mut turns, &mut waiting), [1]);
        turns.ended(3);
        turns.ended(1);
        assert_eq!(all(&mut turns, &mut waiting), [2, 4]);
    }
}
