//! The width of the terminal on stdout.

use std::io;

/// `None` where it is a file or a pipe, or does not say how wide it is.
pub(crate) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
