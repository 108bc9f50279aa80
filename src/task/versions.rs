//! Digests of released versions, `versions.lock`. A version's content never changes, since the version is
//! all that a job's record says to a person.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use protocol::Label;

const FILE: &str = "versions.lock";
const HEAD: &str =
    "# Digests of released versions. `ur task lock` adds lines; none is ever changed.\n";

/// Name and version → digest.
#[derive(Debug, Default)]
pub struct Lock(BTreeMap<(String, String), String>);

impl Lock {
    /// That of a directory of modules; `None` if it has none.
    pub fn of(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => {
                let text = text.with_context(|| format!("reading {}", path.display()))?;
                let lock = Self::parse(&text);
                lock.with_context(|| path.display().to_string()).map(Some)
            }
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lock = Self::default();
        let lines = text.lines().enumerate();
        for (i, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, version, digest] = words[..] else {
                anyhow::bail!("line {} is not NAME VERSION DIGEST", i + 1);
            };
            let key = (name.to_owned(), version.to_owned());
            let earlier = lock.0.insert(key, digest.to_owned());
            ensure!(
                earlier.is_none(),
                "line {} has {name} {version} once more",
                i + 1
            );
        }
        Ok(lock)
    }

    /// The digest under which that version went out.
    pub(super) fn released(&self, label: &Label) -> Option<&str> {
        let key = (label.name.clone()?, label.version.clone()?);
        self.0.get(&key).map(String::as_str)
    }

    /// Adds a version that is not there. Says whether that was so.
    pub fn add(&mut self, label: Label) -> bool {
        let new = self.released(&label).is_none();
        if let (
            true,
            Label {
                name: Some(name),
                version: Some(version),
                digest: Some(digest),
            },
        ) = (new, label)
        {
            self.0.insert((name, version), digest);
            return true;
        }
        false
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let write = || -> Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            write!(file, "{self}")?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for ((name, version), digest) in &self.0 {
            writeln!(f, "{name} {version} {digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(version: &str, digest: &str) -> Label {
        Label {
            name: Some("a::b".to_owned()),
            version: Some(version.to_owned()),
            digest: Some(digest.to_owned()),
        }
    }

    #[test]
    fn a_line_that_is_there_is_never_changed() {
        let mut lock = Lock::parse("# head\n\na::b 1.0.0 sha256:1\n").unwrap();
        assert!(!lock.add(label("1.0.0", "sha256:2")));
        assert!(lock.add(label("1.1.0", "sha256:2")));
        assert_eq!(lock.released(&label("1.0.0", "")), Some("sha256:1"));
        let text = lock.to_string();
        assert!(
            text.ends_with("a::b 1.0.0 sha256:1\na::b 1.1.0 sha256:2\n"),
            "{text}"
        );
        assert!(Lock::parse(&text).is_ok());
    }

    #[test]
    fn what_is_no_line_of_three_words_is_told_with_its_number() {
        let error = |text| Lock::parse(text).unwrap_err().to_string();
        assert!(error("a::b 1.0.0 x\na::b 1.0.0\n").contains("line 2"));
        assert!(error("a 1.0.0 x\na 1.0.0 y\n").contains("line 2"));
    }
}
