//! The directory of what `ur` is to know the next time.

use std::path::PathBuf;

use anyhow::{Context, Result};
use broker::Url;
use sha2::{Digest, Sha256};

use protocol::hexadecimal;

pub(super) fn state_dir() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from);
    let state = absolute("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = state.or_else(home);
    let state = state.context("neither HOME nor XDG_STATE_HOME is set")?;
    Ok(state.join("ur"))
}

/// Where something of a broker is kept, or of a cluster, that is reached by these URLs. `None` where there is no place.
pub(super) fn of_broker(urls: &[Url], what: &str, extension: &str) -> Option<PathBuf> {
    let urls: Vec<String> = urls.iter().map(Url::to_string).collect();
    let mut name = hexadecimal(&Sha256::digest(urls.join(",")));
    name.truncate(16);
    Some(state_dir().ok()?.join(what).join(name + extension))
}
