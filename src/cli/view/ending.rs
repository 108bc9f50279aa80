//! The ending of a request on a node, in words: `no disk (disk/none), exit 1`.

use client::Plain;
use protocol::{Outcome, REBOOT_STATUS, Reply};
use task::TaskResult;

/// With the error that a task gives in its result.
pub(super) fn words(outcome: &Outcome, reply: Option<&Reply>) -> String {
    error_of_task(reply) + &outcome.to_string()
}

/// What is worth a remark besides a node's output: nothing, if all is well.
pub(super) fn remark(outcome: &Outcome, reply: Option<&Reply>) -> String {
    if reboots(outcome, reply) {
        return error_of_task(reply) + "reboots";
    }
    if outcome.is_success() {
        return String::new();
    }
    words(outcome, reply)
}

/// Whether the node reboots, as a script asks for that succeeds with exit 113.
pub(super) fn reboots(outcome: &Outcome, reply: Option<&Reply>) -> bool {
    let status = REBOOT_STATUS;
    *outcome == Outcome::Exited { status } || reply.is_some_and(|reply| reply.reboot)
}

fn error_of_task(reply: Option<&Reply>) -> String {
    let error = reply
        .and_then(TaskResult::of)
        .and_then(|result| result.error());
    error.map_or(String::new(), |error| format!("{}, ", Plain::of(&error)))
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
