//! Our own standard input, where nothing reads it: what is on it is not left there without a word.
//!
//! clush and ssh hand theirs on; `ur` does so with `--stdin -` alone, for it stands in loops (`while read node`) and in
//! scripts that come from a pipe, whose input is neither to be eaten nor to stop them. Who else has it tells these
//! apart: the shell of a loop or a script has the same file as its own standard input, that of `echo data | ur exec …`
//! has not. The latter is refused before anything is sent; elsewhere a line says what happens. Nothing is on the
//! standard input that cron, systemd, CI and programs give, so these hear nothing.

use std::fs::metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{FileType, SeekFrom, fstat, seek};
use rustix::io::ioctl_fionread;
use rustix::process::getppid;

use super::broker::BrokerArgs;
use super::send::{SendArgs, send};
use crate::exit::{Exit, Usage};
use crate::stderr::tell;
use protocol::Request;

/// What is on our standard input, and nobody has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// It was put there for us.
    Ours,
    /// The process that has started us has it, too.
    Shared,
}

const WHAT_TO_DO: &str =
    "--stdin - gives it to the script, --stdin /dev/null says that it is not meant";

/// Sends what has no use for our standard input unless `is_given` says that the operator has thought of it.
pub(crate) async fn send_beside_stdin(
    broker: &BrokerArgs,
    args: &SendArgs,
    request: Request,
    is_given: bool,
) -> Result<Exit> {
    let mut is_told = is_given;
    let warn = |unread: Option<Unread>, is_told: &mut bool| {
        if unread.is_some() && !*is_told && !args.conduct.quiet {
            tell(&format!(
                "ur: the script does not get what is on standard input: {WHAT_TO_DO}"
            ));
            *is_told = true;
        }
    };
    let sent = send(broker, args, request, |_| {
        let unread = unread();
        if unread == Some(Unread::Ours) && !is_told {
            let bad = format!(
                "the script would not get what is on standard input: {WHAT_TO_DO}; nothing was sent"
            );
            return Err(Usage(bad).into());
        }
        warn(unread, &mut is_told);
        Ok(())
    });
    let exit = sent.await?;
    // It may come late.
    warn(unread(), &mut is_told);
    Ok(exit)
}

/// A task gets parameters, and has no use for it.
pub(crate) fn tell_unread() {
    if unread().is_some() {
        tell(
            "ur: a task does not get what is on standard input, but parameters: NAME=VALUE or --params",
        );
    }
}

fn unread() -> Option<Unread> {
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    unread_of(io::stdin(), Path::new(&format!("/proc/{parent}/fd/0")))
}

/// `theirs` is the standard input of the process that has started us.
fn unread_of(stdin: impl AsFd, theirs: &Path) -> Option<Unread> {
    let stat = fstat(&stdin).ok()?;
    let bytes = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::Socket => ioctl_fionread(&stdin).ok()?,
        FileType::RegularFile => {
            let read = seek(&stdin, SeekFrom::Current(0)).ok()?;
            u64::try_from(stat.st_size).ok()?.saturating_sub(read)
        }
        _ => 0,
    };
    let is_shared = match metadata(theirs) {
        Ok(theirs) => (theirs.dev(), theirs.ino()) == (stat.st_dev, stat.st_ino),
        // It is of another user: sudo, say.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    (bytes > 0).then_some(match is_shared {
        true => Unread::Shared,
        false => Unread::Ours,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_waits_in_a_pipe_is_ours_unless_the_parent_has_the_pipe_too() {
        let (read, mut write) = io::pipe().unwrap();
        let own = format!("/proc/self/fd/{}", read.as_raw_fd());
        let (own, other) = (Path::new(&own), Path::new("/dev/null"));
        assert_eq!(unread_of(&read, other), None);
        write.write_all(b"x").unwrap();
        assert_eq!(unread_of(&read, other), Some(Unread::Ours));
        assert_eq!(unread_of(&read, own), Some(Unread::Shared));
        assert_eq!(
            unread_of(&read, Path::new("/nonexistent")),
            Some(Unread::Ours)
        );
    }

    #[test]
    fn a_file_that_was_read_to_its_end_has_nothing_more() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        let other = Path::new("/dev/null");
        assert_eq!(unread_of(&file, other), None);
        seek(&file, SeekFrom::Start(0)).unwrap();
        assert_eq!(unread_of(&file, other), Some(Unread::Ours));
        assert_eq!(
            unread_of(std::fs::File::open("/dev/null").unwrap(), other),
            None
        );
    }
}
