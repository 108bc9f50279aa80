//! Processes: identity, descendants, signals, the fork and exec of a script. Unsafe code stands here.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, pidfd_open,
    pidfd_send_signal,
};
use serde::{Deserialize, Serialize};

use protocol::Usage;

use super::signals;

/// clone3(2); the libc crate's has a type that it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process, named so that a later one with the same pid is not mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    pub pid: i32,
    /// Clock ticks from boot to its start (proc(5), field 22 of stat).
    pub start_time: u64,
    pub boot_id: String,
}

/// A descriptor of a process, which becomes readable when it has ended (pidfd_open(2)).
pub struct ExitWatch(OwnedFd);

impl ProcessRef {
    pub fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let stat = Stat::read(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id().to_owned(),
        })
    }

    /// `None` if it is gone.
    pub fn watch(&self) -> Option<ExitWatch> {
        if self.boot_id != boot_id() {
            return None;
        }
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        // Checked after the open: from here on the descriptor stands for this very process.
        let stat = Stat::read(self.pid)?;
        (stat.start_time == self.start_time && !stat.is_dead()).then_some(ExitWatch(fd))
    }

    pub fn is_alive(&self) -> bool {
        self.watch().is_some()
    }

    /// SIGTERM, if it is still there.
    pub(super) fn terminate(&self) -> io::Result<()> {
        match self.watch() {
            Some(ExitWatch(fd)) => Ok(pidfd_send_signal(fd, Signal::TERM)?),
            None => Ok(()),
        }
    }
}

impl ExitWatch {
    /// Of a child that has not been collected, so that its pid is still its own.
    fn of_child(child: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(child).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::NONBLOCK)?))
    }

    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec::default();
        // It becomes readable when the process has ended (pidfd_open(2)).
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl From<OwnedFd> for ExitWatch {
    fn from(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }
}

impl AsFd for ExitWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ExitWatch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// Names this boot of the machine.
pub fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    })
}

/// The fields of `/proc/<pid>/stat` that we need.
struct Stat {
    state: char,
    parent: i32,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        // Some 300 bytes, and all of them at once.
        let mut buffer = [0; 1024];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut buffer).ok()?;
        Self::parse(&String::from_utf8_lossy(buffer.split_at(length).0))
    }

    /// The name, field 2, is in parentheses and may hold anything, parentheses too.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every living descendant of `ancestor`, whatever session or group it moved to. A subreaper's
/// orphaned descendants stay its descendants.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = Stat::read(pid).filter(|stat| !stat.is_dead()) {
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

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_whose_name_is_meant_to_confuse_is_read_right() {
        let text = "42 (a) R 1 (b) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 999 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_time), ('S', 7, 999));
    }

    #[test]
    fn an_end_is_seen_without_being_waited_for() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let exit = ExitWatch::of_child(child.id().cast_signed()).unwrap();
        assert!(!exit.has_ended());
        drop(child.stdin.take());
        poll(&mut [PollFd::new(&exit.0, PollFlags::IN)], None).unwrap();
        assert!(exit.has_ended());
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_that_was_taken_by_another_process_is_not_ours() {
        let us = ProcessRef::of(std::process::id()).unwrap();
        assert!(us.is_alive());
        let earlier = ProcessRef {
            start_time: us.start_time - 1,
            ..us.clone()
        };
        assert!(!earlier.is_alive());
        let other_boot = ProcessRef {
            boot_id: "other".into(),
            ..us
        };
        assert!(!other_boot.is_alive());
    }
}
