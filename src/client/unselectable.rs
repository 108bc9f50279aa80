//! Why nothing can be sent to some nodes, or to any.

use std::{fmt, io};

use super::evaluate::UnknownKey;
use super::names::NameIndex;
use super::{Clock, DuplicateUuid, Groups, NoVerdict, Node, NodeName, Plain, Remembered};
use protocol::NodeId;
use task::did_you_mean;

/// Names that are told when many are missing.
const MAX_TOLD: usize = 20;
/// Groups that are suggested.
const MAX_SUGGESTED: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub enum Unselectable {
    /// These were named and did not answer; and names that look like them.
    NotFound {
        names: Vec<String>,
        near: Vec<String>,
    },
    /// The same, and some of them are remembered, each with what it is remembered as.
    Missing {
        missing: Vec<(String, Remembered)>,
        unknown: Vec<String>,
        near: Vec<String>,
    },
    /// Of so many nodes that answered, none was asked for.
    NoNode { answered: usize },
    /// Two names for two machines of one UUID.
    Repeated(String, String),
    /// One name for several nodes: each as people read it.
    Ambiguous(String, Vec<(String, NodeId)>),
    /// A name of a node that answered and of another one, which is remembered and did not.
    Namesake {
        name: String,
        there: (String, NodeId),
        down: Box<Remembered>,
    },
    /// One UUID for several machines.
    DuplicateUuid(Vec<DuplicateUuid>),
    /// The expression says neither yes nor no to this node.
    NoVerdict { node: String, why: NoVerdict },
    /// It did not end on this node.
    Endless { node: String },
    /// It reads keys that no node has, most likely misspelt. Some nodes would have been meant all the same, or none.
    UnknownKeys {
        keys: Vec<UnknownKey>,
        some_match: bool,
    },
}

impl Unselectable {
    /// With what is remembered of nodes that did not answer.
    pub fn remembering(self, missing: &[Remembered]) -> Self {
        let Self::NotFound { names, near } = self else {
            return self;
        };
        let nodes: Vec<Node> = missing.iter().map(|it| it.node.clone()).collect();
        let directory = NameIndex::of(&nodes);
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for name in names {
            match directory.meant(&NodeName(name.clone()))[..] {
                [i] => found.push((name, missing[i].clone())),
                _ => unknown.push(name),
            }
        }
        match found.is_empty() {
            true => Self::NotFound {
                names: unknown,
                near,
            },
            false => Self::Missing {
                missing: found,
                unknown,
                near,
            },
        }
    }
}

impl Unselectable {
    /// What was typed as a node may be the name of a group, or mean all: that is near, then.
    #[must_use]
    pub fn suggesting(mut self, groups: &Groups) -> Self {
        let (names, near) = match &mut self {
            Self::NotFound { names, near } => (names, near),
            Self::Missing { unknown, near, .. } => (unknown, near),
            _ => return self,
        };
        let mut meant: Vec<String> = Vec::new();
        for name in names.iter() {
            if groups.has(name) {
                meant.push(format!("@{name}"));
            } else if matches!(&**name, "all" | "ALL") {
                meant.push("-a".to_owned());
            }
        }
        meant.truncate(MAX_SUGGESTED);
        meant.append(near);
        *near = meant;
        self
    }
}

impl fmt::Display for Unselectable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { names, near } => {
                let shown: Vec<Plain> = names
                    .iter()
                    .take(MAX_TOLD)
                    .map(|name| Plain::name(name))
                    .collect();
                write!(f, "not found: {}", shown.join(", "))?;
                if names.len() > MAX_TOLD {
                    write!(f, " and {} more", names.len() - MAX_TOLD)?;
                }
                f.write_str(&did_you_mean(near))
            }
            Self::Missing {
                missing,
                unknown,
                near,
            } => write_missing(f, missing, unknown, near),
            Self::NoNode { answered: 0 } => f.write_str("no node answered"),
            Self::NoNode { answered: 1 } => f.write_str("1 node answered, and is not meant"),
            Self::NoNode { answered } => {
                write!(f, "{answered} nodes answered, none of them matches")
            }
            Self::Repeated(one, other) => write!(
                f,
                "{one} and {other} are machines of one UUID: send to one of them at a time"
            ),
            Self::Ambiguous(name, nodes) => {
                write!(f, "{} means several nodes:", Plain::name(name))?;
                nodes
                    .iter()
                    .try_for_each(|(hostname, id)| write!(f, " {hostname}({id})"))
            }
            Self::Namesake { name, there, down } => write_namesake(f, name, there, &down.node),
            Self::DuplicateUuid(faults) => {
                for (i, duplicate) in faults.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{duplicate}")?;
                }
                f.write_str("\naddress one of them as UUID-MAC")
            }
            Self::NoVerdict { node, why } => f.write_str(&why.about(node)),
            Self::Endless { node } => write!(
                f,
                "timeout or out of memory: the expression ran longer than 3 s or took more than 512 MiB on {node}"
            ),
            Self::UnknownKeys { keys, .. } => {
                for (i, unknown) in keys.iter().enumerate() {
                    f.write_str(if i > 0 { "\n" } else { "" })?;
                    write!(f, "{unknown}")?;
                }
                Ok(())
            }
        }
    }
}

fn write_namesake(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    (hostname, id): &(String, NodeId),
    Node {
        hostname: other,
        id: other_id,
        ..
    }: &Node,
) -> fmt::Result {
    let name = Plain::name(name);
    write!(
        f,
        "{name} means several nodes: {hostname}({id}), and {other}({other_id}), which does not answer: \
         ur nodes --forget {other_id} if it is gone"
    )
}

fn write_missing(
    f: &mut fmt::Formatter<'_>,
    missing: &[(String, Remembered)],
    unknown: &[String],
    near: &[String],
) -> fmt::Result {
    let clock = Clock::of(&io::stderr());
    for (i, (name, known)) in missing.iter().enumerate() {
        let name = Plain::of(name);
        f.write_str(if i > 0 { "\n" } else { "" })?;
        write!(
            f,
            "{name} does not answer: last seen {}",
            known.when(&clock)
        )?;
    }
    f.write_str("\nnothing was sent; to leave out who does not answer: -x ")?;
    for (i, (name, _)) in missing.iter().take(MAX_TOLD).enumerate() {
        f.write_str(if i > 0 { "," } else { "" })?;
        f.write_str(&Plain::of(name))?;
    }
    if missing.len() > MAX_TOLD {
        f.write_str(",…")?;
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let (names, near) = (unknown.to_vec(), near.to_vec());
    write!(f, "\n{}", Unselectable::NotFound { names, near })
}

impl std::error::Error for Unselectable {}
