//! The directory of what `ur` is to know the next time.

use std::path::PathBuf;

use anyhow::{Context, Result};

pub(super) fn state_dir() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from);
    let state = absolute("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = state.or_else(home);
    let state = state.context("neither HOME nor XDG_STATE_HOME is set")?;
    Ok(state.join("ur"))
}
