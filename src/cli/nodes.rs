//! `ur nodes`: who is there.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::Value;

use super::args::{BrokerArgs, NodesArgs};
use super::trace::Trace;
use super::{Exit, find_nodes};
use client::{DuplicateUuid, Filter, Node, Unselectable, Wanted, duplicate_uuids, matching};

const HEADER: [&str; 10] = [
    "HOSTNAME", "UUID", "MAC", "IP", "CPUS", "MIB", "DISKS", "AGENT", "SETUP", "HEADNODE",
];
/// The columns that hold numbers.
const NUMBERS: [usize; 3] = [4, 5, 6];

pub(crate) async fn nodes(broker: &BrokerArgs, args: NodesArgs) -> Result<Exit> {
    let trace = Trace::new(args.verbose);
    let filter = args.expression.as_deref().map(Filter::parse).transpose()?;
    let client = broker.connect().await?;
    let all = find_nodes(&client, args.discover.discover, &trace, Wanted::everybody()).await?;
    client.close().await;
    if all.is_empty() {
        return Err(Unselectable::Nobody { answered: 0 }.into());
    }
    let meant = match &filter {
        Some(filter) => matching(filter, &all)?,
        None => all.iter().collect(),
    };

    let faults = duplicate_uuids(&all);

    let mut out = io::stdout().lock();
    if args.json {
        let sysinfos: Vec<&Value> = meant.iter().map(|node| &node.sysinfo).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&sysinfos)?)?;
    } else if args.json_lines {
        for node in &meant {
            writeln!(out, "{}", node.sysinfo)?;
        }
    } else if !meant.is_empty() {
        writeln!(out, "{}", table(&meant, &faults, !args.quiet))?;
    }
    out.flush()?;
    for fault in &faults {
        eprintln!("ur: {fault}");
    }
    Ok(if faults.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

/// A UUID that is not one machine's is marked.
fn table(nodes: &[&Node], faults: &[DuplicateUuid], header: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if header {
        table.set_header(HEADER);
    }
    for node in nodes {
        let mut row = row(node);
        if faults.iter().any(|twins| twins.id == node.id) {
            row[1].push_str(" !");
        }
        let cells = row.into_iter().enumerate();
        table.add_row(cells.map(|(column, text)| {
            let cell = Cell::new(text);
            if NUMBERS.contains(&column) {
                return cell.set_alignment(CellAlignment::Right);
            }
            cell
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
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
u2        u2    -                  -            -      -      -  node.js  -      -";
        let shown = table(&nodes.iter().collect::<Vec<_>>(), &[], true);
        assert_eq!(format!("\n{shown}"), expected);
        let twin = Node::new(NodeId::parse("u2").unwrap(), json!({"Hostname": "x"}));
        let faults = duplicate_uuids(&[nodes[1].clone(), twin]);
        assert!(table(&[&nodes[1]], &faults, false).starts_with("u2  u2 !"));
    }
}
