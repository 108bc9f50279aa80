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
    match shell {
        Shell::Bash => script.extend(include_bytes!("../completions/ur.bash")),
        Shell::Zsh => script.extend(include_bytes!("../completions/ur.zsh")),
        Shell::Fish => script.extend(include_bytes!("../completions/ur.fish")),
        // These know commands and flags, and no values.
        other => generate(other, &mut ur, "ur", &mut script),
    }
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
