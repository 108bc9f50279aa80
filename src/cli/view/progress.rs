//! The progress of a request on its node, in words: `running 40 %, 12 min left: sdb: pass 1`.

use std::time::Duration;

use protocol::{Progress, State};

/// Of a script that says 1e308 it says nothing.
fn percent(progress: &Progress) -> Option<String> {
    let percent = progress.percent.filter(|it| (0.0..=100.0).contains(it))?;
    Some(format!("{percent:.0}"))
}

/// Seconds that a script may say it has left: a year.
const MAX_ETA: f64 = 365.0 * 86400.0;

/// A time in one number: `40 s`, `12 min`, `3 h`, `5 d`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..99.5 => format!("{seconds:.0} s"),
        ..5970.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// ` 40 %, 12 min left: sdb: pass 1`, or nothing.
fn so_far(progress: &Progress) -> String {
    let percent = percent(progress).map(|percent| format!(" {percent} %"));
    let eta = progress.eta.filter(|eta| (0.0..=MAX_ETA).contains(eta));
    let eta = eta.map(|eta| format!(", {} left", time(Duration::from_secs_f64(eta))));
    let msg = progress.msg.as_ref().map(|msg| format!(": {msg}"));
    [percent, eta, msg].into_iter().flatten().collect()
}

/// How far a request is on its node: `queued, 3 before it`, `running 40 %, 12 min left`.
pub(super) fn state(progress: &Progress) -> String {
    match (progress.state, progress.before) {
        (State::Queued, Some(0)) => "queued, next".to_owned(),
        (State::Queued, Some(before)) => format!("queued, {before} before it"),
        (State::Queued, None) => "queued".to_owned(),
        // Said of what is started at once.
        (State::Accepted, _) => "started".to_owned(),
        (State::Running, _) => format!("running{}", so_far(progress)),
        (State::Ended | State::Replied, _) => "ended, its reply has not arrived".to_owned(),
        (State::Unknown, _) => "in a state that this version does not know".to_owned(),
    }
}

/// Whether the script has said how far it is.
pub(super) fn is_told(progress: &Progress) -> bool {
    progress.state == State::Running && !so_far(progress).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_request_is_in_words() {
        let mut progress = Progress::now(State::Queued);
        progress.before = Some(3);
        assert_eq!(state(&progress), "queued, 3 before it");
        progress.before = Some(0);
        assert_eq!(state(&progress), "queued, next");
        let mut progress = Progress::now(State::Running);
        assert_eq!(state(&progress), "running");
        (progress.percent, progress.eta) = (Some(40.0), Some(720.0));
        assert_eq!(state(&progress), "running 40 %, 12 min left");
        (progress.percent, progress.eta) = (Some(1e308), Some(f64::INFINITY));
        progress.msg = Some("sdb: pass 1".to_owned());
        assert_eq!(state(&progress), "running: sdb: pass 1");
    }

    #[test]
    fn a_time_is_one_number() {
        let words = [0, 40, 99, 100, 720, 5_400, 7_200, 200_000].map(Duration::from_secs);
        let words = words.map(time);
        assert_eq!(
            words.join(", "),
            "0 s, 40 s, 99 s, 2 min, 12 min, 90 min, 2 h, 2 d"
        );
    }
}
