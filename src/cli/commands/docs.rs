//! `ur completions`, `ur man`: made of the flags themselves.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{Shell, generate};

use crate::exit::Exit;

pub(crate) fn completions(mut ur: Command, shell: Shell) -> Result<Exit> {
    // `generate` panics where the reader has gone away.
    let mut script = Vec::new();
    generate(shell, &mut ur, "ur", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Writes `ur.1`, `ur-nodes.1`… into `dir`.
pub(crate) fn manuals(mut ur: Command, dir: &Path) -> Result<Exit> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    ur.build();
    clap_mangen::generate_to(ur, dir)
        .with_context(|| format!("writing manual pages to {}", dir.display()))?;
    Ok(Exit::Ok)
}
