//! Signals as a readable descriptor, so that one poll waits for everything (signalfd(2)).

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Comes with a SIGTERM that asks for the end of the job. Any other one is for the script.
const CANCEL: c_int = 0x7572;

/// What pidfd_send_signal(2) sends with a signal, as the kernel lays out a queued one on 64 bits.
#[repr(C)]
struct Queued {
    signal: c_int,
    errno: c_int,
    code: c_int,
    _align: c_int,
    pid: c_int,
    uid: c_uint,
    value: c_int,
    _rest: [c_int; 25],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// One that has come.
pub(super) struct Caught {
    pub(super) signal: c_int,
    pub(super) is_cancel: bool,
}

/// They are blocked from its making on, in this process and in what it forks.
pub(super) struct Signals(OwnedFd);

impl Signals {
    pub(super) fn of(signals: &[c_int]) -> io::Result<Self> {
        let mut set = empty();
        for signal in signals {
            // SAFETY: the set is initialized, and the pointer is to a local.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        set_mask(&set);
        // SAFETY: the set outlives the call, and the descriptor is new and has no other owner.
        unsafe {
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            match fd {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// Takes one that has come. Of several of a kind the kernel keeps one.
    pub(super) fn next(&self) -> Option<Caught> {
        // SAFETY: all-zero is a valid `signalfd_siginfo`.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: any bytes are a valid `signalfd_siginfo`, and the slice is as long as it is.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut info).cast::<u8>(), size) };
        match rustix::io::read(&self.0, bytes) {
            Ok(read) if read == size => Some(Caught {
                signal: c_int::try_from(info.ssi_signo).ok()?,
                is_cancel: (info.ssi_code, info.ssi_int) == (libc::SI_QUEUE, CANCEL),
            }),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks a supervisor for its job's end. One of an older agent takes it for a SIGTERM.
pub(super) fn send_cancel(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let queued = Queued {
        signal: libc::SIGTERM,
        errno: 0,
        code: libc::SI_QUEUE,
        _align: 0,
        pid: 0,
        uid: 0,
        value: CANCEL,
        _rest: [0; 25],
    };
    // SAFETY: the descriptor is open, and the kernel reads as many bytes as it has written out there.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGTERM,
            &raw const queued,
            0,
        )
    };
    match sent {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a program of others starts with.
pub(super) fn unblock_all() {
    set_mask(&empty());
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the set that it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// It fails for an unknown first argument only (sigprocmask(2)).
fn set_mask(set: &libc::sigset_t) {
    // SAFETY: the set is initialized and outlives the call; the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) };
}
