//! The identity of a process: a reference that outlives it, and a watch on its end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::signals;

/// Clock ticks of a second, as the kernel tells them to programs on every machine that this runs on.
const TICKS: u64 = 100;

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
        let stat = Stat::read(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot_id: this_boot()?.to_owned(),
        })
    }

    /// `None` if it has ended. An error, such as no descriptor to spare, says nothing about it.
    pub fn watch(&self) -> io::Result<Option<ExitWatch>> {
        let Some(pid) = (self.pid > 0).then(|| Pid::from_raw(self.pid)).flatten() else {
            return Ok(None);
        };
        if self.boot_id != this_boot()? {
            return Ok(None);
        }
        let fd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            // No process, or by now a thread of another one.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Checked after the open: from here on the descriptor stands for this very process.
        let stat = Stat::read(self.pid)?;
        let is_it = stat.is_some_and(|stat| stat.start_time == self.start_time && !stat.is_dead());
        Ok(is_it.then_some(ExitWatch(fd)))
    }

    /// Whether it may be there: one that cannot be looked at is not gone for that.
    pub fn may_be_alive(&self) -> bool {
        self.watch().map_or(true, |watch| watch.is_some())
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let now = uptime.split(' ').next().and_then(|text| text.parse().ok());
        let now = now.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let start = Duration::from_millis(self.start_time.saturating_mul(1000 / TICKS));
        now.unwrap_or_default().saturating_sub(start)
    }

    /// Asks a supervisor for its job's end, a stopped one too.
    pub(super) fn cancel(&self) -> io::Result<()> {
        if let Some(ExitWatch(fd)) = self.watch()? {
            signals::send_cancel(fd.as_fd())?;
            pidfd_send_signal(fd, Signal::CONT)?;
        }
        Ok(())
    }

    /// Continues it if it is stopped, and says whether it was.
    pub(super) fn wake(&self) -> io::Result<bool> {
        match self.watch()? {
            Some(ExitWatch(fd)) if Stat::read(self.pid)?.is_some_and(|stat| stat.state == 'T') => {
                pidfd_send_signal(fd, Signal::CONT)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl ExitWatch {
    /// Of a child that has not been collected, so that its pid is still its own.
    pub(super) fn of_child(child: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(child).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::NONBLOCK)?))
    }

    pub fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).unwrap_or_default();
        // It becomes readable when the process has ended (pidfd_open(2)).
        poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
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

/// Names this boot of the machine; empty where the kernel does not say.
pub fn boot_id() -> &'static str {
    this_boot().unwrap_or_default()
}

/// An error is not kept: taken for a name, it would make every process one of another boot.
fn this_boot() -> io::Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT_ID.get_or_init(|| text.trim().to_owned()))
}

/// The fields of `/proc/<pid>/stat` that we need.
pub(super) struct Stat {
    state: char,
    pub(super) parent: i32,
    start_time: u64,
}

impl Stat {
    /// `None` where there is no such process.
    pub(super) fn read(pid: i32) -> io::Result<Option<Self>> {
        // Some 300 bytes, and all of them at once.
        let mut buffer = [0; 1024];
        let read =
            File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer));
        match read {
            Ok(length) => Ok(Self::parse(&String::from_utf8_lossy(
                buffer.split_at(length).0,
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
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

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

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
        assert!(exit.ends_within(Duration::from_secs(30)));
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_that_was_taken_by_another_process_is_not_ours() {
        let us = ProcessRef::of(std::process::id()).unwrap();
        assert!(us.watch().unwrap().is_some());
        assert!(us.age() < Duration::from_secs(3600));
        let earlier = ProcessRef {
            start_time: us.start_time - 1,
            ..us.clone()
        };
        assert!(earlier.watch().unwrap().is_none());
        let other_boot = ProcessRef {
            boot_id: "other".into(),
            ..us
        };
        assert!(other_boot.watch().unwrap().is_none());
    }
}
