//! The desk of an operator: a home with modules, the program `ur`, and a node that it reaches.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::Node;
use super::operator::Said;

pub(crate) struct Desk {
    pub(crate) node: Node,
    pub(crate) home: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            node: Node::start(),
            home: tempfile::tempdir().expect("a home"),
        }
    }

    /// Adds a task of a module in `~/.ur/modules`.
    pub(crate) fn task(&self, name: &str, metadata: &Value, script: &str) {
        let (module, task) = name.split_once("::").expect("a name");
        self.file(
            &format!("{module}/tasks/{task}.json"),
            &metadata.to_string(),
        );
        self.file(&format!("{module}/tasks/{task}.sh"), script);
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        write(&self.home.path().join(".ur/modules").join(path), text);
    }

    pub(crate) fn ur(&self, args: &[&str]) -> Said {
        let mut command = Command::new(ur_tests::program("ur"));
        command.args(args).stdin(Stdio::null());
        self.run(command)
    }

    pub(crate) fn run(&self, mut command: Command) -> Said {
        let child = command
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("UR_AMQP_URL", &self.node.vhost.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.expect("running ur");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said {
            exit: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Runs a task on the node, and returns what `-J` says of it.
    pub(crate) fn result(&self, args: &[&str]) -> Value {
        let said = self.ur(&[&["run", "-a", "-J", "-q"], args].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err))
    }

    /// How many requests the node has got: each is a directory with the request's id for its name.
    pub(crate) fn requests(&self) -> usize {
        let jobs = fs::read_dir(self.node.agent.state_dir().join("jobs")).expect("jobs");
        let names = jobs.flatten().map(|job| job.file_name());
        names
            .filter(|name| !name.to_string_lossy().starts_with('.'))
            .count()
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("creating it");
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(text.as_bytes()).expect("writing it");
}
