//! `--env`, `--stdin`: what a script gets besides its arguments; and local files as text.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::values::assignment;
use crate::stderr::tell;
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
            Some(path) => Some(read_data(&path)?),
            None => None,
        };
        Ok(())
    }
}

/// A local file that `ur` or a shell reads, which must be text: JSON carries nothing else. Editors of Windows put a mark
/// before it, which hides the interpreter's line from the kernel, and is no JSON.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let mut text = read_data(path)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
        let path = path.display();
        tell(&format!(
            "ur: {path} begins with a byte order mark, which is left out"
        ));
    }
    Ok(text)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The same, to be given as it is.
fn read_data(path: &Path) -> Result<String> {
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
    use std::io::Write;

    #[test]
    fn a_script_is_text_and_may_be_empty() {
        assert_eq!(text(Vec::new(), "x").unwrap(), "");
        let error = text(b"ab\xff".to_vec(), "x.sh").unwrap_err().to_string();
        assert!(error.starts_with("x.sh is not UTF-8 text (byte 2"));
    }

    #[test]
    fn a_byte_order_mark_is_left_out_of_a_script_and_not_of_data() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}#!/bin/bash\n".as_bytes()).unwrap();
        assert_eq!(read_text(file.path()).unwrap(), "#!/bin/bash\n");
        assert_eq!(read_data(file.path()).unwrap(), "\u{feff}#!/bin/bash\n");
    }
}
