//! A node: its agent, which is started again whenever it ends, and the processes it brought forth.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use job::Job;
use job::fork_server::FLAG;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// Few, so that requests also wait.
const MAX_JOBS: &str = "12";

/// Longer than it takes from the death of a supervisor to the look at whose it was.
const RECENT: Duration = Duration::from_secs(10);

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    state: PathBuf,
    url: String,
    child: Child,
    /// How often its agent has been started.
    pub(crate) agents: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Of an agent: it forks the supervisors.
    ForkServer,
    Supervisor,
    Script,
}

/// A process of a job, held so that no other process can be hit in its place.
pub(crate) struct Victim {
    pub(crate) role: Role,
    /// None for a fork server, and for a supervisor in the moment after its birth.
    pub(crate) request: Option<String>,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
}

impl Victim {
    pub(crate) fn signal(&self, signal: Signal) {
        // One that is gone meanwhile is no harm.
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    /// Returns when it is dead: it does nothing any more.
    pub(crate) fn wait(&self) -> Result<()> {
        let patience = Timespec::try_from(Duration::from_secs(10))?;
        let died = poll(
            &mut [PollFd::new(&self.pidfd, PollFlags::IN)],
            Some(&patience),
        )?;
        ensure!(died > 0, "process {} survives SIGKILL", self.pid);
        Ok(())
    }
}

impl Node {
    /// Its directory holds all of it: program, state (on a disk of its own if one is mounted there),
    /// log and the evidence of its scripts.
    pub(crate) fn start(name: &str, dir: &Path, url: &str) -> Result<Self> {
        let sysinfo =
            format!("#!/bin/sh\necho '{{\"UUID\":\"{name}\",\"Hostname\":\"{name}\"}}'\n");
        // Programs are written by a child: a descriptor of ours that is open for writing, inherited
        // by what another thread starts at that moment, makes their execution fail with ETXTBSY.
        shell(
            "printf %s \"$1\" >\"$0/sysinfo\"; chmod 755 \"$0/sysinfo\"; mkdir -p \"$0/disk\"",
            dir,
            &sysinfo,
        )?;
        install(dir)?;
        let (state, agents) = (dir.join("disk/state"), Arc::new(AtomicU32::new(1)));
        Ok(Self {
            child: spawn(dir, &state, url)?,
            name: name.to_owned(),
            dir: dir.to_owned(),
            state,
            url: url.to_owned(),
            agents,
        })
    }

