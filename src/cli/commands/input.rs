//! `--env`, `--stdin`: what a script gets besides its arguments; and local files as text.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::values::assignment;
use protocol::Request;

#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// A variable of the script; the first one replaces
    /// the whole environment, PATH too
    #[arg(long, value_name = "K=V", value_parser = assignment, verbatim_doc_comment)]
    env: Vec<(String, String)>,
    /// The script's standard input (- is ours)
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
}

impl InputArgs {
    pub(super) fn add_to(self, request: &mut Request) -> Result<()> {
        request.env = (!self.env.is_empty()).then(|| self.env.into_iter().collect());
        request.stdin = match self.stdin {
            Some(path) if path == Path::new("-") => Some(own_stdin()?),
            Some(path) => Some(read_text(&path)?),
            None => None,
        };
        Ok(())
    }
}

/// A local file, which must be text: JSON carries nothing else.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    text(bytes, &path.display().to_string())
}

fn own_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin();
    stdin.read_to_end(&mut bytes).context("reading stdin")?;
    text(bytes, "stdin")
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => bail!(
            "{name} is not UTF-8 text (byte {} is not): send it as base64 and decode it on the node",
            error.utf8_error().valid_up_to()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_text_and_may_be_empty() {
        assert_eq!(text(Vec::new(), "x").unwrap(), "");
        let error = text(b"ab\xff".to_vec(), "x.sh").unwrap_err().to_string();
        assert!(error.starts_with("x.sh is not UTF-8 text (byte 2"));
    }
}
