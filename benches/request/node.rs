//! An agent under measurement.

use std::io::Write;
use std::ops::Sub;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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

/// On a RAM disk where there is one, as `/run` is on a node.
pub(crate) fn scratch() -> Result<TempDir> {
    let ram = Path::new("/dev/shm");
    Ok(match ram.is_dir() {
        true => tempfile::tempdir_in(ram)?,
        false => tempfile::tempdir()?,
    })
}

impl Node {
    pub(crate) fn start(url: &str) -> Result<Self> {
        let dir = scratch()?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let sysinfo = dir.path().join("sysinfo");
        let mut file = std::fs::File::create(&sysinfo)?;
        write!(
            file,
            "#!/bin/sh\necho '{{\"UUID\":\"{uuid}\",\"Hostname\":\"bench\"}}'\n"
        )?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        drop(file);
        let started = Instant::now();
        let child = Command::new(ur_tests::program("ur-agent"))
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
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("reading /proc/PID/stat")?;
        let ticks: Vec<f64> = fields
            .split(' ')
            .skip(11)
            .take(4)
            .map(|field| field.parse().unwrap_or(0.0) / 100.0)
            .collect();
        Ok(Cpu {
            own: ticks[0] + ticks[1],
            children: ticks[2] + ticks[3],
        })
    }

    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
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

/// Seconds of processor time: the agent's own, and that of the supervisors it has waited for.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) own: f64,
    pub(crate) children: f64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            own: self.own - other.own,
            children: self.children - other.children,
        }
    }
}
