//! A run of `ur`: how long it took, what it took, and what it said.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::floor::now;

pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// When it ended, in seconds since 1970.
    pub(crate) ended: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
    /// Lines of its output.
    pub(crate) lines: usize,
}

/// A program of the workspace that was built with the same profile.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(
        path.exists(),
        "{} is missing: run make build",
        path.display()
    );
    Ok(path)
}

/// Runs `ur`, which must succeed. What it knows from the run before is in `state`.
pub(crate) fn ur(url: &str, state: &Path, args: &[&str]) -> Result<Run> {
    let started = Instant::now();
    let mut child = Command::new(beside_us("ur")?)
        .env("UR_AMQP_URL", url)
        .env("XDG_STATE_HOME", state)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = Vec::new();
    let mut stdout = child.stdout.take().context("its output is a pipe")?;
    stdout.read_to_end(&mut output)?;
    let (status, usage) = wait(child.id())?;
    let (seconds, ended) = (started.elapsed().as_secs_f64(), now()?);
    ensure!(
        status.success(),
        "ur {} ended with {status}",
        args.join(" ")
    );
    let seconds_of = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Run {
        seconds,
        ended,
        cpu_seconds: seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
        // Linux counts it in KiB. It is this program's own memory where that is more: a child begins as
        // its parent, so this program stays small.
        peak_mib: usage.ru_maxrss as f64 / 1024.0,
        lines: output.iter().filter(|&&byte| byte == b'\n').count(),
    })
}

fn wait(pid: u32) -> Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all-zero is a valid `rusage`, and both pointers are to locals that outlive the call. The
    // child is ours, and nothing else waits for it.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let waited = libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage);
        (waited, usage)
    };
    if waited < 0 {
        return Err(std::io::Error::last_os_error()).context("waiting for ur");
    }
    Ok((ExitStatus::from_raw(status), usage))
}
