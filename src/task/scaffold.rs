//! The beginnings of a new task, for `ur task new`: it passes every check and says hello.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::TaskName;

const METADATA: &str = r#"{
  "description": "Says hello.",
  "supports_noop": true,
  "parameters": {
    "name": {
      "description": "Whom to greet.",
      "type": "String[1]",
      "default": "world"
    }
  },
  "extensions": {
    "ur": {
      "version": "0.1.0",
      "class": "inspect",
      "timeout": 60,
      "result": {
        "type": "object",
        "properties": {
          "greeting": { "type": "string", "description": "What was said." }
        }
      }
    }
  }
}
"#;

const SCRIPT: &str = r#"#!/usr/bin/env bash
set -euo pipefail

readonly name=${PT_name-} noop=${PT__noop-false}

# Everything that can be refused is refused here, before anything is changed.
guard() {
  [[ $name != *[\"\\]* ]] || {
    printf '{"_error":{"kind":"MODULE/name","msg":"a name has no quotes and no backslashes","details":{}}}\n'
    return 1
  }
}

main() {
  guard
  printf 'stderr is for the person who watches\n' >&2
  if [[ $noop == true ]]; then
    printf '{"greeting":"nothing, for now"}\n'
  else
    printf '{"greeting":"hello %s"}\n' "$name"
  fi
}

main "$@"
"#;

/// Writes script and metadata below `dir`; what is there already stays as it is. Returns the paths.
pub fn create(dir: &Path, name: &TaskName) -> Result<[PathBuf; 2]> {
    let tasks = dir.join(&name.module).join("tasks");
    fs::create_dir_all(&tasks).with_context(|| format!("creating {}", tasks.display()))?;
    let [script, metadata] = ["sh", "json"].map(|end| tasks.join(format!("{}.{end}", name.task)));
    write_new(&metadata, METADATA, 0o644)?;
    write_new(&script, &SCRIPT.replace("MODULE", &name.module), 0o755)?;
    Ok([script, metadata])
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("creating {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Library, check};

    #[test]
    fn a_new_task_passes_the_checks_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let name: TaskName = "my_module::greet".parse().unwrap();
        create(dir.path(), &name).unwrap();
        let (count, findings) = check(dir.path()).unwrap();
        assert_eq!((count, findings.len()), (1, 0), "{findings:?}");
        assert!(Library::of(vec![dir.path().to_owned()]).find(&name).is_ok());
        assert!(create(dir.path(), &name).is_err());
    }
}
