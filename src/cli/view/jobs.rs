//! The table of `ur jobs`: what runs and waits on each node, and of which nodes that is not known.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::fold::fold_targets;
use super::table::Table;
use super::tally::tally;
use super::{json, progress, status};
use client::{NodeJobs, Target};
use protocol::{ListedJob, State};

const HEADER: [&str; 6] = ["HOSTNAME", "REQUEST", "STATE", "FOR", "FROM", "WHAT"];

/// Characters of what runs, on a terminal.
const MAX_WHAT: usize = 20;

/// A row for each job, in a terminal of that width.
pub(crate) fn write(
    nodes: &[(&Target, &NodeJobs)],
    header: bool,
    width: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows = nodes.iter().flat_map(|(target, jobs)| match jobs {
        NodeJobs::Listed(list) => {
            let rows = list
                .jobs
                .iter()
                .map(|job| row(target, job, width.is_some()));
            rows.collect()
        }
        _ => Vec::new(),
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let table = Table {
        header: header.then_some(&HEADER),
        numbers: &[3],
        width,
        spare: &[4],
        cut: &[],
    };
    table.write(rows.iter(), out)?;
    Ok(())
}

fn row(target: &Target, job: &ListedJob, is_narrow: bool) -> [String; 6] {
    let what = job.what.as_deref().unwrap_or("-");
    let what = match is_narrow && what.chars().count() > MAX_WHAT {
        true => what.chars().take(MAX_WHAT).collect::<String>() + "…",
        false => what.to_owned(),
    };
    let said = &job.progress;
    // By the node's own clock, whatever time it has.
    let since = said.started_at.or(said.accepted_at);
    let age = since.and_then(|since| Duration::try_from(said.at.duration_since(since)).ok());
    [
        target.name(),
        job.request.to_string(),
        match said.state {
            State::Accepted => "starting".to_owned(),
            _ => progress::state(said),
        },
        age.map_or("-".to_owned(), progress::time),
        status::sender(said.origin.as_ref()).unwrap_or_else(|| "-".to_owned()),
        what,
    ]
}

/// What the table does not show: nodes of which it is not known, and jobs beyond those that are listed.
pub(crate) fn remarks(nodes: &[(&Target, &NodeJobs)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (target, jobs) in nodes {
        if let NodeJobs::Listed(list) = jobs {
            let (all, listed) = (list.running + list.waiting, list.jobs.len());
            if all > listed {
                let name = target.name();
                lines.push(format!("{name}: {all} jobs, of which {listed} are listed"));
            }
        }
    }
    let not_known = nodes.iter().filter_map(|(target, jobs)| {
        let why = match jobs {
            NodeJobs::Listed(_) => return None,
            NodeJobs::Unreadable => "its answer is no list of jobs",
            NodeJobs::NodeJs => "a Node.js agent, which keeps no record of jobs",
            NodeJobs::NotConnected => "not connected",
            NodeJobs::NoAnswer => "no answer",
        };
        Some((why, *target))
    });
    let not_known = tally(not_known).into_iter();
    lines.extend(not_known.map(|(why, targets)| format!("{}: {why}", fold_targets(targets))));
    lines
}

/// How many jobs there are, and on how many nodes.
pub(crate) fn summary(nodes: &[(&Target, &NodeJobs)]) -> String {
    let lists = nodes.iter().filter_map(|(_, jobs)| match jobs {
        NodeJobs::Listed(list) => Some(list),
        _ => None,
    });
    let (mut running, mut waiting, mut idle) = (0, 0, 0);
    for list in lists {
        running += list.running;
        waiting += list.waiting;
        idle += usize::from(list.running + list.waiting == 0);
    }
    let count = nodes.len();
    let word = if count == 1 { "node" } else { "nodes" };
    format!("{count} {word}: {running} running, {waiting} waiting; {idle} idle")
}

pub(crate) fn to_json(target: &Target, jobs: &NodeJobs) -> Value {
    let state = match jobs {
        NodeJobs::Listed(_) => "answered",
        NodeJobs::Unreadable => "unreadable",
        NodeJobs::NodeJs => "node_js",
        NodeJobs::NotConnected => "not_connected",
        NodeJobs::NoAnswer => "no_answer",
    };
    let mut object = json::of_node(target, state);
    if let NodeJobs::Listed(list) = jobs {
        object["running"] = json!(list.running);
        object["waiting"] = json!(list.waiting);
        object["jobs"] = json!(list.jobs);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::super::fixture::ok;
    use super::*;
    use protocol::{JobList, Progress, RequestId};

    #[test]
    fn jobs_are_rows_and_what_is_not_known_is_said() {
        let [one, two, three] = ["node1", "node2", "node3"].map(|name| ok(name, "").target);
        let at = |second| format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
        let job = |id: &str, progress| ListedJob {
            request: RequestId::parse(id).unwrap(),
            what: Some("sleep 1000".to_owned()),
            progress,
        };
        let running = Progress {
            at: at(40),
            started_at: Some(at(10)),
            percent: Some(40.0),
            origin: Some(json!({"user": "root", "hostname": "head"})),
            ..Progress::now(State::Running)
        };
        let queued = Progress {
            at: at(40),
            accepted_at: Some(at(38)),
            before: Some(3),
            ..Progress::now(State::Queued)
        };
        let listed = NodeJobs::Listed(JobList {
            running: 1,
            waiting: 8,
            jobs: vec![job("r1", running), job("r2", queued)],
        });
        let nodes = [
            (&*one, &listed),
            (&*two, &NodeJobs::NodeJs),
            (&*three, &NodeJobs::NodeJs),
        ];
        let mut out = Vec::new();
        write(&nodes, true, None, &mut out).unwrap();
        let expected = "
HOSTNAME  REQUEST  STATE                FOR  FROM       WHAT
node1     r1       running 40 %        30 s  root@head  sleep 1000
node1     r2       queued, 3 before it   2 s  -          sleep 1000
";
        let shown = format!("\n{}", String::from_utf8(out).unwrap());
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&shown), words(expected), "{shown}");
        let told = remarks(&nodes);
        assert_eq!(told[0], "node1: 9 jobs, of which 2 are listed");
        assert!(
            told[1].starts_with("node[2-3]: a Node.js agent"),
            "{told:?}"
        );
        assert_eq!(summary(&nodes), "3 nodes: 1 running, 8 waiting; 0 idle");
    }
}
