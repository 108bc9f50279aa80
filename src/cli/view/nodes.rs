//! The table of `ur nodes`: the usual columns, or those that are asked for.

use std::cmp::Ordering;
use std::io::{self, Write};

use serde_json::Value;

use super::table::Table;
use client::{BadFilter, DuplicateUuid, Filter, Node, Plain, Remembered, by_name, facts};

/// The columns, in the order in which they stand.
const NAMES: [&str; 10] = [
    "HOSTNAME", "UUID", "MAC", "IP", "CPUS", "MIB", "DISKS", "AGENT", "SETUP", "HEADNODE",
];
const UUID: usize = 1;
const AGENT: usize = 7;
/// Those that hold numbers.
const NUMBERS: [usize; 3] = [4, 5, 6];
/// Those that a narrow terminal does without, the first of them first.
const SPARE: [usize; 9] = [UUID, 2, 9, 6, 8, 4, 7, 5, 3];

/// What is known of each node, and how it is to be shown.
pub(crate) struct NodeTable<'a> {
    pub(crate) columns: &'a [Column],
    pub(crate) faults: &'a [DuplicateUuid],
    /// They stand at the end.
    pub(crate) missing: &'a [Remembered],
    pub(crate) has_header: bool,
    pub(crate) width: Option<usize>,
}

/// A column, by which the nodes can be sorted, too.
#[derive(Debug)]
pub(crate) enum Column {
    /// One of [`NAMES`].
    Known(usize),
    /// A jq expression on sysinfo.
    Filter(String, Filter),
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
        Ok(Self::Filter(text.to_owned(), filter))
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

    fn name(&self) -> &str {
        match self {
            Self::Known(column) => NAMES[*column],
            Self::Filter(text, _) => text,
        }
    }

    fn cell(&self, node: &Node) -> String {
        match self {
            Self::Known(column) => usual_cell(*column, node),
            Self::Filter(_, filter) => match filter.outputs(&facts(node)) {
                Ok(values) => text_of(&values),
                Err(_) => "-".to_owned(),
            },
        }
    }
}

/// Numbers by size, names as a person counts, nodes that have none at the end.
pub(crate) fn sort(nodes: &mut [&Node], by: &Column) {
    nodes.sort_by_cached_key(|node| SortKey(by.cell(node)));
}

#[derive(PartialEq, Eq)]
struct SortKey(String);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (self.0.as_str(), other.0.as_str());
        let missing = (one == "-").cmp(&(other == "-"));
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

impl NodeTable<'_> {
    /// What is to be told besides: the meaning of marks, columns that have no room.
    pub(crate) fn write(&self, nodes: &[&Node], out: &mut dyn Write) -> io::Result<Vec<String>> {
        let names: Vec<&str> = self.columns.iter().map(Column::name).collect();
        let at = |known: usize| {
            let is = |column: &Column| matches!(column, Column::Known(it) if *it == known);
            self.columns.iter().position(is)
        };
        let is_usual = !self.columns.iter().any(Column::needs_sysinfo) && names == NAMES;
        let mut spare: Vec<usize> = if is_usual { SPARE.to_vec() } else { Vec::new() };
        // Where only the UUID tells two nodes apart, it is the last to go.
        if nodes.iter().any(|node| self.is_marked(node)) {
            spare.rotate_left(usize::from(is_usual));
        }
        if !self.missing.is_empty() {
            spare.retain(|column| *column != AGENT);
        }
        let table = Table {
            header: self.has_header.then_some(&names),
            numbers: &NUMBERS.into_iter().filter_map(at).collect::<Vec<_>>(),
            width: self.width,
            spare: &spare,
        };
        let missing = self.missing.iter().map(|known| self.missing_row(known));
        let rows = nodes.iter().map(|node| self.row(node)).chain(missing);
        let left_out = table.write(rows, out)?;
        let left_out: Vec<&str> = left_out.into_iter().map(|column| names[column]).collect();
        let mut notes = Vec::new();
        if nodes.iter().any(|node| node.has_namesake) && at(0).is_some() {
            let note = "! another node has this host name too: name it by its UUID";
            notes.push(note.to_owned());
        }
        if nodes.iter().any(|node| node.beside.is_some()) && at(AGENT).is_some() {
            let note = "+ two agents answer on this node: each request runs twice";
            notes.push(note.to_owned());
        }
        if !left_out.is_empty() {
            notes.push(format!(
                "no room for {}: -o shows them",
                left_out.join(", ")
            ));
        }
        Ok(notes)
    }

    fn is_marked(&self, node: &Node) -> bool {
        node.has_namesake || self.is_fault(node)
    }

    fn is_fault(&self, node: &Node) -> bool {
        self.faults.iter().any(|twins| twins.id == node.id)
    }

    /// What is remembered of it, and in place of the agent how long it has not been seen.
    fn missing_row(&self, known: &Remembered) -> Vec<String> {
        let cell = |column: &Column| match column {
            Column::Known(AGENT) => format!("missing {}", known.age()),
            column => column.cell(&known.node),
        };
        self.columns.iter().map(cell).collect()
    }

    fn row(&self, node: &Node) -> Vec<String> {
        let cell = |column: &Column| {
            let mut cell = column.cell(node);
            match column {
                Column::Known(0) if node.has_namesake => cell.push_str(" !"),
                Column::Known(UUID) if self.is_fault(node) => cell.push_str(" *"),
                _ => {}
            }
            cell
        };
        self.columns.iter().map(cell).collect()
    }
}

