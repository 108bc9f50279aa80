//! An agent under measurement.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Sub;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use tempfile::TempDir;

pub(crate) struct Node {
    pub(crate) uuid: String,
    pub(crate) started: Instant,
    child: Child,
    _dir: TempDir,
}

/// Where a state directory is.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// On a RAM disk, as `/run` is on a node, where there is one.
    Memory,
    /// Beside the programs: nobody builds in memory.
    Disk,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "in memory",
            Self::Disk => "on a disk",
        })
    }
}

impl Place {
    pub(crate) fn scratch(self) -> Result<TempDir> {
        let ram = Path::new("/dev/shm");
        let program = PathBuf::from(ur_tests::program("ur-agent"));
        let disk = program.parent().context("a directory of programs")?;
        Ok(match self {
            Self::Memory if ram.is_dir() => tempfile::tempdir_in(ram)?,
            Self::Memory => tempfile::tempdir()?,
            Self::Disk => tempfile::tempdir_in(disk)?,
        })
    }
}

impl Node {
    /// The words of `wrapper` go before the agent's command line.
    pub(crate) fn start(url: &str, place: Place, wrapper: &[&str]) -> Result<Self> {
        let dir = place.scratch()?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let sysinfo = dir.path().join("sysinfo");
        let mut file = File::create(&sysinfo)?;
        write!(
            file,
            "#!/bin/sh\necho '{{\"UUID\":\"{uuid}\",\"Hostname\":\"bench\"}}'\n"
        )?;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        drop(file);
        let program = ur_tests::program("ur-agent");
        let mut words = wrapper.iter().copied().chain([program.as_str()]);
        let mut command = Command::new(words.next().context("no program")?);
        let started = Instant::now();
        let child = command
            .args(words)
            .env("UR_AMQP_URL", url)
            .arg("--sysinfo")
            .arg(&sysinfo)
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            uuid,
            started,
            child,
            _dir: dir,
        })
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let agent = self.child.id();
        let path = format!("/proc/{agent}/task/{agent}/children");
        let children = fs::read_to_string(path).context("listing the agent's children")?;
        let [own, mut others] = seconds(&agent.to_string())?;
        for child in children.split_whitespace() {
            // One that has ended meanwhile is in the agent's own figures.
            others += seconds(child).unwrap_or_default().iter().sum::<f64>();
        }
        Ok(Cpu { agent: own, others })
    }

    /// Returns when it has ended.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(pid).status()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("reading VmRSS")?.parse()?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Of a process, and of the children that it has waited for (proc(5)).
fn seconds(pid: &str) -> Result<[f64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("reading /proc/PID/stat")?;
    let fields = fields.split(' ').skip(11).take(4);
    let ticks: Vec<f64> = fields
        .map(|field| field.parse().unwrap_or(0.0) / 100.0)
        .collect();
    Ok([ticks[0] + ticks[1], ticks[2] + ticks[3]])
}

/// Seconds of processor time: the agent's own, and that of fork server, supervisors and scripts.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) agent: f64,
    pub(crate) others: f64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            agent: self.agent - other.agent,
            others: self.others - other.others,
        }
    }
}
