//! The columns of `ur nodes`: what a node is usually listed by, or what an expression makes of its sysinfo.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use client::{BadFilter, Filter, Node, Outputs, Plain, Unselectable, by_name, outputs};

/// The usual ones, in the order in which they stand.
pub(crate) const NAMES: [&str; 10] = [
    "HOSTNAME", "UUID", "MAC", "IP", "CPUS", "MIB", "DISKS", "AGENT", "SETUP", "HEADNODE",
];
pub(super) const HOSTNAME: usize = 0;
pub(super) const UUID: usize = 1;
pub(super) const AGENT: usize = 7;

/// A column, by which the nodes can be sorted, too.
#[derive(Debug)]
pub(crate) enum Column {
    /// One of [`NAMES`].
    Known(usize),
    /// A jq expression on sysinfo.
    Filter(String, Arc<Filter>),
}

/// A column that is none.
#[derive(Debug)]
pub(crate) enum BadColumn {
    Unknown(String),
    Filter(BadFilter),
}

impl Column {
    pub(crate) fn usual() -> Vec<Self> {
        (0..NAMES.len()).map(Self::Known).collect()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, BadColumn> {
        let is_text = |name: &str| name.eq_ignore_ascii_case(text);
        if let Some(column) = NAMES.iter().position(|name| is_text(name)) {
            return Ok(Self::Known(column));
        }
        if text.chars().all(|c| c.is_alphanumeric() || c == ' ') {
            return Err(BadColumn::Unknown(text.to_owned()));
        }
        let filter = Filter::parse(text).map_err(BadColumn::Filter)?;
        Ok(Self::Filter(text.to_owned(), filter.into()))
    }

    /// Parted by commas, though not by those of an expression.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, BadColumn> {
        let mut columns = vec![String::new()];
        let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
        for c in text.chars() {
            match c {
                ',' if depth == 0 && !in_text => {
                    columns.push(String::new());
                    continue;
                }
                '"' if !is_escaped => in_text = !in_text,
                '(' | '[' | '{' if !in_text => depth += 1,
                ')' | ']' | '}' if !in_text => depth = depth.saturating_sub(1),
                _ => {}
            }
            is_escaped = c == '\\' && !is_escaped;
            columns.last_mut().expect("there is one").push(c);
        }
        columns.iter().map(|it| Self::parse(it.trim())).collect()
    }

    /// A node that is missing is shown by the column of its agent.
    pub(crate) fn say_agent(columns: &[Self]) -> bool {
        columns.iter().any(|it| matches!(it, Self::Known(AGENT)))
    }

    /// More is looked at than what a node is listed by.
    pub(crate) fn needs_sysinfo(&self) -> bool {
        matches!(self, Self::Filter(..))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Known(column) => NAMES[*column],
            Self::Filter(text, _) => text,
        }
    }

    /// One for each node. An expression may not end.
    pub(crate) fn cells(&self, nodes: &[&Node]) -> Result<Vec<String>, Unselectable> {
        let text = |outputs: Outputs| match outputs {
            Ok(values) => text_of(&values),
            Err(_) => "-".to_owned(),
        };
        Ok(match self {
            Self::Known(column) => nodes.iter().map(|it| usual_cell(*column, it)).collect(),
            Self::Filter(_, filter) => outputs(filter, nodes)?.into_iter().map(text).collect(),
        })
    }
}

/// What nodes are sorted by: `MIB`, or the largest first, `-MIB`.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) column: Column,
    is_falling: bool,
}

impl Order {
    pub(crate) fn parse(text: &str) -> Result<Self, BadColumn> {
        let falling = text.strip_prefix('-').map(Column::parse);
        Ok(match falling {
            // Before an expression it is the minus of jq.
            Some(Ok(Column::Filter(..)) | Err(BadColumn::Filter(_))) | None => Self {
                column: Column::parse(text)?,
                is_falling: false,
            },
            Some(column) => Self {
                column: column?,
                is_falling: true,
            },
        })
    }
}

