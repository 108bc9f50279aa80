//! The table of `ur nodes`.

use std::io::{self, Write};

use serde_json::Value;

use super::table::Table;
use client::{DuplicateUuid, Node};

const HEADER: [&str; 10] = [
    "HOSTNAME", "UUID", "MAC", "IP", "CPUS", "MIB", "DISKS", "AGENT", "SETUP", "HEADNODE",
];
/// The columns that hold numbers.
const NUMBERS: &[usize] = &[4, 5, 6];

/// A UUID that several machines have is marked.
pub(crate) fn write(
    nodes: &[&Node],
    faults: &[DuplicateUuid],
    header: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let table = Table {
        header: header.then_some(HEADER),
        numbers: NUMBERS,
    };
    let rows = nodes.iter().map(|node| {
        let mut row = row(node);
        if faults.iter().any(|twins| twins.id == node.id) {
            row[1].push_str(" !");
        }
        row
    });
    table.write(rows, out)
}

fn row(node: &Node) -> [String; 10] {
    let text = |field: &str| match node.sysinfo.get(field) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        _ => "-".to_owned(),
    };
    let disks = node.sysinfo.get("Disks").and_then(Value::as_object);
    let nic = node.admin_nic();
    [
        node.hostname.clone(),
        node.id.to_string(),
        nic.mac.unwrap_or("-").to_owned(),
        nic.ip.unwrap_or("-").to_owned(),
        text("CPU Total Cores"),
        text("MiB of Memory"),
        disks.map_or("-".to_owned(), |disks| disks.len().to_string()),
        node.agent().unwrap_or("node.js").to_owned(),
        text("Setup"),
        if node.is_headnode() { "yes" } else { "-" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::duplicate_uuids;
    use protocol::NodeId;
    use serde_json::json;

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
        let nodes = [
            Node::new(NodeId::parse("u1").unwrap(), full),
            Node::new(NodeId::parse("u2").unwrap(), json!({})),
        ];
        let expected = "
HOSTNAME  UUID  MAC                IP        CPUS  MIB    DISKS  AGENT    SETUP  HEADNODE
head0     u1    00:00:00:00:00:01  10.0.0.1    16  32768      2  0.1.0    true   yes
u2        u2    -                  -            -      -      -  node.js  -      -
";
        let shown = |nodes: &[&Node], faults: &[DuplicateUuid], header| {
            let mut out = Vec::new();
            write(nodes, faults, header, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let all: Vec<&Node> = nodes.iter().collect();
        assert_eq!(format!("\n{}", shown(&all, &[], true)), expected);
        let twin = Node::new(NodeId::parse("u2").unwrap(), json!({"Hostname": "x"}));
        let faults = duplicate_uuids(&[nodes[1].clone(), twin]);
        assert!(shown(&[&nodes[1]], &faults, false).starts_with("u2  u2 !"));
    }
}
