//! `-v`: what happens when, on stderr.

use std::fmt;
use std::time::Instant;

pub(super) struct Trace(Option<Instant>);

impl Trace {
    pub(super) fn new(wanted: bool) -> Self {
        Self(wanted.then(Instant::now))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn say(&self, what: fmt::Arguments<'_>) {
        if let Some(started) = self.0 {
            eprintln!("[{:6}] ms {what}", started.elapsed().as_millis());
        }
    }
}
