//! The fork server: a small process with one thread that an agent starts once, and that forks a
//! supervisor for each job. To fork it takes a third of the time that executing a program takes.
//!
//! The agent sends the job's id, the server answers with a descriptor of the new process, or with why
//! there is none. The server ends when the agent has; its supervisors go on. Whether a job was started is
//! never concluded from what the server says: the job's `pid` file is the right to start. So an agent
//! whose server died in the middle of a request simply asks the next one.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recv, recvmsg, send,
    sendmsg, shutdown, socketpair,
};

use protocol::RequestId;

use super::process;
use super::process_ref::{ExitWatch, boot_id};
use super::signals::Signals;
use super::title::Title;
use super::{Job, cgroup, supervise};

/// Argument of the program that serves, after `supervise`; the directory of jobs follows, and [`ROOM`].
pub const FLAG: &str = "--fork-server";
/// A last argument that makes room for a job's id in what `ps` shows.
pub const ROOM: &str = match str::from_utf8(&[b' '; MAX_ID]) {
    Ok(room) => room,
    Err(_) => unreachable!(),
};
/// Bytes of a request's id.
const MAX_ID: usize = 128;
/// A server that has not started or forked in all this time is stopped, or the machine is: another may do better. The
/// agent's loop stands still meanwhile, so three times this is less than what its watchdog allows.
const PATIENCE: Duration = Duration::from_secs(5);

const STACK: usize = 512 * 1024;

/// The agent's end.
pub struct ForkServer {
    child: Reaped,
    socket: OwnedFd,
}

/// A child that is killed and collected with its owner.
struct Reaped(Child);

impl ForkServer {
    /// Starts `command`, which is to call [`serve`].
    pub fn start(mut command: Command) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (to, started) = sync_channel(1);
        // A child that is stopped before it has executed the program keeps its parent waiting.
        Builder::new().stack_size(STACK).spawn(move || {
            let child = command.stdin(Stdio::from(theirs)).spawn();
            // Where the other end waits no more, the child is killed as the message is dropped.
            to.send(child.map(Reaped)).ok();
        })?;
        let child = started.recv_timeout(PATIENCE).map_err(|_late| {
            io::Error::new(
                ErrorKind::TimedOut,
                "timeout: the fork server did not start within 5 s",
            )
        })??;
        Ok(Self { child, socket })
    }

    /// Asks for a supervisor of the job. The outer error is the server's, which is of no use any more;
    /// the inner one is the kernel's, which had no process to spare.
    pub fn fork(&self, id: &RequestId) -> io::Result<io::Result<ExitWatch>> {
        let answer = self.ask(id);
        if answer.is_err() {
            // What it may still say would be taken for the answer to the next question.
            shutdown(&self.socket, Shutdown::Both).ok();
        }
        answer
    }

    fn ask(&self, id: &RequestId) -> io::Result<io::Result<ExitWatch>> {
        send(&self.socket, id.as_str().as_bytes(), SendFlags::NOSIGNAL)?;
        let patience = Timespec::try_from(PATIENCE).expect("five seconds fit");
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        while let Err(error) = poll(&mut fds, Some(&patience)) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        receive(&self.socket)
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

impl Drop for Reaped {
    /// One that is stopped would not see the end of its socket. One that hangs in the kernel is not waited for.
    fn drop(&mut self) {
        self.0.kill().ok();
        let exit = ExitWatch::of_child(self.0.id().cast_signed());
        if exit.is_ok_and(|exit| exit.ends_within(Duration::from_secs(1))) {
            self.0.wait().ok();
        }
    }
}

/// Forks supervisors for the jobs in the directory `jobs`, as the socket on standard input asks for them,
/// until its other end is closed.
pub fn serve(jobs: &Path) -> Result<()> {
    let socket = rustix::stdio::stdin();
    // Not in the session of a terminal: its ^C is for the agent.
    rustix::process::setsid().ok();
    rustix::thread::set_name(c"ur-fork-server").ok();
    let title = Title::find();
    title.set(&[
        "ur-agent".as_ref(),
        "supervise".as_ref(),
        FLAG.as_ref(),
        jobs.as_os_str(),
    ]);
    // What each child would find out anew.
    boot_id();
    cgroup::own();
    let signals = Signals::of(&[libc::SIGCHLD]).context("blocking SIGCHLD")?;
    let mut buffer = [0; MAX_ID + 1];
    loop {
        while signals.next().is_some() {}
        process::reap_all();
        let mut fds = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            ready => ready.context("waiting for the agent")?,
        };
        if fds[0].revents().is_empty() {
            continue;
        }
        let length = match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) if length > 0 => length,
            // The agent is gone, perhaps with an answer of ours unread.
            _ => return Ok(()),
        };
        let id = str::from_utf8(buffer.split_at(length).0)?;
        let id = RequestId::parse(id).map_err(|refusal| anyhow::anyhow!("{}", refusal.message))?;
        let job = Job::in_directory(jobs, id);
        let forked = process::fork(|| be_supervisor(&job, &title));
        if answer(socket, &forked).is_err() {
            return Ok(());
        }
    }
}

/// The life of the child: nothing of the server's is left but its memory.
fn be_supervisor(job: &Job, title: &Title) -> Result<()> {
    rustix::thread::set_name(c"ur-supervisor").ok();
    title.set(&[
        "ur-agent".as_ref(),
        "supervise".as_ref(),
        job.dir().as_os_str(),
    ]);
    let null = rustix::fs::open(
        c"/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    supervise(job)
}

/// The answer: an errno, and, where that is 0, a descriptor of the process.
fn answer(socket: BorrowedFd<'_>, forked: &io::Result<ExitWatch>) -> io::Result<()> {
    let errno = match &forked {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = forked.as_ref().map(|watch| [watch.as_fd()]);
    if let Ok(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let errno = errno.to_ne_bytes();
    sendmsg(
        socket,
        &[IoSlice::new(&errno)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<io::Result<ExitWatch>> {
    let mut errno = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let length = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut errno)],
        &mut control,
        flags,
    )?
    .bytes;
    if length != errno.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let process = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (i32::from_ne_bytes(errno), process) {
        (0, Some(fd)) => Ok(Ok(ExitWatch::from(fd))),
        // There is a supervisor: the job's `pid` will say so.
        (0, None) => Ok(Err(io::Error::from_raw_os_error(libc::EMFILE))),
        (errno, _) => Ok(Err(io::Error::from_raw_os_error(errno))),
    }
}
