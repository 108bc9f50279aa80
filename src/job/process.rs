//! Processes: descendants, signals, the fork and exec of a script. Unsafe code stands here.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process};

use protocol::Usage;

use super::process_ref::{ExitWatch, Stat};
use super::signals;

/// clone3(2); the libc crate's has a type that it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Every living descendant of `ancestor`, whatever session or group it moved to. A subreaper's
/// orphaned descendants stay its descendants.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Ok(Some(stat)) = Stat::read(pid)
            && !stat.is_dead()
        {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            next.push(child);
        }
    }
    found
}

/// A process that is gone by now needs no signal.
pub(super) fn signal(pids: &[Pid], signal: Signal) {
    for pid in pids {
        kill_process(*pid, signal).ok();
    }
}

/// Kills all that `find` finds. Stops everything before it kills anything, as often as it takes to find nothing
/// new: what is stopped cannot fork, so a fork bomb does not outrun this.
pub(super) fn kill_all(find: impl Fn() -> Vec<Pid>) {
    let mut seen = 0;
    loop {
        let processes = find();
        signal(&processes, Signal::STOP);
        if processes.len() <= seen {
            signal(&processes, Signal::KILL);
            return;
        }
        seen = processes.len();
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Exited(i32),
    Signalled(i32),
}

/// Collects every child that has ended, orphans that we inherited among them, and says how `child`
/// did if it is one of them.
pub(super) fn reap(child: u32) -> Option<Status> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get().unsigned_abs() != child {
            continue;
        }
        ended = status
            .exit_status()
            .map(Status::Exited)
            .or_else(|| status.terminating_signal().map(Status::Signalled));
    }
    ended
}

/// Collects every child that has ended.
pub(super) fn reap_all() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Whether this process has no child, not even one that has ended and was not collected.
pub(super) fn is_childless() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::All, options).is_err_and(|errno| errno == Errno::CHILD)
}

/// Forks a child that does nothing but `life`. This process must have one thread.
pub(super) fn fork(life: impl FnOnce() -> anyhow::Result<()>) -> io::Result<ExitWatch> {
    // SAFETY: there is one thread, so the child's memory is as whole as ours. It ends with _exit, so that
    // nothing of the parent's is dropped twice.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = match life() {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("ur-agent: {error:#}");
                    1
                }
            };
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(status) }
        }
        child => ExitWatch::of_child(child),
    }
}

/// Starts `command` as the leader of a new session, inside the cgroup whose directory is given, and
/// without the protection from the OOM killer that its supervisor may have inherited. Its pipes have
/// to be made already. Returns its pid.
pub(super) fn spawn_leader(mut command: Command, cgroup: Option<&File>) -> io::Result<u32> {
    let prepare = || {
        signals::unblock_all();
        rustix::process::setsid()?;
        if let Ok(score) = rustix::fs::open(
            c"/proc/self/oom_score_adj",
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        ) {
            rustix::io::write(&score, b"0").ok();
        }
        Ok(())
    };
    // SAFETY: the closure runs in the child of a single-threaded process, and does system calls only.
    unsafe { command.pre_exec(prepare) };
    // Closed by a successful exec; else it brings us the reason.
    let (mut reason, failed) = io::pipe()?;
    let pid = fork_into(cgroup)?;
    if pid == 0 {
        let errno = command.exec().raw_os_error().unwrap_or(libc::EIO);
        (&failed).write_all(&errno.to_ne_bytes()).ok();
        // SAFETY: ends the child at once, without dropping what is the parent's.
        unsafe { libc::_exit(127) };
    }
    // Our copies of the child's ends, without which the pipes would never end.
    drop((command, failed));
    let mut errno = [0; 4];
    match reason.read_exact(&mut errno) {
        Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        Err(_end) => Ok(pid),
    }
}

/// fork(2), the child being born in a cgroup (Linux 5.7): to move it there later takes the kernel
/// some ten milliseconds, ten times what a short script takes. Where that is not possible, a plain
/// fork: a job without a cgroup runs all the same.
fn fork_into(cgroup: Option<&File>) -> io::Result<u32> {
    if let Some(dir) = cgroup {
        // SAFETY: all-zero is a valid `clone_args`. Without a stack and without CLONE_VM this is a
        // fork, and the supervisor has one thread, so the child's memory is as whole as ours.
        let pid = unsafe {
            let mut args: libc::clone_args = std::mem::zeroed();
            args.flags = CLONE_INTO_CGROUP;
            args.exit_signal = libc::SIGCHLD as u64;
            args.cgroup = dir.as_raw_fd() as u64;
            libc::syscall(
                libc::SYS_clone3,
                &raw mut args,
                size_of::<libc::clone_args>(),
            )
        };
        if let Ok(pid) = u32::try_from(pid) {
            return Ok(pid);
        }
    }
    // SAFETY: as above.
    let pid = unsafe { libc::fork() };
    u32::try_from(pid).map_err(|_negative| io::Error::last_os_error())
}

/// What our waited-for children took.
pub(super) fn children_usage() -> Usage {
    // SAFETY: all-zero is a valid `rusage`, and the pointer is to a local that outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| {
        let micros = time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
        Duration::from_micros(micros).as_secs_f64()
    };
    Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // Linux counts it in KiB (getrusage(2)).
        max_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
    }
}