/// Numbers by size, names as a person counts, nodes that have none at the end.
pub(crate) fn sort(nodes: &mut [&Node], by: &Order) -> Result<(), Unselectable> {
    let cells = by.column.cells(nodes)?.into_iter().map(SortKey);
    let mut keyed: Vec<(SortKey, &Node)> = cells.zip(nodes.iter().copied()).collect();
    keyed.sort_by(|(one, _), (other, _)| match by.is_falling {
        true => one
            .is_missing()
            .cmp(&other.is_missing())
            .then_with(|| other.cmp(one)),
        false => one.cmp(other),
    });
    for (place, (_, node)) in nodes.iter_mut().zip(keyed) {
        *place = node;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
struct SortKey(String);

impl SortKey {
    fn is_missing(&self) -> bool {
        self.0 == "-"
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let missing = self.is_missing().cmp(&other.is_missing());
        let (one, other) = (self.0.as_str(), other.0.as_str());
        let as_numbers = || match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => one.total_cmp(&other),
            _ => by_name(one, other),
        };
        missing.then_with(as_numbers)
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) fn usual_cell(column: usize, node: &Node) -> String {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    match column {
        HOSTNAME => node.hostname.to_string(),
        UUID => node.id.to_string(),
        2 => or_dash(node.mac.as_deref()),
        3 => or_dash(node.ip.as_deref()),
        4 => or_dash(node.cpus.as_deref()),
        5 => or_dash(node.memory_mib.as_deref()),
        6 => node.disks.map_or("-".to_owned(), |disks| disks.to_string()),
        AGENT => agents(node),
        8 => or_dash(node.setup.as_deref()),
        _ => or_dash(node.is_headnode.then_some("yes")),
    }
}

/// Two of them, where every request runs twice.
fn agents(node: &Node) -> String {
    let agent = node.agent.as_deref().unwrap_or("node.js");
    match &node.beside {
        Some(beside) => format!("{agent}+{beside}"),
        None => agent.to_owned(),
    }
}

/// Texts as they are, all else as JSON.
fn text_of(values: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let texts: Vec<String> = values.iter().map(one).collect();
    if texts.is_empty() {
        "-".to_owned()
    } else {
        texts.join(",")
    }
}

impl std::fmt::Display for BadColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "there is no column {}: there are {}; a field of sysinfo is a jq expression: .\"{}\"",
                Plain::name(name),
                NAMES.join(", "),
                Plain::name(name)
            ),
            Self::Filter(bad) => bad.fmt(f),
        }
    }
}

impl std::error::Error for BadColumn {}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::NodeId;
    use serde_json::json;

    #[test]
    fn columns_are_names_or_expressions_and_nodes_are_sorted_by_either() {
        let node = |uuid: &str, size: Value| {
            let sysinfo = json!({"Hostname": uuid, "MiB of Memory": "64", "Disks": {"sda": {"Size in GB": size, "Serial": "a,b"}}});
            let id = NodeId::parse(uuid).unwrap();
            let mut node = Node::read(id, sysinfo.to_string().as_bytes()).unwrap();
            node.sysinfo = serde_json::value::to_raw_value(&sysinfo)
                .ok()
                .map(Into::into);
            node
        };
        let nodes = [
            node("n10", json!(1000)),
            node("n9", json!("90")),
            node("n8", json!(null)),
        ];
        let mut all: Vec<&Node> = nodes.iter().collect();
        let columns =
            Column::parse_list(r#"hostname,.Disks.sda.Serial,[.Disks[]|."Size in GB",1]"#).unwrap();
        let names: Vec<&str> = columns.iter().map(Column::name).collect();
        assert_eq!(names[..2], ["HOSTNAME", ".Disks.sda.Serial"]);
        let cell = |it: &Column, node| it.cells(&[node]).unwrap().remove(0);
        let cells = |node| columns.iter().map(|it| cell(it, node)).collect::<Vec<_>>();
        assert_eq!(cells(all[0]), ["n10", "a,b", "[1000,1]"]);
        assert_eq!(cells(all[2]), ["n8", "a,b", "[null,1]"]);
        sort(
            &mut all,
            &Order::parse(r#".Disks.sda."Size in GB""#).unwrap(),
        )
        .unwrap();
        let names: Vec<&str> = all.iter().map(|node| &*node.hostname).collect();
        assert_eq!(names, ["n9", "n10", "n8"]);
        sort(&mut all, &Order::parse("Hostname").unwrap()).unwrap();
        let endless = Order::parse("def f: f; f").unwrap();
        assert!(endless.column.cells(&all).is_err() && sort(&mut all, &endless).is_err());
        assert_eq!(&*all[0].hostname, "n8");
        sort(&mut all, &Order::parse("-hostname").unwrap()).unwrap();
        assert_eq!(&*all[0].hostname, "n10");
        assert!(matches!(Order::parse("-MIBS"), Err(BadColumn::Unknown(_))));
        assert!(!Order::parse("-.CPUs").unwrap().is_falling);
        let unknown = Column::parse_list("HOSTNAME,Product")
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("HOSTNAME, UUID") && unknown.contains(".\"Product\""),
            "{unknown}"
        );
        assert!(matches!(Column::parse(".a["), Err(BadColumn::Filter(_))));
    }
}
