//! Runs of this user as they are recorded: a line for each, and one of them whole.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::ending;
use super::fold::fold_targets;
use super::table::Table;
use super::tally::tally;
use client::{Clock, PastRun, Target};
use protocol::{Outcome, RequestId};

/// Characters of an id of `ur` itself that are enough, unless another begins alike.
const SHORT: usize = 8;

/// Where the terminal has no room, without their times.
pub(crate) fn write(runs: &[PastRun], width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let table = Table {
        header: Some(&["REQUEST", "SENT", "NODES", "WHAT", "RESULT"]),
        width,
        cut: &[3, 2],
        spare: &[1],
        ..Table::default()
    };
    let clock = Clock::of(&io::stdout());
    let ids: Vec<&RequestId> = runs.iter().map(|run| &run.start.request).collect();
    let rows = runs.iter().map(|run| {
        let start = &run.start;
        [
            short(&start.request, &ids),
            clock.seconds(start.at),
            fold_targets(&start.targets),
            start.what.clone(),
            endings(run),
        ]
    });
    table.write(rows, out).map(drop)
}

/// As much of it as `ur` needs to know it again.
fn short(id: &RequestId, all: &[&RequestId]) -> String {
    let text = id.as_str();
    // What a person has chosen is not cut.
    if uuid::Uuid::try_parse(text).is_err() {
        return text.to_owned();
    }
    let is_enough = |head: &&str| {
        !all.iter()
            .any(|it| *it != id && it.as_str().starts_with(*head))
    };
    let mut heads = (SHORT..text.len()).filter_map(|n| text.get(..n));
    heads.find(is_enough).unwrap_or(text).to_owned()
}

/// `38 ok, 1 exit 7 (node4), 2 without an end (node[5-6])`
pub(crate) fn endings(run: &PastRun) -> String {
    let targets = run.start.targets.iter();
    let words = targets.map(|target| (word(run, target), target));
    let missing = run.start.missing.iter();
    let missing = missing.map(|target| ("did not answer".to_owned(), target));
    let mut endings = tally(words.chain(missing));
    endings.sort_by(|(a, _), (b, _)| (a != "ok", a).cmp(&(b != "ok", b)));
    let parts: Vec<String> = endings
        .into_iter()
        .map(|(word, targets)| match word.as_str() {
            "ok" => format!("{} ok", targets.len()),
            _ => format!("{} {word} ({})", targets.len(), fold_targets(targets)),
        })
        .collect();
    parts.join(", ")
}

fn word(run: &PastRun, target: &Target) -> String {
    match run.ended.get(&target.id) {
        Some(outcome) => ending::kind(outcome),
        None if run.sent.contains(&target.id) => "without an end".to_owned(),
        None => "not sent".to_owned(),
    }
}

pub(crate) fn json(run: &PastRun) -> Value {
    let state = |target: &Target| match run.ended.get(&target.id) {
        Some(outcome) => outcome.state(),
        None if run.sent.contains(&target.id) => "sent",
        None => "not_sent",
    };
    let node = |target: &Target, state: &str| {
        let mut node = json!({"uuid": target.id, "hostname": target.hostname, "state": state});
        if let Some(Outcome::Exited { status }) = run.ended.get(&target.id) {
            node["exit_status"] = json!(status);
        }
        node
    };
    let targets = run.start.targets.iter().map(|it| node(it, state(it)));
    let missing = run.start.missing.iter().map(|it| node(it, "missing"));
    json!({
        "request": run.start.request,
        "sent_at": run.start.at,
        "what": run.start.what,
        "nodes": targets.chain(missing).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::result;
    use super::*;
    use client::Start;
    use std::collections::{HashMap, HashSet};
    use std::time::Duration;

    fn run(id: &str) -> PastRun {
        let target = |name: &str| Target::clone(&result(name, Outcome::NoAnswer, "", "").target);
        let targets: Vec<Target> = (1..6).map(|i| target(&format!("node{i}"))).collect();
        let outcomes = [0, 0, 7].map(|status| Outcome::Exited { status });
        let ids = || targets.iter().map(|target| target.id.clone());
        PastRun {
            sent: ids().take(4).collect::<HashSet<_>>(),
            is_broken_off: false,
            ended: ids().zip(outcomes).collect::<HashMap<_, _>>(),
            heard: HashMap::new(),
            start: Start {
                request: RequestId::parse(id).unwrap(),
                at: "2026-01-01T00:00:00Z".parse().unwrap(),
                what: "uptime".to_owned(),
                wait: Some(Duration::from_secs(60)),
                missing: vec![target("node9")],
                content: None,
                targets,
            },
        }
    }

    #[test]
    fn a_run_is_a_line_with_how_it_ended_for_whom() {
        let mut out = Vec::new();
        write(&[run("r1")], None, &mut out).unwrap();
        let expected = "\
REQUEST  SENT                  NODES      WHAT    RESULT
r1       2026-01-01T00:00:00Z  node[1-5]  uptime  2 ok, 1 did not answer (node9), 1 exit 7 (node3), 1 not sent (node5), 1 without an end (node4)
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let json = json(&run("r1"));
        let states: Vec<&Value> = (0..6).map(|i| &json["nodes"][i]["state"]).collect();
        let expected = ["exited", "exited", "exited", "sent", "not_sent", "missing"];
        assert_eq!(states, expected);
        assert_eq!(json["nodes"][2]["exit_status"], 7);
    }

    #[test]
    fn an_id_of_ur_is_cut_where_no_other_begins_alike() {
        let ids = [
            "0b1c2d3e-0000-4000-8000-000000000001",
            "0b1c2d3e-1000-4000-8000-000000000001",
            "deploy-of-today",
        ];
        let ids = ids.map(|id| RequestId::parse(id).unwrap());
        let all: Vec<&RequestId> = ids.iter().collect();
        assert_eq!(short(&ids[0], &all), "0b1c2d3e-0");
        assert_eq!(short(&ids[0], &all[..1]), "0b1c2d3e");
        assert_eq!(short(&ids[2], &all), "deploy-of-today");
    }
}
