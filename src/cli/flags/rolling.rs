//! `--concurrency`, `--max-fail`, `--batch`, `--pause`, `--per`: how many nodes at a time, and when to send to no more.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::steering::has_terminal;
use super::values::duration;
use crate::exit::Usage;
use client::{Between, Filter, Node, Plan, Rolling, outputs};
use protocol::NodeId;

#[derive(Debug, Args)]
pub(crate) struct RollingArgs {
    /// Nodes at work at a time [default: all]
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroUsize>,
    /// With --concurrency, --batch or --per: send to no
    /// more nodes when N have failed, or N% of all
    /// [default: 1 with --batch, else never]
    #[arg(long, value_name = "N", verbatim_doc_comment)]
    max_fail: Option<Share>,
    /// Send to so many when those before have ended, as
    /// 1,10%,rest; the last N again and again
    #[arg(long, value_name = "N,…", value_delimiter = ',', verbatim_doc_comment)]
    batch: Vec<BatchSize>,
    /// Time between batches; 0 is none
    /// [default: ask on a terminal, else 0]
    #[arg(long, value_name = "TIME", value_parser = pause, requires = "batch", verbatim_doc_comment)]
    pause: Option<Duration>,
    /// At most N at once of those for which a jq expression
    /// gives the same: --per .Rack 2
    #[arg(long, value_names = ["EXPR", "N"], num_args = 2, verbatim_doc_comment)]
    per: Vec<String>,
}

/// What parts nodes into failure domains, and how many of one may be at work at once.
pub(crate) struct Per {
    filter: Arc<Filter>,
    most: usize,
}

/// A number of nodes, or a part of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Share {
    Count(NonZeroUsize),
    Percent(f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BatchSize {
    Share(Share),
    Rest,
}

impl RollingArgs {
    /// For so many nodes.
    pub(crate) fn add_to(&self, plan: &mut Plan, nodes: usize) {
        plan.concurrency = self.concurrency.map(usize::from);
        plan.max_fail = self.max_fail.map(|share| share.of(nodes));
        if self.batch.is_empty() {
            return;
        }
        // One that fails in the first batch is what the first batch is for.
        plan.max_fail = plan.max_fail.or(Some(1));
        plan.rolling = Rolling {
            batches: sizes(&self.batch, nodes),
            between: match self.pause {
                Some(Duration::ZERO) => Between::Nothing,
                Some(pause) => Between::Pause(pause),
                None if has_terminal() => Between::Question,
                None => Between::Nothing,
            },
            ..Rolling::default()
        };
    }
}

impl RollingArgs {
    /// Where all nodes are sent to at once, no failure comes before the last of them.
    pub(crate) fn refuse_idle(&self) -> Result<(), Usage> {
        let is_bounded =
            self.concurrency.is_some() || !self.batch.is_empty() || !self.per.is_empty();
        if self.max_fail.is_none() || is_bounded {
            return Ok(());
        }
        let what = "--max-fail stops nothing where all nodes are sent to at once: add --concurrency N, \
                    or --batch 1,10%,rest";
        Err(Usage(what.to_owned()))
    }

    pub(crate) fn per(&self) -> Result<Option<Per>> {
        let [expression, most] = self.per.as_slice() else {
            return Ok(None);
        };
        let most: NonZeroUsize = most
            .parse()
            .map_err(|_error| Usage(format!("--per EXPR N: {most:?} is no number above 0")))?;
        let filter = Arc::new(Filter::parse(expression)?);
        Ok(Some(Per {
            filter,
            most: most.into(),
        }))
    }
}

impl Per {
    /// The domain of each of the nodes, which were asked for all they say.
    pub(crate) fn domains(self, nodes: &[Node]) -> Result<(HashMap<NodeId, String>, usize)> {
        let mut domains = HashMap::new();
        let mut is_null = true;
        let all: Vec<&Node> = nodes.iter().collect();
        for (node, outputs) in nodes.iter().zip(outputs(&self.filter, &all)?) {
            let outputs = outputs.map_err(|why| Usage(why.about(&node.name())))?;
            is_null &= outputs.iter().all(serde_json::Value::is_null);
            domains.insert(node.id.clone(), json!(outputs).to_string());
        }
        if is_null {
            let what = "--per: the expression gives null for every node";
            return Err(Usage(what.to_owned()).into());
        }
        Ok((domains, self.most))
    }
}

/// The last size is taken as often as it takes.
fn sizes(batch: &[BatchSize], nodes: usize) -> Vec<usize> {
    let last = batch.last().copied().unwrap_or(BatchSize::Rest);
    let mut sizes = batch.iter().copied().chain(std::iter::repeat(last));
    let mut left = nodes;
    let next = || {
        let size = sizes.next()?.of(nodes).min(left);
        left -= size;
        (size > 0).then_some(size)
    };
    std::iter::from_fn(next).collect()
}

impl BatchSize {
    fn of(self, nodes: usize) -> usize {
        match self {
            Self::Share(share) => share.of(nodes),
            Self::Rest => nodes,
        }
    }
}

impl Share {
    /// One at the least.
    fn of(self, nodes: usize) -> usize {
        match self {
            Self::Count(count) => count.into(),
            Self::Percent(percent) => ((nodes as f64 * percent / 100.0).ceil() as usize).max(1),
        }
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let share = match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok();
                percent
                    .filter(|percent| *percent > 0.0 && *percent <= 100.0)
                    .map(Self::Percent)
            }
            None => text.parse().ok().map(Self::Count),
        };
        share.ok_or("write a number of nodes, or a part of all as 10%")
    }
}

