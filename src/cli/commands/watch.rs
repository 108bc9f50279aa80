//! A run from its first message to its last: sent, shown, recorded. `--discover` and the flags of the
//! output, which `ur attach` shares with those that send.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::ctrl_c;

use super::output::{OUTPUT, ViewArgs};
use super::targets::DiscoverArgs;
use crate::exit::Exit;
use crate::stderr::tell;
use crate::view::{Screen, Trace, Wanted, When};
use client::{Client, Plan, Report, RunEvent, RunFile, Target, run};

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(super) discover: DiscoverArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,
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
    quiet: bool,
    /// Trace on stderr what happens when
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) verbose: bool,
}

/// Sends, collects, shows and records.
pub(super) async fn watch(
    client: &mut Client,
    plan: &Plan,
    targets: Vec<Target>,
    args: &WatchArgs,
    (trace, mut file): (&Trace, Option<RunFile>),
) -> Result<Report> {
    let view = Wanted {
        view: args.view.view(),
        is_raw: args.raw,
        colour: args.color,
    };
    let mut screen = Screen::new(targets.len(), view, args.quiet, &plan.request, trace);
    let mut show = |event: RunEvent<'_>| {
        if let Some(Err(error)) = file.as_mut().map(|file| file.note(&event)) {
            tell(&format!(
                "ur: recording the run, for `ur attach`: {error:#}"
            ));
            file = None;
        }
        screen.show(event)
    };
    let report = run(client, plan, targets, interrupted()?, &mut show).await?;
    screen.finish(&report)?;
    Ok(report)
}

/// Ready after the first ^C. The second ends the program wherever it is.
pub(super) fn interrupted() -> Result<impl Future<Output = ()>> {
    use signal_hook::consts::SIGINT;
    let again = Arc::new(AtomicBool::new(false));
    let status = i32::from(Exit::Interrupted as u8);
    signal_hook::flag::register_conditional_shutdown(SIGINT, status, Arc::clone(&again))
        .and_then(|_| signal_hook::flag::register(SIGINT, again))
        .context("listening for ^C")?;
    Ok(async {
        if ctrl_c().await.is_err() {
            // Then the flag alone is left: the second ^C ends us.
            std::future::pending::<()>().await;
        }
    })
}