fn usual_cell(column: usize, node: &Node) -> String {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    match column {
        0 => node.hostname.to_string(),
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
    use client::duplicate_uuids;
    use jiff::{SignedDuration, Timestamp};
    use protocol::NodeId;
    use serde_json::json;

    fn said(uuid: &str, sysinfo: &Value) -> Node {
        let id = NodeId::parse(uuid).unwrap();
        Node::read(id, sysinfo.to_string().as_bytes()).unwrap()
    }

    fn shown(columns: &[Column], nodes: &[&Node], width: Option<usize>) -> (String, Vec<String>) {
        let table = NodeTable {
            columns,
            faults: &[],
            missing: &[],
            has_header: true,
            width,
        };
        let mut out = Vec::new();
        let notes = table.write(nodes, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), notes)
    }

    #[test]
    fn a_node_that_is_missing_stands_at_the_end_with_what_is_remembered() {
        let there = said(
            "u2",
            &json!({"Hostname": "node2", "Ur Agent": {"version": "0.1.0"}}),
        );
        let node = said("u1", &json!({"Hostname": "node1"}));
        let seen = Timestamp::now() - SignedDuration::from_hours(3);
        let missing = [Remembered { node, seen }];
        let columns = Column::usual();
        for width in [None, Some(40)] {
            let table = NodeTable {
                columns: &columns,
                faults: &[],
                missing: &missing,
                has_header: false,
                width,
            };
            let mut out = Vec::new();
            table.write(&[&there], &mut out).unwrap();
            let lines = String::from_utf8(out).unwrap();
            let (first, last) = lines.split_once('\n').unwrap();
            assert!(first.starts_with("node2  ") && last.starts_with("node1  "));
            assert!(last.contains("  missing 3 h"), "{last}");
        }
    }

    #[test]
    fn a_node_is_a_row_and_what_it_did_not_say_is_a_dash() {
        let full = json!({
            "Hostname": "head0", "CPU Total Cores": 16, "MiB of Memory": "32768",
            "Disks": {"sda": {}, "sdb": {}}, "Setup": "true",
            "Boot Parameters": {"headnode": "true"}, "Ur Agent": {"version": "0.1.0"},
            "Network Interfaces": {"eth0": {
                "MAC Address": "00:00:00:00:00:01", "ip4addr": "10.0.0.1", "NIC Names": ["admin"],
            }},
        });
        let nodes = [said("u1", &full), said("u2", &json!({}))];
        let expected = "
HOSTNAME  UUID  MAC                IP        CPUS  MIB    DISKS  AGENT    SETUP  HEADNODE
head0     u1    00:00:00:00:00:01  10.0.0.1    16  32768      2  0.1.0    true   yes
u2        u2    -                  -            -      -      -  node.js  -      -
";
        let all: Vec<&Node> = nodes.iter().collect();
        let (text, notes) = shown(&Column::usual(), &all, None);
        assert_eq!((format!("\n{text}").as_str(), notes), (expected, vec![]));
        let narrow = "\
HOSTNAME  IP        CPUS  MIB    DISKS  AGENT    SETUP  HEADNODE
head0     10.0.0.1    16  32768      2  0.1.0    true   yes
u2        -            -      -      -  node.js  -      -
";
        let (text, notes) = shown(&Column::usual(), &all, Some(64));
        assert_eq!(text, narrow);
        assert_eq!(notes, ["no room for UUID, MAC: -o shows them"]);
    }

    #[test]
    fn each_mark_has_one_meaning_and_where_a_uuid_tells_nodes_apart_it_stays() {
        let beside =
            json!({"Hostname": "n", "Ur Agent": {"version": "0.1.0", "beside": "node.js"}});
        let mut nodes = [said("u1", &beside), said("u2", &json!({"Hostname": "n"}))];
        nodes.iter_mut().for_each(|node| node.has_namesake = true);
        let all: Vec<&Node> = nodes.iter().collect();
        let (text, notes) = shown(&Column::usual(), &all, None);
        assert!(text.contains(" 0.1.0+node.js  "), "{text}");
        assert!(
            notes[0].starts_with("! another") && notes[1].starts_with("+ two"),
            "{notes:?}"
        );
        let narrow = shown(&Column::usual(), &all, Some(40)).0;
        assert!(narrow.contains("n !       u1 "), "{narrow}");
        let twin = said("u2", &json!({"Hostname": "x"}));
        let faults = duplicate_uuids(&[nodes[1].clone(), twin]);
        let columns = Column::usual();
        let table = NodeTable {
            columns: &columns,
            faults: &faults,
            missing: &[],
            has_header: false,
            width: None,
        };
        assert_eq!(table.row(&nodes[1])[..2], ["n !", "u2 *"]);
    }

    #[test]
    fn columns_are_names_or_expressions_and_nodes_are_sorted_by_either() {
        let node = |uuid: &str, size: Value| {
            let sysinfo = json!({"Hostname": uuid, "MiB of Memory": "64", "Disks": {"sda": {"Size in GB": size, "Serial": "a,b"}}});
            let mut node = said(uuid, &sysinfo);
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
        let expected = "\
HOSTNAME  .Disks.sda.Serial  [.Disks[]|.\"Size in GB\",1]
n10       a,b                [1000,1]
n9        a,b                [90,1]
n8        a,b                [null,1]
";
        assert_eq!(shown(&columns, &all, None).0, expected);
        sort(
            &mut all,
            &Column::parse(r#".Disks.sda."Size in GB""#).unwrap(),
        );
        let names: Vec<&str> = all.iter().map(|node| &*node.hostname).collect();
        assert_eq!(names, ["n9", "n10", "n8"]);
        sort(&mut all, &Column::parse("Hostname").unwrap());
        assert_eq!(&*all[0].hostname, "n8");
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
