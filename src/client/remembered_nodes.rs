//! Remembered nodes, in a file of this user for each broker: every node that ever answered, and when it did
//! last. So a command can say which nodes it missed. What nodes say is data of strangers: it is bounded, and plain.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use broker::Url;
use jiff::{SignedDuration, Timestamp};

use super::remembered_file::{lock, read, write};
use super::state_dir::of_broker;
use super::{Clock, Node, Plain};
use protocol::NodeId;

/// No matter where all have answered that were named.
pub(super) const NOT_REMEMBERED: &str = "neither HOME nor XDG_STATE_HOME is set, so nodes are not remembered, and who does not answer is not missed";
/// An answer that is so much later than the one before.
const WORTH_NOTING: SignedDuration = SignedDuration::from_secs(1);

/// A node that answered some time ago. Of what it said then, only what it is called by, its agent's version, and whether
/// it was a headnode.
#[derive(Clone, Debug)]
pub struct Remembered {
    pub node: Node,
    pub seen: Timestamp,
}

impl Remembered {
    /// `3 h ago (2026-01-01T00:00:00Z)`
    pub fn when(&self, clock: &Clock) -> String {
        format!("{} ago ({})", self.age(), clock.seconds(self.seen))
    }

    /// How long it has not been seen, in the largest unit that makes sense.
    pub fn age(&self) -> String {
        let seconds = Timestamp::now().duration_since(self.seen).as_secs().max(0);
        match seconds {
            0..100 => format!("{seconds} s"),
            100..6000 => format!("{} min", seconds / 60),
            6000..172_800 => format!("{} h", seconds / 3600),
            _ => format!("{} d", seconds / 86_400),
        }
    }
}

/// Two that are of the same node at the same time.
impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        (&self.node.id, self.seen) == (&other.node.id, other.seen)
    }
}

impl Eq for Remembered {}

/// The nodes that did not answer, as far as they are remembered.
pub(super) struct MissingOnDisk {
    pub(super) missing: Vec<Remembered>,
    /// There may be others, of which nothing can be read.
    pub(super) is_in_part: bool,
    pub(super) notes: Vec<String>,
}

/// The memory of the nodes of one broker.
#[derive(Clone, Debug)]
pub struct RememberedNodes {
    /// `None` where there is no place for it.
    path: Option<PathBuf>,
}

impl RememberedNodes {
    /// Of the broker, or of the cluster, that is reached by these URLs.
    pub fn of(urls: &[Url]) -> Self {
        let path = of_broker(urls, "fleet", ".jsonl");
        Self { path }
    }

