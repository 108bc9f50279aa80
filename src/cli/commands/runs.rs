//! `ur runs`: the runs of this user, and what came of one of them. Asks no node.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::flags::output::{JsonArgs, ViewArgs};
use crate::flags::past_run;
use crate::flags::values::request_id;
use crate::stderr::tell;
use crate::view::{
    self, Screen, ScriptLabel, Trace, View, ViewSettings, When, fold_targets, terminal_width,
};
use client::{Clock, NodeResult, PastRun, Report, RunEvent, RunFiles, Target};
use protocol::{Progress, RequestId};

#[derive(Debug, Args)]
#[command(override_usage = "ur runs [OPTIONS]\n       ur runs show [OPTIONS] REQUEST")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// Show how a run ended, and what came if it was kept
    Show(ShowRunArgs),
}

#[derive(Debug, Args)]
struct ShowRunArgs {
    /// The request's id, the beginning of one, or last
    #[arg(value_parser = request_id)]
    request: RequestId,
    #[command(flatten)]
    view: ViewArgs,
}

pub(crate) fn runs(args: &RunsArgs) -> Result<Exit> {
    if let Some(RunsCommand::Show(args)) = &args.command {
        return show(args);
    }
    let runs = RunFiles::of_this_user()?.list()?;
    let mut out = io::stdout().lock();
    match args.json.form() {
        Some(form) => form.write(runs.iter().map(view::runs::json), &mut out)?,
        None => view::runs::write(&runs, terminal_width(), &mut out)?,
    }
    Ok(Exit::Ok)
}

fn show(args: &ShowRunArgs) -> Result<Exit> {
    let run = past_run::find_recorded(&args.request)?;
    let request = &run.start.request;
    let mut kept = RunFiles::of_this_user()?.kept(request)?;
    let has_kept = !kept.is_empty();
    let view = args.view.view();
    if !matches!(view, View::Array | View::Lines) {
        let mut out = io::stdout().lock();
        let (at, nodes) = (run.start.at, fold_targets(&run.start.targets));
        let at = Clock::of(&io::stdout()).seconds(at);
        writeln!(out, "{request}, sent {at} to {nodes}")?;
        writeln!(out, "{}", client::Plain::of(&run.start.what))?;
        writeln!(out, "{}\n", view::runs::endings(&run))?;
    }
    let program = ScriptLabel {
        pages: past_run::pages(Some(&run))?,
        name: None,
    };
    let wanted = ViewSettings {
        view,
        is_raw: false,
        colour: When::Auto,
        program: &program,
    };
    let trace = Trace::off();
    let mut screen = Screen::new(run.ended.len(), wanted, true, request, &trace);
    let mut report = Report::default();
    for target in &run.start.targets {
        let Some(mut result) = result(&run, target) else {
            continue;
        };
        result.reply = kept.remove(&target.id);
        screen.show(RunEvent::Ended(&mut result))?;
        report.results.push(result);
    }
    screen.finish(&report)?;
    if !has_kept {
        tell(
            "ur: no output of this run is kept: --keep of ur exec, script, file and run does, or UR_KEEP=1",
        );
    }
    Ok(Exit::Ok)
}

/// `None` of a node of which no end is recorded.
fn result(run: &PastRun, target: &Target) -> Option<NodeResult> {
    let outcome = run.ended.get(&target.id)?.clone();
    let heard = run.heard.get(&target.id);
    Some(NodeResult {
        last_progress: heard.map(|state| Box::new(Progress::now(*state))),
        ..NodeResult::of(Arc::new(target.clone()), outcome)
    })
}
