//! `ur task list`, or `ur tasks`: the list of tasks. Needs no broker.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::flags::modules::ModuleArgs;
use crate::stderr::tell;
use crate::view::{Table, terminal_width};

#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    #[command(flatten)]
    modules: ModuleArgs,
    /// No header
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn tasks(args: &TasksArgs) -> Result<Exit> {
    let (tasks, broken) = args.modules.library().tasks()?;
    let table = Table {
        header: (!args.quiet).then_some(&["NAME", "VERSION", "CLASS", "DESCRIPTION"]),
        width: terminal_width(),
        ..Table::default()
    };
    let public = tasks.iter().filter(|task| !task.is_private());
    let rows = public.map(|task| {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            task.name.to_string(),
            or_dash(task.version()),
            or_dash(task.class().map(|class| class.to_string())),
            task.summary().to_owned(),
        ]
    });
    let mut out = io::stdout().lock();
    table.write(rows, &mut out)?;
    out.flush()?;
    for error in &broken {
        tell(&format!("ur: {error:#}"));
    }
    Ok(if broken.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}
