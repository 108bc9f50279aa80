//! The table of `ur nodes`.

use std::io::{self, Write};

use super::table::Table;
use client::{DuplicateUuid, Node, Plain, Remembered};

const HEADER: [&str; 10] = [
    "HOSTNAME", "UUID", "MAC", "IP", "CPUS", "MIB", "DISKS", "AGENT", "SETUP", "HEADNODE",
];
/// The columns that hold numbers.
const NUMBERS: &[usize] = &[4, 5, 6];

/// A UUID or a host name that several have is marked. Those that are missing stand at the end.
pub(crate) fn write(
    nodes: &[&Node],
    faults: &[DuplicateUuid],
    missing: &[Remembered],
    header: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let table = Table {
        header: header.then_some(HEADER),
        numbers: NUMBERS,
    };
    let rows = nodes.iter().map(|node| {
        let mut row = row(node);
        if node.has_namesake {
            row[0].push_str(" !");
        }
        if faults.iter().any(|twins| twins.id == node.id) {
            row[1].push_str(" !");
        }
        row
    });
    table.write(rows.chain(missing.iter().map(missing_row)), out)
}

/// What is remembered of it, and in place of the agent how long it has not been seen.
fn missing_row(known: &Remembered) -> [String; 10] {
    let mut row = row(&known.node);
    row[AGENT] = format!("missing {}", known.age());
    row
}

fn row(node: &Node) -> [String; 10] {
    let cell = |text: &Option<Plain>| text.as_ref().map_or("-".to_owned(), Plain::to_string);
    [
        node.hostname.to_string(),
        node.id.to_string(),
        node.mac.clone().unwrap_or_else(|| "-".to_owned()),
        cell(&node.ip),
        cell(&node.cpus),
        cell(&node.memory_mib),
        node.disks.map_or("-".to_owned(), |disks| disks.to_string()),
        agents(node),
        cell(&node.setup),
        if node.is_headnode { "yes" } else { "-" }.to_owned(),
    ]
}

/// The column of it.
const AGENT: usize = 7;

/// Two of them, where every request runs twice.
fn agents(node: &Node) -> String {
    let agent = node.agent.as_deref().unwrap_or("node.js");
    match &node.beside {
        Some(beside) => format!("{agent}+{beside}!"),
        None => agent.to_owned(),
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

    #[test]
    fn a_node_that_is_missing_stands_at_the_end_with_what_is_remembered() {
        let there = said(
            "u2",
            &json!({"Hostname": "node2", "Ur Agent": {"version": "0.1.0"}}),
        );
        let node = said("u1", &json!({"Hostname": "node1"}));
        let seen = Timestamp::now() - SignedDuration::from_hours(3);
        let missing = [Remembered { node, seen }];
        let mut out = Vec::new();
        write(&[&there], &[], &missing, false, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let (first, last) = lines.split_once('\n').unwrap();
        assert!(first.starts_with("node2  u2") && last.starts_with("node1  u1"));
        assert!(last.contains("  missing 3 h  "), "{last}");
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
        let shown = |nodes: &[&Node], faults: &[DuplicateUuid], header| {
            let mut out = Vec::new();
            write(nodes, faults, &[], header, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let all: Vec<&Node> = nodes.iter().collect();
        assert_eq!(format!("\n{}", shown(&all, &[], true)), expected);
        let twin = said("u2", &json!({"Hostname": "x"}));
        let faults = duplicate_uuids(&[nodes[1].clone(), twin]);
        assert!(shown(&[&nodes[1]], &faults, false).starts_with("u2  u2 !"));
        let beside = json!({"Ur Agent": {"version": "0.1.0", "beside": "node.js"}});
        assert!(shown(&[&said("u3", &beside)], &[], false).contains(" 0.1.0+node.js! "));
    }
}
