//! The clock of the campaign: how long faults are injected, and when they have ended. Knows no fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long after the last fault everything must be answered.
pub(crate) const SETTLE: Duration = Duration::from_secs(60);

pub(crate) struct Clock {
    pub(crate) started: Instant,
    faults_end: Instant,
    /// ^C: an early end, orderly.
    interrupted: Arc<AtomicBool>,
    fair_since: OnceLock<Instant>,
}

impl Clock {
    pub(crate) fn start(seconds: u64) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .context("listening for signals")?;
        }
        let started = Instant::now();
        Ok(Self {
            started,
            faults_end: started + Duration::from_secs(seconds),
            interrupted,
            fair_since: OnceLock::new(),
        })
    }

    pub(crate) fn is_foul(&self) -> bool {
        Instant::now() < self.faults_end && !self.interrupted.load(Ordering::Relaxed)
    }

    /// Everything that was broken is whole again.
    pub(crate) fn clear_up(&self) {
        self.fair_since.get_or_init(Instant::now);
    }

    pub(crate) fn fair_for(&self) -> Option<Duration> {
        self.fair_since.get().map(Instant::elapsed)
    }

    /// Waits, but not beyond the end of the faults.
    pub(crate) fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.is_foul() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            thread::park_timeout(left.min(Duration::from_millis(20)));
        }
    }

    /// Waits some time from `least` to `most`: how rare a fault is.
    pub(crate) fn pause(&self, rng: &mut fastrand::Rng, least: Duration, most: Duration) {
        self.wait(between(rng, least, most));
    }
}

pub(crate) fn between(rng: &mut fastrand::Rng, least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}
