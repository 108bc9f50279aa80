//! Signals as a readable descriptor, so that one poll waits for everything (signalfd(2)).

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

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
        // SAFETY: the set outlives the call, and the descriptor is new: nobody else closes it.
        unsafe {
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            match fd {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// Takes one that has come. Of several of a kind the kernel keeps one.
    pub(super) fn next(&self) -> Option<c_int> {
        // SAFETY: all-zero is a valid `signalfd_siginfo`.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: any bytes are a valid `signalfd_siginfo`, and the slice is as long as it is.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut info).cast::<u8>(), size) };
        match rustix::io::read(&self.0, bytes) {
            Ok(read) if read == size => c_int::try_from(info.ssi_signo).ok(),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
