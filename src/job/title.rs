//! The title of a process: what `ps` shows as its arguments, for processes that are not executed anew.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The memory that the kernel laid a process's arguments in, and shows as /proc/PID/cmdline.
pub(super) struct Title {
    start: usize,
    len: usize,
}

impl Title {
    /// One without room where the kernel does not say.
    pub(super) fn find() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        match arguments(&stat) {
            Some((start, end)) => Self {
                start,
                len: end.saturating_sub(start),
            },
            None => Self { start: 0, len: 0 },
        }
    }

    /// Words that do not fit are cut off.
    pub(super) fn set(&self, words: &[&OsStr]) {
        if self.len == 0 {
            return;
        }
        // SAFETY: the kernel said that this part of our stack holds the arguments. Rust's copy of them is
        // made before this is called, and no other thread is there.
        let area = unsafe { std::slice::from_raw_parts_mut(self.start as *mut u8, self.len) };
        area.fill(0);
        let text = words
            .iter()
            .flat_map(|word| word.as_bytes().iter().copied().chain([0]));
        // The last byte stays 0: else the kernel takes the environment for arguments, too.
        for (to, byte) in area.iter_mut().take(self.len - 1).zip(text) {
            *to = byte;
        }
    }
}

/// Fields 48 and 49 of stat (proc(5)), counted from behind the name, which may hold anything.
fn arguments(stat: &str) -> Option<(usize, usize)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(45);
    let mut next = || fields.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_our_own_arguments_is_found() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (start, end) = arguments(&stat).unwrap();
        let len: usize = std::env::args_os().map(|arg| arg.len() + 1).sum();
        assert_eq!(end - start, len);
    }
}