impl FromStr for BatchSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "rest" {
            return Ok(Self::Rest);
        }
        let share = text.parse().map(Self::Share);
        share.map_err(|_one| "write numbers of nodes, parts of all as 10%, and rest: 1,10%,rest")
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str, nodes: usize) -> Vec<usize> {
        let sizes: Result<Vec<BatchSize>, _> = text.split(',').map(str::parse).collect();
        super::sizes(&sizes.unwrap(), nodes)
    }

    #[test]
    fn batches_have_the_sizes_that_are_written_and_reach_all_nodes() {
        assert_eq!(batches("1,10%,rest", 500), [1, 50, 449]);
        assert_eq!(batches("1,2", 6), [1, 2, 2, 1]);
        assert_eq!(batches("33%", 3), [1, 1, 1]);
        assert_eq!(batches("10", 3), [3]);
        assert_eq!(batches("rest,1", 3), [3]);
    }

    #[test]
    fn max_fail_alone_stops_nothing_and_is_refused() {
        let args = RollingArgs {
            concurrency: None,
            max_fail: "1".parse().ok(),
            batch: Vec::new(),
            pause: None,
            per: Vec::new(),
        };
        let told = args.refuse_idle().unwrap_err().0;
        assert!(told.contains("--concurrency"), "{told}");
        let concurrency = NonZeroUsize::new(10);
        let args = RollingArgs {
            concurrency,
            ..args
        };
        assert!(args.refuse_idle().is_ok());
    }

    #[test]
    fn nodes_are_of_the_domain_that_an_expression_gives() {
        let node = |name: &str, rack: serde_json::Value| {
            let sysinfo = json!({"Hostname": name, "Rack": rack}).to_string();
            let id = NodeId::parse(name).unwrap();
            Node {
                sysinfo: serde_json::value::RawValue::from_string(sysinfo.clone())
                    .ok()
                    .map(Into::into),
                ..Node::read(id, sysinfo.as_bytes()).unwrap()
            }
        };
        let nodes = [
            node("n1", json!("a")),
            node("n2", json!(null)),
            node("n3", json!("a")),
        ];
        let per = |expression| Per {
            filter: Filter::parse(expression).unwrap().into(),
            most: 2,
        };
        let (domains, most) = per(".Rack").domains(&nodes).unwrap();
        let domain = |i: usize| &domains[&nodes[i].id];
        assert_eq!((domain(0), most), (domain(2), 2));
        assert_ne!(domain(0), domain(1));
        assert!(per(".Rak").domains(&nodes).is_err());
        assert!(per("def f: f; f").domains(&nodes).is_err());
    }

    #[test]
    fn a_part_of_all_is_one_node_at_the_least_and_not_more_than_all() {
        let share = |text: &str| text.parse::<Share>().map(|share| share.of(200));
        assert_eq!(
            ["3", "10%", "0.1%", "100%"].map(share),
            [Ok(3), Ok(20), Ok(1), Ok(200)]
        );
        for text in ["0", "0%", "101%", "x", "%", "nan%", "-1", ""] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
