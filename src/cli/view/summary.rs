//! The summary of a run: how many nodes ended how, and what the operator can do about the rest.

use std::time::Duration;

use super::counter::LONG_SILENCE;
use super::fold::{fold, fold_targets};
use super::tally::tally;
use super::{ending, progress};
use client::{NodeResult, Report};
use protocol::{Outcome, Progress, RequestId};

/// Nodes that are spelled out where a command line is offered.
const MAX_NAMED: usize = 10;

/// `40 nodes: 38 ok, 1 of them reboots (node1), 1 exit 7 (node4), 1 not connected (node9)  1.2 s`, in three pieces: the
/// failures are in the middle.
pub(super) fn summary(report: &Report, reboots: &[String], took: Duration) -> [String; 3] {
    let results = report.results.iter();
    let ended = results.map(|result| (ending::kind(&result.outcome), &*result.target));
    let not_sent = report.not_sent.iter();
    let not_sent = not_sent.map(|target| ("not sent".to_owned(), &**target));
    let endings = tally(ended.chain(not_sent)).into_iter();
    let (good, mut bad): (Vec<_>, Vec<_>) = endings.partition(|(word, _)| word == "ok");
    bad.sort_by(|(a, _), (b, _)| a.cmp(b));
    let count = report.results.len() + report.not_sent.len();
    let nodes = if count == 1 { "node" } else { "nodes" };
    let mut good: Vec<String> = good
        .iter()
        .map(|(_, targets)| format!("{} ok", targets.len()))
        .collect();
    if !reboots.is_empty() {
        let verb = if reboots.len() == 1 {
            "reboots"
        } else {
            "reboot"
        };
        let names = fold(reboots.iter().map(String::as_str));
        good.push(format!(", {} of them {verb} ({names})", reboots.len()));
    }
    let comma = if good.is_empty() || bad.is_empty() {
        ""
    } else {
        ", "
    };
    let bad = bad.into_iter();
    let bad = bad.map(|(word, targets)| {
        let count = targets.len();
        format!("{count} {word} ({})", fold_targets(targets))
    });
    let bad: Vec<String> = bad.collect();
    [
        format!("{count} {nodes}: {}{comma}", good.join("")),
        bad.join(", "),
        format!("  {:.1} s", took.as_secs_f64()),
    ]
}

/// For each way to have given no answer: who, how far they are known to have come, and what to ask.
pub(super) fn advice(report: &Report, request: &RequestId) -> Vec<String> {
    let no_answer = |result: &&NodeResult| result.outcome == Outcome::NoAnswer;
    let unanswered: Vec<&NodeResult> = report.results.iter().filter(no_answer).collect();
    let far = |result: &&NodeResult| how_far(result, unanswered.len());
    let silent = tally(
        unanswered
            .iter()
            .map(|result| (far(result), &*result.target)),
    );
    let silent = silent.into_iter();
    let mut lines: Vec<String> = silent
        .map(|(far, targets)| format!("no answer from {}: {far}", fold_targets(targets)))
        .collect();
    if let Some(first) = unanswered.first() {
        let name = first.target.node_set_name();
        if report.interrupted {
            lines.push("stopped waiting; what was sent may go on running on its node".to_owned());
            if let Some(names) = cancellable(&unanswered) {
                lines.push(format!("to end it: ur cancel -n {names} {request}"));
            }
        }
        if unanswered
            .iter()
            .any(|result| result.target.agent.is_some())
        {
            lines.push(format!("to go on waiting: ur attach {request}"));
        }
        lines.push(format!("to learn more: ur why {name} {request}"));
    }
    lines
}

/// The nodes whose agent knows a cancel, as `-n` and a shell take them; the first ones, if they are many.
fn cancellable(unanswered: &[&NodeResult]) -> Option<String> {
    let targets = unanswered.iter().map(|result| &result.target);
    let able = targets.filter(|target| target.agent.is_some());
    let mut names: Vec<&str> = able.map(|target| target.node_set_name()).collect();
    if names.len() > MAX_NAMED {
        names.truncate(MAX_NAMED);
        names.push("…");
    }
    (!names.is_empty()).then(|| names.join(","))
}

/// Of one of so many nodes: of a few, how far each is; of many, what they have in common.
fn how_far(result: &NodeResult, nodes: usize) -> String {
    let Some(heard) = &result.last_progress else {
        return match result.target.agent {
            None => "a Node.js agent, which sends nothing but the reply",
            Some(_) if result.unroutable => "its agent is no longer connected",
            Some(_) => "its agent did not acknowledge the request",
        }
        .to_owned();
    };
    let words = match nodes {
        0..=MAX_NAMED => progress::state(heard),
        _ => progress::state(&Progress::now(heard.state)),
    };
    if result.silence <= LONG_SILENCE {
        return words;
    }
    let silence = progress::time(result.silence);
    format!("{words} when last heard of, {silence} ago")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::result;
    use super::*;
    use client::Plain;
    use protocol::State;

    fn mixed() -> Report {
        let exit = |name, status| result(name, Outcome::Exited { status }, "", "");
        let results = vec![
            exit("node1", 0),
            exit("node2", 0),
            exit("node4", 7),
            exit("node5", 7),
            result("node9", Outcome::NotConnected, "", ""),
        ];
        Report {
            results,
            ..Report::default()
        }
    }

    #[test]
    fn the_summary_counts_the_good_and_names_the_rest() {
        let took = Duration::from_millis(1234);
        assert_eq!(
            summary(&mixed(), &[], took).concat(),
            "5 nodes: 2 ok, 2 exit 7 (node[4-5]), 1 not connected (node9)  1.2 s"
        );
        let reboots = ["node1".to_owned()];
        let [good, ..] = summary(&mixed(), &reboots, took);
        assert_eq!(good, "5 nodes: 2 ok, 1 of them reboots (node1), ");
        let one = Report {
            results: mixed().results.split_off(4),
            ..Report::default()
        };
        assert_eq!(
            summary(&one, &[], took).concat(),
            "1 node: 1 not connected (node9)  1.2 s"
        );
        assert_eq!(advice(&one, &RequestId::parse("r1").unwrap()), [""; 0]);
    }

    #[test]
    fn silence_is_told_with_how_far_it_came_and_what_to_ask() {
        let silent = |name| result(name, Outcome::NoAnswer, "", "");
        let mut running = silent("node2");
        running.silence = Duration::from_secs(120);
        running.last_progress = Some(Box::new(Progress {
            percent: Some(40.0),
            ..Progress::now(State::Running)
        }));
        Arc::make_mut(&mut running.target).agent = Some(Plain::name("0.1.0"));
        let mut report = Report {
            results: vec![silent("node1"), running, silent("node3")],
            ..Report::default()
        };
        let request = RequestId::parse("r1").unwrap();
        let expected = [
            "no answer from node[1,3]: a Node.js agent, which sends nothing but the reply",
            "no answer from node2: running 40 % when last heard of, 2 min ago",
            "to go on waiting: ur attach r1",
            "to learn more: ur why node1 r1",
        ];
        assert_eq!(advice(&report, &request), expected);
        report.interrupted = true;
        let text = advice(&report, &request).join("\n");
        assert!(text.contains("may go on running") && text.contains("ur cancel -n node2 r1"));
        let odd = Arc::make_mut(&mut report.results[1].target);
        odd.hostname = Plain::name("$(reboot) node2");
        let id = odd.id.to_string();
        let text = advice(&report, &request).join("\n");
        assert!(text.contains(&format!("ur cancel -n {id} r1")), "{text}");
    }
}
