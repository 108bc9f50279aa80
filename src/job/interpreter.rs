//! The program that is executed for a script or file.
//!
//! An inline script is never executed itself: its interpreter is, with the script's path. So it
//! runs from a state directory that is mounted noexec, and no fork that happens to hold it open for
//! writing can make it fail with ETXTBSY.

use std::env;
use std::path::{Path, PathBuf};

use protocol::{ErrorCode, Refusal};

/// Ur's scripts without an interpreter line were run by this.
const SHELL: &str = "/bin/sh";
/// What execvp(3) searches where PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub(super) program: PathBuf,
    /// Before the arguments of the request.
    pub(super) args: Vec<String>,
    /// What to say when `program` cannot be found.
    pub(super) missing: String,
}

/// How the kernel would run the script at `path` that begins with `text` (binfmt_script: one
/// interpreter, at most one argument, which is all the rest of the line).
pub(super) fn script(path: &Path, text: &[u8]) -> Invocation {
    let path = path.to_string_lossy().into_owned();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let blank = [' ', '\t'];
    let Some(line) = line
        .strip_prefix("#!")
        .map(|line| line.trim_matches(blank))
        .filter(|line| !line.is_empty())
    else {
        return Invocation {
            program: SHELL.into(),
            args: vec![path],
            missing: format!("the node has no {SHELL}"),
        };
    };
    let (program, arg) = match line.split_once(blank) {
        Some((program, arg)) => (program, Some(arg.trim_start_matches(blank))),
        None => (line, None),
    };
    let hint = match line.ends_with('\r') {
        true => ": the first line ends in a carriage return; save the script with Unix line ends",
        false => "",
    };
    let mut args: Vec<String> = arg.map(str::to_owned).into_iter().collect();
    args.push(path);
    Invocation {
        // Without a slash it is a path all the same, never a name to be looked up.
        program: match program.contains('/') {
            true => program.into(),
            false => Path::new(".").join(program),
        },
        args,
        missing: format!("the script's interpreter {program:?} does not exist{hint}"),
    }
}

/// How to run a file of the node. A relative path starts at our own working directory, a bare name
/// is looked up in `path_variable`, both as Ur did.
pub(super) fn file(name: &str, path_variable: Option<&str>) -> Result<Invocation, Refusal> {
    let missing = format!("{name:?} does not exist on the node");
    let program = match name.contains('/') {
        true => env::current_dir().unwrap_or_default().join(name),
        false => path_variable
            .unwrap_or(DEFAULT_PATH)
            .split(':')
            .map(|dir| Path::new(dir).join(name))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| {
                let message = format!("{name:?} is not in the PATH of the node's agent");
                Refusal::new(ErrorCode::NotFound, message)
            })?,
    };
    if program.is_dir() {
        let message = format!("{name:?} is a directory");
        return Err(Refusal::new(ErrorCode::CannotExecute, message));
    }
    Ok(Invocation {
        program,
        args: Vec::new(),
        missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Vec<String>) {
        let found = script(Path::new("/s"), text.as_bytes());
        (found.program.display().to_string(), found.args)
    }

    #[test]
    fn the_interpreter_line_is_read_as_the_kernel_does() {
        let with = |program: &str, args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            (program.to_owned(), args)
        };
        assert_eq!(parts("#!/bin/bash\ntrue"), with("/bin/bash", &["/s"]));
        assert_eq!(parts("#! /bin/sh -eu \n"), with("/bin/sh", &["-eu", "/s"]));
        assert_eq!(
            parts("#!/usr/bin/env\tpython3 -u"),
            with("/usr/bin/env", &["python3 -u", "/s"])
        );
        assert_eq!(parts("echo hi"), with("/bin/sh", &["/s"]));
        assert_eq!(parts(""), with("/bin/sh", &["/s"]));
        assert_eq!(parts("#!  \necho"), with("/bin/sh", &["/s"]));
        assert_eq!(parts("#!bash\n"), with("./bash", &["/s"]));
    }

    #[test]
    fn a_carriage_return_is_kept_and_explained() {
        let found = script(Path::new("/s"), b"#!/bin/bash\r\ntrue\r\n");
        assert_eq!(found.program, Path::new("/bin/bash\r"));
        assert!(
            found.missing.contains("carriage return"),
            "{}",
            found.missing
        );
    }

    #[test]
    fn a_bare_name_is_looked_up_and_a_directory_is_refused() {
        assert_eq!(
            file("sh", Some("/nowhere:/bin")).unwrap().program,
            Path::new("/bin/sh")
        );
        assert_eq!(
            file("sh", Some("/nowhere")).unwrap_err().code,
            ErrorCode::NotFound
        );
        assert_eq!(
            file("/tmp", None).unwrap_err().code,
            ErrorCode::CannotExecute
        );
    }
}
