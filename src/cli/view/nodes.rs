//! The table of `ur nodes`.

use std::io::Write;

use anyhow::Result;

use super::columns::{AGENT, Column, HOSTNAME, NAMES, UUID, usual_cell};
use super::table::Table;
use client::{DuplicateUuid, Node, Remembered};

/// Those that hold numbers.
const NUMBERS: [usize; 3] = [4, 5, 6];
/// Those that a narrow terminal does without, the first of them first.
const SPARE: [usize; 9] = [UUID, 2, 9, 6, 8, 4, AGENT, 5, 3];

/// What is known of each node, and how it is to be shown.
pub(crate) struct NodeTable<'a> {
    pub(crate) columns: &'a [Column],
    pub(crate) faults: &'a [DuplicateUuid],
    /// They stand at the end.
    pub(crate) missing: &'a [Remembered],
    pub(crate) has_header: bool,
    pub(crate) width: Option<usize>,
}

impl NodeTable<'_> {
    /// What is to be told besides: the meaning of marks, columns that have no room.
    pub(crate) fn write(&self, nodes: &[&Node], out: &mut dyn Write) -> Result<Vec<String>> {
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
            cut: &[],
        };
        let given = self.given(nodes)?;
        let there = nodes
            .iter()
            .zip(0..)
            .map(|(node, i)| self.row(node, i, &given));
        let missing = self.missing.iter().zip(nodes.len()..);
        let missing = missing.map(|(known, i)| self.missing_row(known, i, &given));
        let rows = there.chain(missing);
        let left_out = table.write(rows, out)?;
        let left_out: Vec<&str> = left_out.into_iter().map(|column| names[column]).collect();
        let mut notes = Vec::new();
        if nodes.iter().any(|node| node.has_namesake) && at(HOSTNAME).is_some() {
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

    /// For each column that is an expression, what it gives for those that are there and those that are missing.
    fn given(&self, nodes: &[&Node]) -> Result<Vec<Vec<String>>> {
        let missing = self.missing.iter().map(|known| &known.node);
        let all: Vec<&Node> = nodes.iter().copied().chain(missing).collect();
        let given = |column: &Column| match column {
            Column::Known(_) => Ok(Vec::new()),
            Column::Filter(..) => Ok(column.cells(&all)?),
        };
        self.columns.iter().map(given).collect()
    }

    /// What is remembered of it, and in place of the agent how long it has not been seen.
    fn missing_row(&self, known: &Remembered, i: usize, given: &[Vec<String>]) -> Vec<String> {
        let cell = |(column, given): (&Column, &Vec<String>)| match column {
            Column::Known(AGENT) => format!("missing {}", known.age()),
            Column::Known(column) => usual_cell(*column, &known.node),
            Column::Filter(..) => given[i].clone(),
        };
        self.columns.iter().zip(given).map(cell).collect()
    }

    fn row(&self, node: &Node, i: usize, given: &[Vec<String>]) -> Vec<String> {
        let cell = |(column, given): (&Column, &Vec<String>)| {
            let mut cell = match column {
                Column::Known(column) => usual_cell(*column, node),
                Column::Filter(..) => given[i].clone(),
            };
            match column {
                Column::Known(HOSTNAME) if node.has_namesake => cell.push_str(" !"),
                Column::Known(UUID) if self.is_fault(node) => cell.push_str(" *"),
                _ => {}
            }
            cell
        };
        self.columns.iter().zip(given).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::duplicate_uuids;
    use jiff::{SignedDuration, Timestamp};
    use protocol::NodeId;
    use serde_json::{Value, json};

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
        let given = table.given(&[&nodes[1]]).unwrap();
        assert_eq!(table.row(&nodes[1], 0, &given)[..2], ["n !", "u2 *"]);
    }
}
