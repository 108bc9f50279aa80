//! The trace (`-v`): what happens when, on stderr.

use std::fmt;
use std::time::Instant;

use super::progress;
use crate::stderr::tell;
use client::{RunEvent, Target};
use protocol::State;

pub(crate) struct Trace(Option<Instant>);

impl Trace {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted.then(Instant::now))
    }

    pub(crate) fn off() -> Self {
        Self(None)
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn say(&self, what: fmt::Arguments<'_>) {
        if let Some(started) = self.0 {
            tell(&format!("[{:6}] ms {what}", started.elapsed().as_millis()));
        }
    }

    pub(super) fn event(&self, event: &RunEvent<'_>) {
        let say = |target: &Target, what: &dyn fmt::Display| {
            self.say(format_args!("{}: {what}", target.name()));
        };
        match event {
            RunEvent::Sent(target) => say(target, &"sent"),
            RunEvent::Resending(target) => say(target, &"not acknowledged, sent again"),
            RunEvent::Progress(target, progress) => {
                let far = match progress.state {
                    State::Accepted => "accepted".to_owned(),
                    _ => progress::state(progress),
                };
                say(target, &far);
            }
            RunEvent::Ended(result) => say(&result.target, &result.outcome),
            RunEvent::NoConnection(why) => self.say(format_args!("not connected yet: {why}")),
            _ => {}
        }
    }
}
