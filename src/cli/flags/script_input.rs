//! `--env`, `--stdin`: what a script gets besides its arguments; and local files as text.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::values::assignment;
use crate::exit::Usage;
use crate::stderr::tell;
use protocol::{Program, Request, without_byte_order_mark};

#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// A variable of the script, besides those that it has
    #[arg(long, value_name = "K=V", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// Give the script no variables but those of --env: no
    /// PATH either
    #[arg(long, verbatim_doc_comment)]
    clean_env: bool,
    /// The script's standard input (- is ours)
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
}

impl InputArgs {
    /// Says whether `--stdin` was given.
    pub(crate) fn add_to(self, request: &mut Request) -> Result<bool> {
        if self.clean_env {
            request.env = Some(self.env.into_iter().collect());
        } else if !self.env.is_empty() {
            request.program = Program::Script(with_variables(&request.program, &self.env)?);
        }
        let has_stdin = self.stdin.is_some();
        request.stdin = match self.stdin {
            Some(path) if is_stdin(&path) => Some(own_stdin()?),
            Some(path) => Some(read_data(&path)?),
            None => None,
        };
        Ok(has_stdin)
    }
}

/// What stands between the variables that were put in front of a script and the script itself.
pub(crate) const END_OF_VARIABLES: &str = "; : end of --env; ";

/// The variables of a request replace all that a node has, as they always did. So those that are to be added are
/// exported by the script itself, on a node with any agent. Its lines keep their numbers.
fn with_variables(program: &Program, variables: &[(String, String)]) -> Result<String, Usage> {
    if let Some((name, _)) = variables.iter().find(|(name, _)| !is_variable(name)) {
        let what = format!("--env {name}=…: no shell takes a variable of that name");
        return Err(Usage(what));
    }
    let assignment = |(name, value): &(String, String)| format!(" {name}={}", quoted(value));
    let assignments: String = variables.iter().map(assignment).collect();
    let exports = format!("export{assignments}{END_OF_VARIABLES}");
    let text = match program {
        Program::File(path) => return Ok(format!("{exports}exec {} \"$@\"", quoted(path))),
        Program::Script(text) => text,
    };
    let Some(interpreter) = text.strip_prefix("#!").and_then(|rest| rest.lines().next()) else {
        return Ok(exports + text);
    };
    if !is_shell(interpreter) {
        let what = format!(
            "--env adds variables to scripts of a shell, and this one is for {}: set them in it, \
             or give it no others with --clean-env",
            interpreter.trim()
        );
        return Err(Usage(what));
    }
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    Ok(format!("{first}\n{exports}{rest}"))
}

fn is_shell(interpreter: &str) -> bool {
    let words = interpreter.split_whitespace();
    let mut names = words.map(|word| word.rsplit('/').next().unwrap_or_default());
    let name = names.find(|name| !matches!(*name, "env" | "busybox" | "-S"));
    matches!(
        name,
        Some("sh" | "bash" | "dash" | "ash" | "ksh" | "mksh" | "zsh")
    )
}

fn is_variable(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The script at `path`, or that is on our standard input.
pub(crate) fn read_script(path: &Path) -> Result<String> {
    match is_stdin(path) {
        true => Ok(without_mark(own_stdin()?, path)),
        false => read_text(path),
    }
}

/// A local file that `ur` or a shell reads, which must be text: JSON carries nothing else. Editors of Windows put a mark
/// before it, which hides the interpreter's line from the kernel, and is no JSON.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    Ok(without_mark(read_data(path)?, path))
}

fn without_mark(mut text: String, path: &Path) -> String {
    let mark = text.len() - without_byte_order_mark(text.as_bytes()).len();
    if mark > 0 {
        text.drain(..mark);
        let path = path.display();
        tell(&format!(
            "ur: {path} begins with a byte order mark, which is left out"
        ));
    }
    text
}

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
    fn variables_are_exported_in_front_of_a_script_and_its_lines_keep_their_numbers() {
        let variables = [
            ("A".to_owned(), "it's".to_owned()),
            ("B".to_owned(), String::new()),
        ];
        let with = |program| with_variables(&program, &variables);
        let script = |text: &str| with(Program::Script(text.to_owned())).map_err(|error| error.0);
        let exports = r"export A='it'\''s' B=''; : end of --env; ";
        assert_eq!(script("x\ny"), Ok(format!("{exports}x\ny")));
        let bash = format!("#!/usr/bin/env bash\n{exports}x\ny");
        assert_eq!(script("#!/usr/bin/env bash\nx\ny"), Ok(bash));
        assert_eq!(script("#!/bin/sh"), Ok(format!("#!/bin/sh\n{exports}")));
        assert!(
            script("#!/usr/bin/python3\n")
                .unwrap_err()
                .contains("--clean-env")
        );
        let file = with(Program::File("/bin/x".to_owned())).unwrap();
        assert_eq!(file, format!("{exports}exec '/bin/x' \"$@\""));
        assert!(
            with_variables(
                &Program::Script(String::new()),
                &[("A B".to_owned(), String::new())]
            )
            .is_err()
        );
    }

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
