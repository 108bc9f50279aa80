//! The messages of `ur` itself on stderr. All of them go through here: nothing in it is obeyed by a terminal, and a stderr
//! that is closed, or whose reader has gone, ends nothing.

use std::io::{self, Write};

use client::Plain;

pub(crate) fn tell(text: &str) {
    let line = Plain::lines(text) + "\n";
    // There is no other place to say it.
    drop(io::stderr().lock().write_all(line.as_bytes()));
}
