//! The progress of a script, in words: `40 % sdb: pass 1`.

use protocol::Progress;

/// Of a script that says 1e308 it says nothing.
pub(super) fn percent(progress: &Progress) -> Option<String> {
    let percent = progress.percent.filter(|it| (0.0..=100.0).contains(it))?;
    Some(format!("{percent:.0}"))
}

/// `None` where the script does not tell.
pub(super) fn words(progress: &Progress) -> Option<String> {
    let percent = percent(progress).map(|percent| format!("{percent} %"));
    let words: Vec<String> = percent.into_iter().chain(progress.msg.clone()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
