//! What the documents promise of the sources, word by word.

use std::collections::BTreeSet;
use std::fs;

/// The text between the parentheses that `rest` begins inside of.
fn arguments(rest: &str) -> &str {
    let mut open = 1;
    let end = rest.find(|c| {
        open += i32::from(c == '(') - i32::from(c == ')');
        open == 0
    });
    end.map_or(rest, |end| rest.split_at(end).0)
}

/// Of every log line: its level, and its message, which is the last literal there.
fn log_lines(source: &str) -> BTreeSet<(&'static str, &str)> {
    let mut lines = BTreeSet::new();
    for (level, call) in [
        ("info", " info!("),
        ("warn", " warn!("),
        ("error", " error!("),
    ] {
        let calls = source.split(call).skip(1);
        let messages = calls.filter_map(|rest| arguments(rest).rsplit('"').nth(1));
        lines.extend(messages.map(|message| (level, message)));
    }
    lines
}

#[test]
fn the_table_of_log_lines_has_every_line_of_the_agent_and_no_other() {
    let page = fs::read_to_string("docs/operating.md").unwrap();
    let (_, rest) = page.split_once("\n## Log lines\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let told: BTreeSet<(String, String)> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(message, rest)| {
            (
                rest.split(' ').next().unwrap().to_owned(),
                message.to_owned(),
            )
        })
        .collect();
    let mut said: BTreeSet<(String, String)> = BTreeSet::new();
    let files = fs::read_dir("src/agent")
        .unwrap()
        .map(|file| file.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let source = fs::read_to_string(file).unwrap();
        for (level, message) in log_lines(&source) {
            // Where one line says which of two it is.
            let messages = match message {
                "{lost}" => vec!["connection lost", "no broker"],
                message => vec![message],
            };
            said.extend(messages.iter().map(|m| (level.to_owned(), (*m).to_owned())));
        }
    }
    let missing: Vec<_> = said.difference(&told).collect();
    let extra: Vec<_> = told.difference(&said).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nnot said: {extra:#?}"
    );
}

#[test]
fn the_table_of_dependencies_has_every_crate_and_no_other() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, rest) = readme.split_once("\n| crate | for |\n|---|---|\n").unwrap();
    let rows = rest.lines().map_while(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let mut told: Vec<&str> = cells.flat_map(|cell| cell.split(", ")).collect();
    told.sort_unstable();
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let needed: BTreeSet<&str> = ["\n[dependencies]\n", "\n[dev-dependencies]\n"]
        .iter()
        .flat_map(|section| {
            let (_, rest) = manifest.split_once(section).unwrap();
            rest.lines().take_while(|line| !line.is_empty())
        })
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(told, needed.into_iter().collect::<Vec<_>>());
}
