//! The nodes that answered the last time, in a file for each broker: a search that has them all need not wait
//! as long as one that knows nothing. A file that is missing, old or broken costs a second, no more.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use broker::Url;
use tempfile::NamedTempFile;

use super::Node;
use super::state_dir::of_broker;

/// So long after a search that waited for unknown nodes too, the next one does so again: nodes may be new.
const MAX_AGE: Duration = Duration::from_secs(600);

pub(super) struct ExpectedNodes {
    /// `None` where there is no place for it.
    path: Option<PathBuf>,
    count: usize,
    missing: HashSet<String>,
}

impl ExpectedNodes {
    /// Those of that broker.
    pub(super) fn of(urls: &[Url]) -> Self {
        Self::at(of_broker(urls, "nodes", ""))
    }

    fn at(path: Option<PathBuf>) -> Self {
        let lines = path.as_deref().filter(|path| is_fresh(path));
        let lines = lines.and_then(|path| fs::read_to_string(path).ok());
        let missing: HashSet<String> = lines
            .iter()
            .flat_map(|it| it.lines())
            .map(str::to_owned)
            .collect();
        Self {
            path,
            count: missing.len(),
            missing,
        }
    }

    /// It answered the last time.
    pub(super) fn expects(&self, node: &Node) -> bool {
        self.missing.contains(&line(node))
    }

    /// Crosses a node off. Whether all that are known have answered.
    pub(super) fn answered(&mut self, node: &Node) -> bool {
        self.missing.remove(&line(node));
        self.count > 0 && self.missing.is_empty()
    }

    /// After a search that ended early: those that are new are waited for the next time.
    pub(super) fn add(&self, nodes: &[Node]) {
        let Some(path) = self.path.as_deref().filter(|_| nodes.len() > self.count) else {
            return;
        };
        // Its time says when unknown nodes were waited for last.
        let waited_at = fs::metadata(path).and_then(|metadata| metadata.modified());
        if let (Ok(at), Ok(file)) = (waited_at, write(path, nodes)) {
            file.set_modified(at).ok();
        }
    }

    /// After a search that waited for unknown nodes too.
    pub(super) fn replace(&self, nodes: &[Node]) {
        if let Some(path) = &self.path {
            // What is not kept is searched for: that takes a second.
            write(path, nodes).ok();
        }
    }
}

fn is_fresh(path: &Path) -> bool {
    let age = |metadata: Metadata| metadata.modified().ok()?.elapsed().ok();
    let age = fs::metadata(path).ok().and_then(age);
    age.is_some_and(|age| age < MAX_AGE)
}

fn line(node: &Node) -> String {
    format!("{} {}", node.id, node.mac.as_deref().unwrap_or("-"))
}

/// Other searches may read and write at the same time.
fn write(path: &Path, nodes: &[Node]) -> Result<File> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = BufWriter::new(NamedTempFile::new_in(dir)?);
    for node in nodes {
        writeln!(file, "{}", line(node))?;
    }
    let file = file.into_inner()?;
    Ok(file.persist(path)?)
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::*;
    use std::time::SystemTime;

    fn all_answer(known: &mut ExpectedNodes, nodes: &[Node]) -> bool {
        nodes.iter().fold(false, |_, node| known.answered(node))
    }

    #[test]
    fn all_have_answered_when_those_of_the_last_search_have() {
        let dir = tempfile::tempdir().unwrap();
        let known = || ExpectedNodes::at(Some(dir.path().join("nodes/x")));
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        assert!(!all_answer(&mut known(), &nodes), "nothing is known yet");
        known().replace(&nodes);
        assert!(!all_answer(&mut known(), &nodes[..1]));
        assert!(all_answer(&mut known(), &nodes));
        let other_machine = [nodes[0].clone(), node("u2", "m3", "n2")];
        assert!(!all_answer(&mut known(), &other_machine));
    }

    #[test]
    fn what_a_short_search_adds_does_not_put_off_the_next_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let known = || ExpectedNodes::at(Some(path.clone()));
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        known().replace(&nodes[..1]);
        let at = SystemTime::now() - MAX_AGE / 2;
        File::open(&path).unwrap().set_modified(at).unwrap();
        known().add(&nodes);
        assert!(
            !all_answer(&mut known(), &nodes[..1]),
            "the new one is known"
        );
        let kept = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(kept.elapsed().unwrap() >= MAX_AGE / 2);
        File::open(&path)
            .unwrap()
            .set_modified(at - MAX_AGE)
            .unwrap();
        assert!(!all_answer(&mut known(), &nodes), "too old to be believed");
    }
}
