//! The progress of a script, in words: `40 % sdb: pass 1`.

use protocol::Progress;

/// `None` where the script does not tell.
pub(super) fn words(progress: &Progress) -> Option<String> {
    let percent = progress.percent.map(|percent| format!("{percent:.0} %"));
    let words: Vec<String> = percent.into_iter().chain(progress.msg.clone()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
