//! Documents, compared with the sources word by word: log lines, crates, names of files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

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
    let page = fs::read_to_string("../docs/operating.md").unwrap();
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
    let files = fs::read_dir("../src/agent")
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

/// The third-party crates that a member names itself, for use or for its tests.
fn named_by(member: &str, sections: &[&str]) -> BTreeSet<String> {
    let manifest = fs::read_to_string(format!("../{member}/Cargo.toml")).expect("a manifest");
    let lines = sections.iter().flat_map(|section| {
        let (_, rest) = manifest
            .split_once(&format!("\n[{section}]\n"))
            .unwrap_or_default();
        rest.lines().take_while(|line| !line.is_empty())
    });
    let names = lines.filter_map(|line| line.split(['.', ' ']).next());
    names
        .filter(|name| !ROOMS.contains(name))
        .map(str::to_owned)
        .collect()
}

const ROOMS: [&str; 6] = ["protocol", "broker", "job", "task", "client", "ur-tests"];

/// For each program, the members that it is made of.
const PROGRAMS: [(&str, &[&str]); 4] = [
    (
        "agent",
        &["src/protocol", "src/broker", "src/job", "src/agent"],
    ),
    (
        "ur",
        &[
            "src/protocol",
            "src/broker",
            "src/task",
            "src/client",
            "src/cli",
        ],
    ),
    ("writer", &["src/writer"]),
    ("tests", &["tests", "benches"]),
];

#[test]
fn the_table_of_dependencies_says_which_program_has_each_crate_and_no_other() {
    let readme = fs::read_to_string("../README.md").unwrap();
    let (_, rest) = readme
        .split_once("\n| crate | in | for |\n|---|---|---|\n")
        .unwrap();
    let rows = rest.lines().map_while(|line| line.strip_prefix("| "));
    let mut told = BTreeSet::new();
    for row in rows {
        let mut cells = row.split(" | ");
        let (crates, programs) = (cells.next().unwrap(), cells.next().unwrap());
        for name in crates.split(", ") {
            told.extend(
                programs
                    .split(", ")
                    .map(|program| (program.to_owned(), name.to_owned())),
            );
        }
    }
    let mut needed = BTreeSet::new();
    for (program, members) in PROGRAMS {
        for member in members {
            let crates = named_by(member, &["dependencies"]).into_iter();
            needed.extend(crates.map(|name| (program.to_owned(), name)));
            let tested = named_by(member, &["dev-dependencies"]).into_iter();
            needed.extend(tested.map(|name| ("tests".to_owned(), name)));
        }
    }
    let shipped: BTreeSet<String> = needed
        .iter()
        .filter(|(program, _)| program != "tests")
        .map(|(_, name)| name.clone())
        .collect();
    needed.retain(|(program, name)| program != "tests" || !shipped.contains(name));
    let missing: Vec<_> = needed.difference(&told).collect();
    let extra: Vec<_> = told.difference(&needed).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:?}\nnot there: {extra:?}"
    );
}

/// Every crate that a package is made of, as the lock file has it.
fn crates_of(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal"]);
    cargo.args(["--prefix", "none", "--format", "{p}", "--package", package]);
    let mut tree = cargo
        .current_dir("..")
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo");
    let text = io::read_to_string(tree.stdout.take().expect("a pipe")).expect("text");
    assert!(tree.wait().expect("an end").success());
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn no_crate_of_the_agent_pulls_jq_tables_http_or_sql() {
    let agent = crates_of("ur-agent");
    assert!(agent.contains("lapin"), "{agent:?}");
    let banned = [
        "jaq", "table", "http", "hyper", "h2", "reqwest", "ureq", "axum", "sql", "postgres",
        // Of TLS: its own CA and no others, one implementation and no C library.
        "roots", "native", "openssl", "aws",
    ];
    let is_banned = |name: &&String| banned.iter().any(|word| name.contains(word));
    let pulled: Vec<_> = agent.iter().filter(is_banned).collect();
    assert!(pulled.is_empty(), "{pulled:?}");
}

#[test]
fn no_crate_that_only_ur_names_is_in_the_agent() {
    let named = |program: &str| -> BTreeSet<String> {
        let (_, members) = PROGRAMS.iter().find(|(name, _)| *name == program).unwrap();
        let names = members
            .iter()
            .map(|member| named_by(member, &["dependencies"]));
        names.flatten().collect()
    };
    let agent = crates_of("ur-agent");
    let (of_agent, of_ur) = (named("agent"), named("ur"));
    let pulled: Vec<_> = of_ur
        .difference(&of_agent)
        // clap has this one anyway, for what it suggests.
        .filter(|name| agent.contains(*name) && *name != "strsim")
        .collect();
    assert!(pulled.is_empty(), "{pulled:?}");
}

/// As many as a reviewer reads in a minute; TLS is eight of them.
#[test]
fn the_agent_is_made_of_at_most_105_crates() {
    let agent = crates_of("ur-agent");
    assert!(agent.len() <= 105, "{}: {agent:?}", agent.len());
}

#[test]
fn every_file_that_the_page_of_the_architecture_names_is_there() {
    let page = fs::read_to_string("../docs/architecture.md").unwrap();
    assert!(page.lines().count() <= 100, "a page, no book");
    let words = page.split('`').skip(1).step_by(2);
    let files: Vec<_> = words.filter(|word| word.ends_with(".rs")).collect();
    assert!(files.len() > 40, "{files:?}");
    let is_missing = |file: &&&str| !Path::new("../src").join(file).exists();
    let missing: Vec<_> = files.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn mandoc_finds_nothing_in_the_manual_pages_but_matters_of_style() {
    let dir = tempfile::tempdir().unwrap();
    let mut ur = Command::new(ur_tests::program("ur"));
    assert!(ur.arg("man").arg(dir.path()).status().unwrap().success());
    let pages = fs::read_dir(dir.path()).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let lint = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning", "../packaging/ur-agent.1"])
        .args(pages)
        .status();
    match lint {
        Err(error) if error.kind() == io::ErrorKind::NotFound => eprintln!("no mandoc here"),
        lint => assert!(lint.unwrap().success()),
    }
}
