//! A run from its first message to its last: sent, shown, recorded. `--discover` and the flags of the
//! output, which `ur attach` shares with those that send.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::stream::unfold;
use jiff::Timestamp;

use super::output::{OUTPUT, ViewArgs};
use super::steering::{OnInterrupt, Question, steering};
use super::targets::DiscoverArgs;
use crate::stderr::tell;
use crate::view::{OutDir, Screen, ScriptLabel, Trace, ViewSettings, When};
use client::{Client, Plan, Report, RunEvent, RunFile, Target, run};
use protocol::RequestId;

#[derive(Debug, Args)]
pub(crate) struct ConductArgs {
    #[command(flatten)]
    pub(crate) discover: DiscoverArgs,
    /// What ^C does to what still runs: leave or cancel
    /// [default: ask on a terminal, else leave]
    #[arg(
        long,
        value_name = "DO",
        hide_possible_values = true,
        verbatim_doc_comment
    )]
    on_interrupt: Option<OnInterrupt>,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
    /// Print output of scripts to a terminal as it came,
    /// escape sequences and all
    #[arg(long, help_heading = OUTPUT, verbatim_doc_comment)]
    raw: bool,
    /// Colours: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, hide_possible_values = true)]
    #[arg(default_value = "auto", hide_default_value = true, value_enum)]
    color: When,
    /// No counter, no summary
    #[arg(short, long, help_heading = OUTPUT)]
    pub(crate) quiet: bool,
    /// Trace on stderr what happens when
    #[arg(short, long, help_heading = OUTPUT)]
    pub(crate) verbose: bool,
    /// What a command knows of what it runs.
    #[arg(skip)]
    pub(crate) program: ScriptLabel,
    /// Write what each node prints to NODE.stdout, .stderr
    /// and .json there, and unpack archives in results
    #[arg(long, help_heading = OUTPUT, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) out: Option<PathBuf>,
}

impl ConductArgs {
    pub(crate) fn screen<'a>(
        &self,
        nodes: usize,
        request: &'a RequestId,
        trace: &'a Trace,
    ) -> Result<Screen<'a>> {
        let view = ViewSettings {
            view: self.view.view(),
            is_raw: self.raw,
            colour: self.color,
            program: &self.program,
        };
        let mut screen = Screen::new(nodes, view, self.quiet, request, trace);
        if let Some(dir) = &self.out {
            screen.keep_in(OutDir::make(dir)?);
        }
        Ok(screen)
    }
}

/// Sends, collects, shows and records.
pub(crate) async fn conduct(
    client: &mut Client,
    plan: &Plan,
    targets: Vec<Target>,
    args: &ConductArgs,
    (trace, mut file): (&Trace, Option<&mut RunFile>),
) -> Result<Report> {
    let mut screen = args.screen(targets.len(), &plan.request, trace)?;
    let (shown, steers) = steering(args.on_interrupt)?;
    let steers = unfold(steers, async |mut steers| {
        steers.recv().await.map(|steer| (steer, steers))
    });
    let mut heard = HashMap::new();
    let mut show = |mut event: RunEvent<'_>| {
        if let Some(target) = event.answers() {
            heard.insert(target.id.clone(), Timestamp::now());
        }
        if let Some(Err(error)) = file.as_mut().map(|file| file.note(&mut event)) {
            tell(&format!(
                "ur: recording the run, for `ur attach`: {error:#}"
            ));
            file = None;
        }
        let question = Question::asked_by(&event);
        screen.show(event)?;
        question.map(|question| shown.try_send(question));
        Ok(())
    };
    let report = run(client, plan, targets, steers, &mut show).await?;
    client.remembered_nodes().heard(heard).await;
    screen.finish(&report)?;
    if let Some(dir) = args.out.as_ref().filter(|_| !screen.is_out_whole()) {
        bail!("not all of it could be written to {}", dir.display());
    }
    Ok(report)
}
