//! The journal of faults: each with its time and victim, a line each in a file, and how often in all.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::clock::Clock;

pub(crate) struct Journal {
    file: File,
    started: Instant,
    pub(crate) counts: BTreeMap<&'static str, u32>,
}

impl Journal {
    pub(crate) fn open(dir: &Path, clock: &Clock) -> Result<Self> {
        let path = dir.join("faults.log");
        let file = File::options().create(true).append(true).open(&path);
        Ok(Self {
            file: file.with_context(|| format!("opening {}", path.display()))?,
            started: clock.started,
            counts: BTreeMap::new(),
        })
    }

    pub(crate) fn note(&mut self, fault: &'static str, to: impl Display) {
        *self.counts.entry(fault).or_default() += 1;
        let now = jiff::Timestamp::now();
        let line = format!(
            "{now} {:8.3} {fault}: {to}\n",
            self.started.elapsed().as_secs_f64()
        );
        // One write, so that the lines of several lanes do not mix.
        self.file
            .write_all(line.as_bytes())
            .expect("writing the journal");
    }
}