    pub(crate) fn evidence(&self) -> PathBuf {
        self.dir.join("evidence")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It is our child and not reaped, so the pid is its own.
        kill_process(pid.expect("a pid"), signal).expect("signalling the agent");
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing the agent")?;
        self.child.wait().context("reaping the agent")?;
        Ok(())
    }

    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.dir, &self.state, &self.url)?;
        self.agents.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A new binary in the place of the old one, and an orderly restart.
    pub(crate) fn upgrade(&mut self) -> Result<()> {
        install(&self.dir)?;
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.ended().is_none() {
            ensure!(
                Instant::now() < deadline,
                "the agent of {} does not stop when told to",
                self.name
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.start_again()
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("asking for the agent's end")
    }

    /// Children that the agent and its fork server have now. Cheap enough to be asked in a loop.
    pub(crate) fn children(&self) -> String {
        let of = |pid: &str| {
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
        };
        let own = of(&self.child.id().to_string());
        own.split_whitespace()
            .map(of)
            .chain([own.clone()])
            .collect()
    }

    /// Scripts and supervisors of every job that has not ended, and fork servers.
    pub(crate) fn victims(&self) -> Vec<Victim> {
        let supervised = self.supervised();
        let pids = fs::read_dir("/proc").expect("/proc").flatten();
        pids.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .filter_map(|pid| self.victim(pid, &supervised))
            .collect()
    }

    /// Which request a supervisor has, by its pid: those of ended jobs only if they are recent.
    pub(crate) fn supervised(&self) -> HashMap<i32, String> {
        let jobs = fs::read_dir(self.jobs()).into_iter().flatten().flatten();
        let supervisor = |dir: PathBuf| {
            let pid = fs::metadata(dir.join("pid")).ok()?.modified().ok()?;
            if dir.join("outcome.json").exists() && pid.elapsed().is_ok_and(|age| age > RECENT) {
                return None;
            }
            let job = Job::at(&dir).ok()?;
            Some((job.pids().ok()??.supervisor.pid, job.id.to_string()))
        };
        jobs.filter_map(|entry| supervisor(entry.path())).collect()
    }

    fn victim(&self, pid: Pid, supervised: &HashMap<i32, String>) -> Option<Victim> {
        // First the descriptor, then the look: what was looked at is what gets the signal.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let number = pid.as_raw_nonzero().get();
        let victim = |role, request| {
            Some(Victim {
                role,
                request,
                pid: number,
                pidfd,
            })
        };
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let jobs = format!("{}/", self.jobs().display());
        let cmdline = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let words: Vec<&str> = cmdline.split('\0').collect();
        if words.get(1) == Some(&"supervise") {
            if !format!("{cmdline}/").replace('\0', "/").contains(&jobs) {
                return None;
            }
            let parent = parent(&read("stat"))?;
            if let Some(request) = supervised.get(&parent) {
                // A script to be, that was forked a moment ago.
                return victim(Role::Script, Some(request.clone()));
            }
            // As yet it has the name of the server that forked it.
            let is_server = words.get(2) == Some(&FLAG);
            let is_child = parent.unsigned_abs() == self.child.id();
            return match supervised.get(&number) {
                Some(request) => victim(Role::Supervisor, Some(request.clone())),
                None if is_server && is_child => victim(Role::ForkServer, None),
                None if is_server => victim(Role::Supervisor, None),
                None => {
                    let request = words.get(2)?.strip_prefix(&jobs)?.to_owned();
                    let has_ended = self.jobs().join(&request).join("outcome.json").exists();
                    (!has_ended).then(|| victim(Role::Supervisor, Some(request)))?
                }
            };
        }
        let environ = String::from_utf8_lossy(&read("environ")).into_owned();
        // Of all its variables those of the job alone name a place in there.
        let (_, rest) = environ.split_once(&format!("{}/work/", self.state.display()))?;
        let request = rest.split(['\0', '/']).next()?.to_owned();
        // What an ended job left behind is nobody's business any more.
        let has_ended = self.jobs().join(&request).join("outcome.json").exists();
        let is_leader = rustix::process::getsid(Some(pid)) == Ok(pid);
        if has_ended || !is_leader {
            return None;
        }
        victim(Role::Script, Some(request))
    }

    fn jobs(&self) -> PathBuf {
        self.state.join("jobs")
    }

    fn end_all(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let dir = format!("{}/", self.dir.display());
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| Pid::from_raw(name.parse().ok()?))
            else {
                continue;
            };
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let mentions = |file| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).contains(&dir)
            };
            if pid != rustix::process::getpid() && (mentions("cmdline") || mentions("environ")) {
                pidfd_send_signal(&pidfd, Signal::KILL).ok();
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// The program under test, as a new file.
fn install(dir: &Path) -> Result<()> {
    shell(
        "cp \"$1\" \"$0/new\" && mv \"$0/new\" \"$0/ur-agent\"",
        dir,
        &ur_tests::program("ur-agent"),
    )
}

/// Field 4 of stat (proc(5)), after a name in parentheses.
fn parent(stat: &[u8]) -> Option<i32> {
    let text = String::from_utf8_lossy(stat);
    text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn shell(script: &str, dir: &Path, argument: &str) -> Result<()> {
    let mut command = Command::new("/bin/sh");
    let status = command
        .args(["-euc", script])
        .arg(dir)
        .arg(argument)
        .status();
    ensure!(
        status.context("starting a shell")?.success(),
        "{script} failed in {}",
        dir.display()
    );
    Ok(())
}

fn spawn(dir: &Path, state: &Path, url: &str) -> Result<Child> {
    let log = dir.join("log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .context("opening the agent's log")?;
    let mut command = Command::new(dir.join("ur-agent"));
    command
        .arg("--sysinfo")
        .arg(dir.join("sysinfo"))
        .arg("--state-dir")
        .arg(state)
        .args(["--config", "/nonexistent", "--setup-file", "/nonexistent"])
        .args(["--reboot-command", "true", "--max-jobs", MAX_JOBS])
        .env("UR_AMQP_URL", url)
        // ^C at the terminal is for the campaign.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().context("starting ur-agent")
}
