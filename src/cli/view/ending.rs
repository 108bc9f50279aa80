//! The ending of a request on a node, in words: `exit 1: no disk (disk/none)`.

use client::Plain;
use protocol::{Outcome, REBOOT_STATUS, Reply};
use task::TaskResult;

/// With the error that a task gives in its result.
pub(super) fn words(outcome: &Outcome, reply: Option<&Reply>) -> String {
    outcome.to_string() + &error_of_task(reply)
}

/// What is worth a remark besides a node's output: nothing, if all is well.
pub(super) fn remark(outcome: &Outcome, reply: Option<&Reply>) -> String {
    let reboots = *outcome
        == Outcome::Exited {
            status: REBOOT_STATUS,
        };
    if reboots || reply.is_some_and(|reply| reply.reboot) {
        return "reboots".to_owned() + &error_of_task(reply);
    }
    if outcome.is_success() {
        return String::new();
    }
    words(outcome, reply)
}

fn error_of_task(reply: Option<&Reply>) -> String {
    let error = reply
        .and_then(TaskResult::of)
        .and_then(|result| result.error());
    error.map_or(String::new(), |error| format!(": {}", Plain::of(&error)))
}

/// The same words for all nodes where it ended alike: without what only one node said.
pub(super) fn kind(outcome: &Outcome) -> String {
    match outcome {
        outcome if outcome.is_success() => "ok".to_owned(),
        Outcome::Refused(_) => "refused".to_owned(),
        Outcome::Undetermined { .. } => "undetermined".to_owned(),
        outcome => outcome.to_string(),
    }
}
