//! Completions and manual pages, made of the flags themselves.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Args, Exit};

pub fn completions(shell: Shell) -> Result<Exit> {
    // `generate` panics where the reader has gone away.
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "ur", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Writes `ur.1`, `ur-nodes.1`… into `dir`; and the same for `others`, the commands of other
/// programs.
pub fn manuals(dir: &Path, others: Vec<Command>) -> Result<Exit> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for mut command in std::iter::once(Args::command()).chain(others) {
        command.build();
        clap_mangen::generate_to(command, dir)
            .with_context(|| format!("writing manual pages to {}", dir.display()))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        manuals(dir.path(), vec![Command::new("other")]).unwrap();
        for page in ["ur.1", "ur-nodes.1", "ur-exec.1", "ur-why.1", "other.1"] {
            assert!(dir.path().join(page).exists(), "{page}");
        }
        assert!(!dir.path().join("ur-man.1").exists());
    }
}
