//! The bundle of a task: the task and its files as one script that any agent ever shipped can run. Shell
//! code is put where it is sourced; where that is not enough, the script unpacks its files first.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex_lite::Regex;
use sha2::{Digest, Sha256};

use super::{Library, Task};
use protocol::{Label, hexadecimal};

/// `source "$PT__installdir/ur/files/ur.sh"`, however it is indented.
const SOURCE: &str = r#"^(\s*)(?:source|\.)\s+"\$\{?PT__installdir\}?/([\w./-]+)"\s*$"#;

type Files = BTreeMap<String, Vec<u8>>;

impl Task {
    /// The script to send.
    pub fn bundle(&self, library: &Library) -> Result<String> {
        let bundle = || -> Result<String> {
            let mut files = Files::new();
            for file in self.metadata.files() {
                files.extend(library.read(file)?);
            }
            let interpreter = Interpreter::of(&self.content, &self.executable)?;
            let inlined = interpreter.is_shell.then(|| inline(self.text()?, &files));
            match inlined.transpose()?.flatten() {
                Some(script) => Ok(script),
                None => self.self_extracting(&files, &interpreter.words),
            }
        };
        bundle().with_context(|| format!("bundling {}", self.name))
    }

    /// What travels with the bundle, and comes back with its reply.
    pub fn label(&self, bundle: &str) -> Label {
        Label {
            name: Some(self.name.to_string()),
            version: self.version(),
            digest: Some(digest(bundle)),
        }
    }

    pub(super) fn is_shell(&self) -> bool {
        Interpreter::of(&self.content, &self.executable).is_ok_and(|found| found.is_shell)
    }

    fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.content)
            .with_context(|| format!("{} is not UTF-8 text", self.executable))
    }

    fn self_extracting(&self, files: &Files, interpreter: &str) -> Result<String> {
        let mut lines = vec![HEAD.to_owned()];
        for (path, bytes) in files.iter().chain([(&self.executable, &self.content)]) {
            ensure!(
                !path.contains(['\'', '"', '$', '`', '\\', '\n']),
                "{path:?} has a name that a shell would misread"
            );
            lines.push(format!("unpack '{path}' <<'END'"));
            let coded = STANDARD.encode(bytes);
            let pieces = coded.as_bytes().chunks(76);
            lines.extend(pieces.map(|piece| String::from_utf8_lossy(piece).into_owned()));
            lines.push("END".to_owned());
        }
        lines.push(format!(
            "task() {{ {interpreter} \"$dir/{}\"; }}",
            self.executable
        ));
        lines.push(TAIL.to_owned());
        Ok(lines.join("\n") + "\n")
    }
}

/// `sha256:` and the hexadecimal digits.
pub(super) fn digest(bundle: &str) -> String {
    format!("sha256:{}", hexadecimal(&Sha256::digest(bundle)))
}

const HEAD: &str = r#"#!/bin/sh
# A task with its files: unpacks them, runs the task and removes them.
set -eu
dir=$(mktemp -d "${UR_JOB_DIR:-${TMPDIR:-/tmp}}/task.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
unpack() {
  mkdir -p "$dir/${1%/*}"
  base64 -d >"$dir/$1"
  chmod 700 "$dir/$1"
}"#;

/// An older agent gives no standard input, but a socket that never ends. The task looks for the place of its
/// files there too, so the object on standard input gets one more member.
const TAIL: &str = r#"export PT__installdir="$dir"
status=0
if [ -n "${UR_JOB_DIR-}" ] && IFS= read -r params && [ -n "$params" ]; then
  printf '{"_installdir":"%s",%s\n' "$dir" "${params#?}" | task || status=$?
else
  task </dev/null || status=$?
fi
exit "$status""#;

struct Interpreter {
    /// As the beginning of a command line: the directory may not allow that files in it are executed.
    words: String,
    is_shell: bool,
}

impl Interpreter {
    fn of(content: &[u8], path: &str) -> Result<Self> {
        let first = content
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let Some(line) = first.strip_prefix(b"#!") else {
            ensure!(
                path.ends_with(".sh"),
                "{path} has no interpreter line: let its first line be #! and the path of one"
            );
            return Ok(Self {
                words: "/bin/sh".to_owned(),
                is_shell: true,
            });
        };
        let line = String::from_utf8_lossy(line);
        // All behind the first word is one argument, as the kernel has it.
        let (program, argument) = line
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((line.trim(), ""));
        let argument = argument.trim();
        let quote = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
        let words = match argument {
            "" => quote(program),
            argument => format!("{} {}", quote(program), quote(argument)),
        };
        let name = match (program, argument) {
            ("/usr/bin/env", argument) => argument,
            (program, _) => program.rsplit('/').next().unwrap_or_default(),
        };
        Ok(Self {
            words,
            is_shell: matches!(name, "sh" | "bash" | "dash" | "ksh" | "zsh"),
        })
    }
}

/// The script with every file where it is sourced; `None` if it needs them in another way too.
fn inline(text: &str, files: &Files) -> Result<Option<String>> {
    let source = Regex::new(SOURCE).context("compiling an expression of our own")?;
    let mut inlining = Inlining {
        source,
        files,
        seen: BTreeSet::new(),
        script: String::new(),
    };
    inlining.add(text)?;
    let all_seen = files.keys().all(|path| inlining.seen.contains(path));
    let is_code = |line: &&str| !line.trim_start().starts_with('#');
    let mut code = inlining.script.lines().filter(is_code);
    let asks = code.any(|line| line.contains("_installdir"));
    Ok((all_seen && !asks).then_some(inlining.script))
}

struct Inlining<'a> {
    source: Regex,
    files: &'a Files,
    /// Each once: a second one has nothing new.
    seen: BTreeSet<String>,
    script: String,
}

