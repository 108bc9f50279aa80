//! A real `ur-agent` with a state directory and a sysinfo of its own.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How an agent is started, where the defaults will not do.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Goes before the agent's command line.
    pub(crate) wrapper: Vec<String>,
    /// A copy of the agent in another file.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) reboot: Option<String>,
    /// The text of the config file; empty means that there is none.
    pub(crate) config: String,
    /// Done to the directories before the agent starts.
    pub(crate) prepare: Option<fn(&Path)>,
}

impl Setup {
    pub(crate) fn args(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            ..Self::default()
        }
    }
}

pub(crate) struct Agent {
    pub(crate) uuid: String,
    pub(crate) mac: String,
    child: Child,
    url: String,
    setup: Setup,
    dir: TempDir,
}

impl Agent {
    /// With `UR_AMQP_URL` set to `url`, or unset where that is empty.
    pub(crate) fn start(uuid: &str, url: &str, setup: Setup) -> Self {
        let dir = temporary_dir();
        let mac = "00:50:56:3d:a7:95".to_owned();
        write_sysinfo(&dir.path().join("sysinfo"), &sysinfo(uuid, &mac));
        fs::create_dir(dir.path().join("state")).expect("a state directory");
        if !setup.config.is_empty() {
            let mut file = File::create(dir.path().join("config")).expect("a config file");
            file.write_all(setup.config.as_bytes())
                .expect("writing the config file");
        }
        if let Some(prepare) = setup.prepare {
            prepare(dir.path());
        }
        let child = spawn(dir.path(), url, &setup);
        Self {
            uuid: uuid.to_owned(),
            mac,
            child,
            url: url.to_owned(),
            setup,
            dir,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// SIGKILL, as an upgrade or the kernel's memory killer would: jobs are not told.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killing the agent");
        self.child.wait().expect("reaping the agent");
    }

    /// SIGTERM, as `systemctl stop` sends it; returns when the agent has ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("stopping the agent");
        self.child.wait().expect("reaping the agent")
    }

    /// One more on the same directories, which is expected to give up.
    pub(crate) fn start_another(&self) -> ExitStatus {
        let mut child = spawn(self.dir.path(), &self.url, &self.setup);
        child.wait().expect("reaping the other agent")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("looking for its end")
            .is_some()
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.url, &self.setup);
    }

    /// From another file, as after an upgrade.
    pub(crate) fn start_again_from(&mut self, binary: &Path) {
        self.setup.binary = Some(binary.to_owned());
        self.start_again();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
        for pid in processes_of(self.dir.path()) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// Supervisors and scripts: our unique directory is in their arguments or environment.
pub(crate) fn processes_of(dir: &Path) -> Vec<Pid> {
    let dir = dir.to_str().expect("a path that is text").as_bytes();
    let mentions = |path: PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(dir.len()).any(|window| window == dir)
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != rustix::process::getpid())
        .filter(|pid| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            mentions(proc.join("cmdline")) || mentions(proc.join("environ"))
        })
        .collect()
}

/// In memory where that is possible: the agent flushes every job to disk.
fn temporary_dir() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ur-test-");
    builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
        .expect("a temporary directory")
}

fn spawn(dir: &Path, url: &str, setup: &Setup) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("a log");
    let built = ur_tests::program("ur-agent");
    let binary = setup
        .binary
        .as_deref()
        .unwrap_or(Path::new(&built))
        .as_os_str();
    let mut words = setup.wrapper.iter().map(OsStr::new).chain([binary]);
    let mut command = Command::new(words.next().expect("at least the binary"));
    command
        .args(words)
        .arg("--sysinfo")
        .arg(dir.join("sysinfo"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--setup-file")
        .arg(dir.join("setup.json"))
        .arg("--config")
        .arg(dir.join("config"))
        .arg("--reboot-command")
        .arg(setup.reboot.as_deref().unwrap_or("true"))
        .args(&setup.args)
        .env_remove("UR_AMQP_URL")
        // For a wrapper that has something to do there.
        .env("UR_TEST_DIR", dir)
        .envs((!url.is_empty()).then_some(("UR_AMQP_URL", url)))
        .envs(setup.env.iter().map(|(name, value)| (name, value)))
        .env_remove("UR_MANAGEMENT_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().expect("starting ur-agent")
}

fn sysinfo(uuid: &str, mac: &str) -> Value {
    json!({
        "UUID": uuid,
        "Hostname": "testnode",
        "System Type": "Linux",
        "Network Interfaces": {
            "eth0": {"MAC Address": mac, "ip4addr": "10.99.99.7", "Link Status": "up", "NIC Names": ["admin"]},
        },
    })
}

fn write_sysinfo(path: &Path, facts: &Value) {
    write_program(path, &format!("cat <<'END'\n{facts}\nEND"));
}

/// A shell script that can be executed.
///
/// By a child, because a descriptor of ours that is open for writing, inherited by what another
/// test starts at that moment, would make its execution fail with ETXTBSY.
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe");
    write!(stdin, "#!/bin/sh\n{text}\n").expect("writing a program");
    drop(stdin);
    assert!(child.wait().expect("a shell's end").success());
}