    /// Every node that is remembered, in no order.
    pub fn nodes(&self) -> Result<Vec<Remembered>> {
        match &self.path {
            Some(path) => Ok(read(path)?.nodes.into_values().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Notes that these are there now, under the names that they give now, and tells the others: also where nothing
    /// can be noted.
    pub(super) async fn saw(&self, nodes: &[Node]) -> MissingOnDisk {
        let mut unseen = MissingOnDisk {
            missing: Vec::new(),
            is_in_part: false,
            notes: Vec::new(),
        };
        let Some(path) = &self.path else {
            unseen.notes.push(NOT_REMEMBERED.to_owned());
            return unseen;
        };
        let lock = match nodes.is_empty() {
            true => None,
            false => Some(lock(path).await),
        };
        let mut memory = match read(path) {
            Ok(memory) => memory,
            Err(error) => {
                let note = format!("cannot read which nodes are known: {error:#}");
                unseen.notes.push(note);
                unseen.is_in_part = true;
                return unseen;
            }
        };
        unseen.is_in_part = memory.damaged > 0;
        unseen.notes.extend(memory.fault(path));
        memory.add(nodes);
        let noted = lock.map(|lock| lock.and_then(|_lock| write(path, &memory)));
        if let Some(Err(error)) = noted {
            let note = format!("cannot save which nodes answered: {error:#}");
            unseen.notes.push(note);
        }
        let answered: HashSet<&NodeId> = nodes.iter().map(|node| &node.id).collect();
        let known = memory.nodes.into_values();
        unseen.missing = known.filter(|it| !answered.contains(&it.node.id)).collect();
        unseen
    }

    /// Notes when nodes answered that are remembered. What is not noted costs the time of their last search, no more.
    pub async fn heard(&self, answers: HashMap<NodeId, Timestamp>) {
        let note = async |path: &PathBuf| {
            let _lock = lock(path).await?;
            let mut memory = read(path)?;
            let mut is_news = false;
            for (id, at) in answers {
                if let Some(known) = memory.nodes.get_mut(&id)
                    && at.duration_since(known.seen) >= WORTH_NOTING
                {
                    (known.seen, is_news) = (at, true);
                }
            }
            match is_news {
                true => write(path, &memory),
                false => anyhow::Ok(()),
            }
        };
        if let Some(path) = &self.path {
            note(path).await.ok();
        }
    }

    /// Forgets those that `is_meant`, and returns them, and what is to be told.
    pub async fn forget(
        &self,
        is_meant: impl Fn(&Node) -> bool,
    ) -> Result<(Vec<Remembered>, Option<String>)> {
        let Some(path) = &self.path else {
            return Ok((Vec::new(), None));
        };
        let _lock = lock(path).await?;
        let mut memory = read(path)?;
        let nodes = std::mem::take(&mut memory.nodes).into_iter();
        let (forgotten, kept): (HashMap<_, _>, _) =
            nodes.partition(|(_, known)| is_meant(&known.node));
        memory.nodes = kept;
        if !forgotten.is_empty() {
            write(path, &memory)?;
        }
        Ok((forgotten.into_values().collect(), memory.fault(path)))
    }
}

/// Marks those whose host names are not theirs alone: another node has it by now, or is missing too. And those that
/// have it by now.
pub(super) fn mark_missing_namesakes(missing: &mut [Remembered], nodes: &mut [Node]) {
    let gone: HashSet<Plain> = missing.iter().map(|it| it.node.hostname.clone()).collect();
    for node in &mut *nodes {
        node.has_namesake |= gone.contains(&node.hostname);
    }
    let mut owners: HashMap<Plain, usize> = HashMap::new();
    let remembered = missing.iter().map(|it| &it.node);
    for node in remembered.chain(&*nodes) {
        *owners.entry(node.hostname.clone()).or_default() += 1;
    }
    for known in missing {
        known.node.has_namesake = owners[&known.node.hostname] > 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::node;
    use super::super::remembered_file::kept_aside;
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    fn fleet(dir: &Path) -> RememberedNodes {
        let path = Some(dir.join("fleet/x.jsonl"));
        RememberedNodes { path }
    }

    fn names(nodes: &[Remembered]) -> Vec<&str> {
        let mut names: Vec<&str> = nodes.iter().map(|it| &*it.node.hostname).collect();
        names.sort_unstable();
        names
    }

    #[tokio::test]
    async fn those_that_do_not_answer_are_returned_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        assert_eq!(names(&fleet.saw(&nodes).await.missing), [""; 0]);
        let missing = fleet.saw(&nodes[..1]).await.missing;
        assert_eq!(names(&missing), ["n2"]);
        assert_eq!(missing[0].node.mac, nodes[1].mac);
        assert_eq!(names(&fleet.saw(&[]).await.missing), ["n1", "n2"]);
        let gone = fleet.forget(|node| node.id.as_str() == "u2").await.unwrap();
        assert_eq!((names(&gone.0), gone.1), (vec!["n2"], None));
        assert_eq!(names(&fleet.saw(&nodes[..1]).await.missing), [""; 0]);
    }

    #[tokio::test]
    async fn an_answer_to_a_request_is_when_a_node_was_seen_last() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        fleet
            .saw(&[node("u1", "m1", "n1"), node("u2", "m2", "n2")])
            .await;
        let later = Timestamp::now() + SignedDuration::from_mins(1);
        let ids = ["u1", "stranger"].map(|id| NodeId::parse(id).unwrap());
        fleet.heard(ids.map(|id| (id, later)).into()).await;
        let seen = |known: &Remembered| (known.node.hostname.to_string(), known.seen == later);
        let mut seen: Vec<_> = fleet.nodes().unwrap().iter().map(seen).collect();
        seen.sort();
        assert_eq!(seen, [("n1".to_owned(), true), ("n2".to_owned(), false)]);
    }

    #[tokio::test]
    async fn where_nodes_have_no_place_that_is_told() {
        let unseen = RememberedNodes { path: None }
            .saw(&[node("u1", "m1", "n1")])
            .await;
        assert!(unseen.notes[0].contains("nodes are not remembered"));
    }

    #[tokio::test]
    async fn a_node_that_was_renamed_is_not_missed_under_its_old_name() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        fleet.saw(&[node("u1", "m1", "n1")]).await;
        let renamed = [node("u1", "m1", "n9")];
        assert_eq!(names(&fleet.saw(&renamed).await.missing), [""; 0]);
        assert_eq!(names(&fleet.nodes().unwrap()), ["n9"]);
    }

    #[tokio::test]
    async fn a_line_that_is_broken_costs_no_other_and_is_told_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        fleet.saw(&[node("u1", "m1", "n1")]).await;
        let path = fleet.path.as_deref().unwrap();
        let mut file = File::options().append(true).open(path).unwrap();
        let odd = r#"{"uuid":"u2","hostname":"n2\u001b","seen":"2026-01-01T00:00:00Z"}"#;
        writeln!(file, "{{\"uuid\":\n\n{odd}").unwrap();
        assert_eq!(names(&fleet.nodes().unwrap()), ["n1", "n2\\u{1b}"]);
        let damaged = fs::read(path).unwrap();
        let unseen = fleet.saw(&[node("u1", "m1", "n1")]).await;
        assert_eq!(names(&unseen.missing), ["n2\\u{1b}"]);
        assert!(unseen.is_in_part);
        let note = &unseen.notes[0];
        assert!(note.contains("1 of its lines cannot be read"), "{note}");
        assert_eq!(fs::read(kept_aside(path)).unwrap(), damaged);
        let again = fleet.saw(&[node("u1", "m1", "n1")]).await;
        assert!(!again.is_in_part && again.notes.is_empty());
    }