impl Inlining<'_> {
    fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            let sourced = self.source.captures(line).map(|found| found.extract());
            let Some((_, [indentation, path])) = sourced else {
                self.script += line;
                self.script.push('\n');
                continue;
            };
            let Some(bytes) = self.files.get(path) else {
                bail!("it sources {path}, which `files` does not list: Bolt would not send it");
            };
            if self.seen.insert(path.to_owned()) {
                let text = std::str::from_utf8(bytes);
                self.add(text.with_context(|| format!("{path} is not UTF-8 text"))?)?;
            } else {
                self.script += indentation;
                self.script += ":\n";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        let files = files.iter();
        files
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_sourced_file_stands_where_it_is_sourced_each_once_and_recursively() {
        let files = files(&[
            ("ur/files/ur.sh", "# shellcheck shell=bash\nlog() { :; }\n"),
            (
                "disk/files/x.sh",
                "source \"$PT__installdir/ur/files/ur.sh\"\nx=1",
            ),
        ]);
        let task = "#!/bin/bash\nmain() {\n  . \"${PT__installdir}/disk/files/x.sh\"\n  source \"$PT__installdir/ur/files/ur.sh\"\n}\nmain \"$@\"\n";
        let expected = "#!/bin/bash\nmain() {\n# shellcheck shell=bash\nlog() { :; }\nx=1\n  :\n}\nmain \"$@\"\n";
        assert_eq!(inline(task, &files).unwrap().as_deref(), Some(expected));
    }

    #[test]
    fn a_task_that_needs_its_files_otherwise_is_not_inlined() {
        let files = files(&[("a/files/a.sh", "a() { :; }\n")]);
        let uses =
            "source \"$PT__installdir/a/files/a.sh\"\ncat \"$PT__installdir/a/files/data\"\n";
        assert_eq!(inline(uses, &files).unwrap(), None);
        assert_eq!(inline("true\n", &files).unwrap(), None);
        let comment = "# of $PT__installdir\nsource \"$PT__installdir/a/files/a.sh\"\n";
        assert!(inline(comment, &files).unwrap().is_some());
    }

    #[test]
    fn a_sourced_file_that_the_metadata_does_not_list_is_an_error() {
        let error = inline("source \"$PT__installdir/a/files/a.sh\"\n", &Files::new()).unwrap_err();
        assert!(error.to_string().contains("a/files/a.sh"), "{error}");
    }

    #[test]
    fn every_bundle_of_ours_is_sound_shell_and_carries_nothing_to_unpack() {
        let library = Library::of(Vec::new());
        for task in library.tasks().unwrap().0 {
            let bundle = task.bundle(&library).unwrap();
            assert!(!bundle.starts_with(HEAD), "{}", task.name);
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bundle.as_bytes()).unwrap();
            let mut bash = Command::new("bash");
            let status = bash.arg("-n").arg(file.path()).status().unwrap();
            assert!(status.success(), "{}", task.name);
        }
    }

    #[test]
    fn an_interpreter_is_run_by_its_own_line() {
        let of = |line: &str| {
            Interpreter::of(line.as_bytes(), "a/tasks/a.rb")
                .map(|i| (i.words, i.is_shell))
                .ok()
        };
        let words = |text: &str, is_shell| Some((text.to_owned(), is_shell));
        assert_eq!(
            of("#!/usr/bin/env python3\nx"),
            words("'/usr/bin/env' 'python3'", false)
        );
        assert_eq!(
            of("#! /usr/bin/ruby -W0 -x"),
            words("'/usr/bin/ruby' '-W0 -x'", false)
        );
        assert_eq!(of("#!/bin/bash\n"), words("'/bin/bash'", true));
        assert_eq!(
            of("#!/usr/bin/env bash\n"),
            words("'/usr/bin/env' 'bash'", true)
        );
        assert_eq!(of("puts 1"), None);
    }
}
