//! The synchronized clock: the time, where NTP or the like keeps it right. A node that has just booted may
//! believe any year. Knows nothing of what the time is wanted for.

use jiff::Timestamp;

/// The time, if something keeps the kernel's clock right: `timedatectl` shows the same as "System clock
/// synchronized".
pub fn synchronized_now() -> Option<Timestamp> {
    // SAFETY: all bytes zero are a valid timex, of which `modes` 0 asks to change nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex that outlives the call.
    let answer = unsafe { libc::adjtimex(&raw mut timex) };
    let synchronized = answer >= 0 && timex.status & libc::STA_UNSYNC == 0;
    synchronized.then(Timestamp::now)
}
