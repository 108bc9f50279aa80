//! The messages of `ur` itself on stderr. All of them go through here: nothing in it is obeyed by a terminal, and a stderr
//! that is closed, or whose reader has gone, ends nothing.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use client::Plain;
use rustix::termios::{QueueSelector, tcflush};

const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

pub(crate) fn tell(text: &str) {
    say(&(Plain::lines(text) + "\n"));
}

/// A question: the cursor stays behind it, and what was typed before it is no answer to it.
pub(crate) fn ask(text: &str) {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        tcflush(&stdin, QueueSelector::IFlush).ok();
    } else if let Ok(terminal) = File::open("/dev/tty") {
        tcflush(&terminal, QueueSelector::IFlush).ok();
    }
    say(&Plain::lines(text));
}

/// A line whose middle is red.
pub(crate) fn tell_red(pieces: [&str; 3]) {
    let [before, red, after] = pieces.map(Plain::lines);
    say(&[&before, RED, &red, RESET, &after, "\n"].concat());
}

fn say(plain: &str) {
    // There is no other place to say it.
    drop(io::stderr().lock().write_all(plain.as_bytes()));
}
