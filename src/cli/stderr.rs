//! The messages of `ur` itself on stderr. All of them go through here: nothing in it is obeyed by a terminal, and a stderr
//! that is closed, or whose reader has gone, ends nothing.

use std::io::{self, Write};

use client::Plain;

const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

pub(crate) fn tell(text: &str) {
    say(&(Plain::lines(text) + "\n"));
}

/// The same, and the cursor stays behind it.
pub(crate) fn ask(text: &str) {
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
