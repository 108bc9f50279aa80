//! Completions and manual pages, made of the flags themselves.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Args, Exit};

pub(crate) fn completions(shell: Shell) -> Result<Exit> {
    // `generate` panics where the reader has gone away.
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "ur", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Writes `ur.1`, `ur-nodes.1`… into `dir`.
pub(crate) fn manuals(dir: &Path) -> Result<Exit> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut command = Args::command();
    command.build();
    clap_mangen::generate_to(command, dir)
        .with_context(|| format!("writing manual pages to {}", dir.display()))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        manuals(dir.path()).unwrap();
        for page in ["ur.1", "ur-nodes.1", "ur-exec.1", "ur-why.1"] {
            assert!(dir.path().join(page).exists(), "{page}");
        }
        assert!(!dir.path().join("ur-man.1").exists());
    }
}