    #[tokio::test]
    async fn several_that_write_at_a_time_lose_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        let each = (0..50).map(|i| {
            let (id, name, fleet) = (format!("u{i}"), format!("n{i}"), fleet.clone());
            async move { fleet.saw(&[node(&id, "m", &name)]).await }
        });
        futures_util::future::join_all(each).await;
        assert_eq!(fleet.nodes().unwrap().len(), 50);
    }

    #[tokio::test]
    async fn who_is_missing_is_known_though_nothing_can_be_noted() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = fleet(dir.path());
        let nodes = [node("u1", "m1", "n1"), node("u2", "m2", "n2")];
        fleet.saw(&nodes).await;
        let held = lock(fleet.path.as_deref().unwrap()).await.unwrap();
        let unseen = fleet.saw(&nodes[..1]).await;
        assert_eq!(
            (names(&unseen.missing), unseen.is_in_part),
            (vec!["n2"], false)
        );
        let note = &unseen.notes[0];
        assert!(note.contains("another ur has held the lock"), "{note}");
        drop(held);
        fs::remove_dir_all(dir.path().join("fleet")).unwrap();
        // No directory can be there, nor a file in it.
        File::create(dir.path().join("fleet")).unwrap();
        let unseen = fleet.saw(&nodes).await;
        assert!(unseen.is_in_part && unseen.notes[0].contains("reading "));
    }
}
