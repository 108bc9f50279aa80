//! The program `ur` as a person would start it, its output in files.

use std::fs::{self, File};
use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::wait_until;

pub(crate) struct Ur {
    child: Child,
    dir: TempDir,
}

/// What `ur` said, and how it ended.
pub(crate) struct Said {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ur {
    /// Runs are recorded in `state`.
    pub(crate) fn start(url: &str, state: &Path, args: &[&str]) -> Self {
        Self::start_into(url, state, args, None)
    }

    /// The same, and `input` waits in a pipe.
    pub(crate) fn start_fed(url: &str, state: &Path, args: &[&str], input: &str) -> Self {
        let (read, mut write) = std::io::pipe().expect("a pipe");
        write.write_all(input.as_bytes()).expect("room in the pipe");
        Self::spawn(url, state, args, read.into(), None)
    }

    /// The same, and what it prints goes into a pipe.
    pub(crate) fn start_into(
        url: &str,
        state: &Path,
        args: &[&str],
        out: Option<PipeWriter>,
    ) -> Self {
        Self::spawn(url, state, args, Stdio::null(), out)
    }

    fn spawn(
        url: &str,
        state: &Path,
        args: &[&str],
        stdin: Stdio,
        out: Option<PipeWriter>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = |name| File::create(dir.path().join(name)).expect("a file");
        let child = Command::new(ur_tests::program("ur"))
            .args(args)
            .env("UR_AMQP_URL", url)
            .env("XDG_STATE_HOME", state)
            .env("XDG_CONFIG_HOME", state)
            .stdin(stdin)
            .stdout(out.map_or_else(|| file("out").into(), Stdio::from))
            .stderr(file("err"))
            .spawn()
            .expect("starting ur");
        Self { child, dir }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn wait_for(&self, what: &str) {
        wait_until(what, || self.text("err").contains(what));
    }

    /// ^C, as far as one process is concerned.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a signal");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killing ur");
        self.child.wait().expect("reaping ur");
    }

    pub(crate) fn end(self) -> Said {
        self.end_with_peak().0
    }

    /// Also the most memory that it has taken, in MiB.
    pub(crate) fn end_with_peak(mut self) -> (Said, u64) {
        let mut status = None;
        let mut peak = 0;
        let memory = format!("/proc/{}/status", self.child.id());
        wait_until("ur ends", || {
            let text = fs::read_to_string(&memory).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = kib.unwrap_or(0).max(peak);
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        let said = self.said(status);
        (said, peak / 1024)
    }

    fn said(&self, status: Option<ExitStatus>) -> Said {
        Said {
            exit: status.and_then(|it| it.code()).expect("an exit status"),
            out: self.text("out"),
            err: self.text("err"),
        }
    }
}

impl Drop for Ur {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- ur ---\n{}{}", self.text("out"), self.text("err"));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Said {
    /// Checks the exit status. Returns what was printed.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> String {
        assert_eq!(self.exit, status, "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub(crate) fn is(&self, exit: i32, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.exit, exit, "{all}");
        assert!(words.iter().all(|word| all.contains(word)), "{all}");
    }

    /// A row of the table, whatever the width of its columns.
    #[track_caller]
    pub(crate) fn lists(&self, row: &[&str]) {
        let found = (self.out.lines()).any(|line| line.split_whitespace().eq(row.iter().copied()));
        assert!(found, "{}", self.out);
    }
}

/// Lines of JSON, in the order of the nodes.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON in each line")
}
