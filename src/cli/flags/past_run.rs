//! A request as it is named on the command line: its id, the beginning of one that is recorded, or `last`.

use anyhow::{Result, bail};

use super::modules::library;
use crate::exit::{Nobody, Usage};
use crate::stderr::tell;
use crate::view::{self, Pages, fold_targets};
use client::{PastRun, Plain, RunFiles, Selector, Undone};
use protocol::RequestId;
use task::TaskName;

/// The id that is meant, and its run if that was recorded here. What was guessed is told.
pub(crate) fn find(named: &RequestId) -> Result<(RequestId, Option<PastRun>)> {
    let Ok(runs) = RunFiles::of_this_user() else {
        return Ok((named.clone(), None));
    };
    let id = runs.resolve(named);
    let id = id.map_err(|error| Usage(format!("{error:#}")))?;
    let past = runs.find(&id)?;
    if let (Some(past), true) = (&past, id != *named) {
        let what = Plain::name(&past.start.what);
        tell(&format!("ur: request {id}: {what}"));
    }
    Ok((id, past))
}

/// The same, but no beginning is guessed at: what is no id of a run that is recorded is taken as it stands.
pub(crate) fn find_whole(named: &RequestId) -> Result<(RequestId, Option<PastRun>)> {
    if named.as_str() == "last" {
        return find(named);
    }
    let past = RunFiles::of_this_user().and_then(|runs| runs.find(named));
    Ok((named.clone(), past.ok().flatten()))
}

/// The same, where a run must be recorded.
pub(crate) fn find_recorded(named: &RequestId) -> Result<PastRun> {
    match find(named)? {
        (_, Some(past)) => Ok(past),
        (id, None) => Err(Usage(format!(
            "no run {id} is recorded here: ur runs lists those that are"
        ))
        .into()),
    }
}

/// The nodes for whom it is not done in that way, once it has ended everywhere: else a script might run twice.
pub(crate) fn undone(named: &RequestId, how: Undone) -> Result<Selector> {
    let run = find_recorded(named)?;
    let id = &run.start.request;
    if RunFiles::of_this_user()?.is_going(id) {
        bail!("request {id} is still going: wait for its end, or give -n");
    }
    let without_end = run.without_end();
    if !without_end.is_empty() {
        let names = fold_targets(&without_end);
        bail!("how request {id} ended is not known of {names}: ur attach {id} asks");
    }
    let undone = run.undone(how);
    if undone.is_empty() {
        let what = match how {
            Undone::Failed => "failed on no node",
            Undone::Unanswered => "was answered by every node",
        };
        let endings = view::runs::endings(&run);
        return Err(Nobody(format!("request {id} {what}: {endings}")).into());
    }
    Ok(Selector::recorded(undone))
}

/// The page for its results, if it was a run of a task that has one.
pub(crate) fn pages(past: Option<&PastRun>) -> Result<Pages> {
    let name = past.and_then(|past| past.start.what.parse::<TaskName>().ok());
    let task = name.and_then(|name| library(&[]).find(&name).ok());
    Pages::of(&task)
}
