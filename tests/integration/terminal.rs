//! `ur` on a terminal of 80 columns: ^C and the question that it brings, output that is followed, pages that fit.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::sender::{gated, ran};
use crate::support::operator::Ur;
use crate::support::{Node, wait_until};

/// `script` of util-linux makes the terminal.
struct OnTerminal {
    script: Child,
    dir: TempDir,
}

impl OnTerminal {
    fn start(node: &Node, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let quoted = args.iter().map(|arg| format!(" '{arg}'"));
        let ur = ur_tests::program("ur");
        let line = format!("stty cols 80 rows 24; exec env --default-signal=INT {ur}")
            + &quoted.collect::<String>();
        let script = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("UR_AMQP_URL", &node.vhost.url)
            .env("XDG_STATE_HOME", node.agent.dir())
            .env("TZ", "UTC-2")
            .stdin(Stdio::piped())
            .stdout(File::create(dir.path().join("shown")).expect("a file"))
            .spawn()
            .expect("starting script");
        Self { script, dir }
    }

    fn shown(&self) -> String {
        let shown = fs::read(self.dir.path().join("shown")).expect("what is shown");
        String::from_utf8_lossy(&shown).replace('\r', "")
    }

    fn shows(&self, text: &str) {
        wait_until(text, || self.shown().contains(text));
    }

    fn types(&mut self, text: &str) {
        let keys = self.script.stdin.as_mut().expect("a keyboard");
        keys.write_all(text.as_bytes()).expect("typing");
    }

    fn ends(&mut self, status: i32) -> String {
        let ended = self.script.wait().expect("its end");
        assert_eq!(ended.code(), Some(status), "{}", self.shown());
        self.shown()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the terminal ---\n{}", self.shown());
        }
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

const INTERRUPT: &str = "\x03";
const QUESTION: &str = "go on waiting] ";

#[test]
fn an_interrupted_run_is_left_alone_then_followed_from_its_beginning_and_cancelled() {
    let node = Node::start();
    let command = "echo begun; ".to_owned() + &gated(node.agent.dir());
    let mut ur = OnTerminal::start(&node, &["exec", "-a", "--request", "r1", &command]);
    wait_until("the script runs", || ran(node.agent.dir()).len() == 1);
    ur.types(INTERRUPT);
    ur.shows(QUESTION);
    ur.types(INTERRUPT);
    ur.ends(130);

    let mut ur = OnTerminal::start(&node, &["attach", "--stream", "last"]);
    // Not what was run, which is told before a ^C brings the question.
    ur.shows("testnode: begun");
    ur.types(INTERRUPT);
    ur.shows(QUESTION);
    ur.types("y\n");
    let shown = ur.ends(130);
    assert!(shown.contains("cancelled"), "{shown}");
}

#[test]
fn pages_fit_the_terminal_and_times_are_local_there() {
    let node = Node::start();
    let mut watched = OnTerminal::start(&node, &["watch", "--every", "0.2"]);
    watched.shows("testnode");
    watched.shows("^C ends");
    watched.types(INTERRUPT);
    watched.ends(130);

    let long = format!("true {}", "long ".repeat(20));
    let ur = |args: &[&str]| Ur::start(&node.vhost.url, node.agent.dir(), args).end();
    ur(&["exec", "-a", "--request", "r1", &long]).exits(0);
    let here = ur(&["why", "testnode", "r1"]).exits(0);
    assert!(here.contains("Z  accepted by the node"), "{here}");
    let there = OnTerminal::start(&node, &["why", "testnode", "r1"]).ends(0);
    assert!(
        !there.contains('Z') && there.contains("accepted"),
        "{there}"
    );
    for args in [&["runs"][..], &["show", "testnode"]] {
        let shown = OnTerminal::start(&node, args).ends(0);
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{shown}");
    }
}
