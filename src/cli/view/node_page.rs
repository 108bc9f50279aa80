//! The page about a node (`ur show`): what it is made of and how it is, of what it says of itself.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::table::Table;
use client::{Clock, Node, facts};

const DISK: [&str; 7] = ["DISK", "GB", "KIND", "TRANSPORT", "MODEL", "SERIAL", "WWN"];
const NIC: [&str; 7] = ["NIC", "IP", "LINK", "MB/S", "MTU", "DRIVER", "MAC"];

/// What the rows tell; all else that is a text or a number stands at the end of them.
const TOLD: [&str; 25] = [
    "UUID",
    "Hostname",
    "System Type",
    "Manufacturer",
    "Product",
    "Serial Number",
    "Board Serial",
    "Chassis Serial",
    "Firmware Type",
    "BIOS Version",
    "Distribution",
    "Distribution ID",
    "Live Image",
    "Kernel Version",
    "Kernel Architecture",
    "Boot Time",
    "Boot ID",
    "CPU Type",
    "CPU Sockets",
    "CPU Physical Cores",
    "CPU Total Cores",
    "CPU Virtualization",
    "Hypervisor",
    "MiB of Memory",
    "Setup",
];

pub(crate) fn write(
    node: &Node,
    clock: &Clock,
    width: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let facts = facts(node);
    let table = Table {
        width,
        ..Table::default()
    };
    let rows = about(node, &facts, clock);
    table.write(rows.iter(), out)?;
    let disks = named(&facts, "Disks").map(|(name, disk)| {
        let kind = match (flag(disk, "Removable"), flag(disk, "Rotational")) {
            (Some(true), _) => "removable",
            (_, Some(true)) => "rotational",
            (_, Some(false)) => "flash",
            _ => "-",
        };
        let of = |key| text(disk, key).unwrap_or_else(|| "-".to_owned());
        [
            name.clone(),
            of("Size in GB"),
            kind.to_owned(),
            of("Transport"),
            of("Model"),
            of("Serial"),
            of("WWN"),
        ]
    });
    write_parts(&DISK, &[1], width, &disks.collect::<Vec<_>>(), out)?;
    let nics = ["Network Interfaces", "Virtual Network Interfaces"];
    let nics = nics.iter().flat_map(|kind| named(&facts, kind));
    let nics = nics.map(|(name, nic)| {
        let of = |key| text(nic, key).unwrap_or_else(|| "-".to_owned());
        let is_admin = texts(nic, "NIC Names").contains(&"admin".to_owned());
        [
            if is_admin {
                format!("{name} (admin)")
            } else {
                name.clone()
            },
            of("ip4addr"),
            of("Link Status"),
            of("Speed in Mb/s"),
            of("MTU"),
            of("Driver"),
            of("MAC Address"),
        ]
    });
    write_parts(&NIC, &[3, 4], width, &nics.collect::<Vec<_>>(), out)
}

fn write_parts(
    header: &[&str],
    numbers: &[usize],
    width: Option<usize>,
    rows: &[[String; 7]],
    out: &mut dyn Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let table = Table {
        header: Some(header),
        numbers,
        width,
        spare: &[],
        cut: &[],
    };
    table.write(rows.iter(), out).map(drop)
}

fn about(node: &Node, facts: &Value, clock: &Clock) -> Vec<[String; 2]> {
    let mut rows = vec![row("node", [Some(node.name()), Some(node.id.to_string())])];
    rows.extend(machine(facts));
    rows.push(row("booted", booted(facts, clock)));
    rows.push(row(
        "setup",
        [
            text(facts, "Setup"),
            node.is_headnode.then(|| "headnode".to_owned()),
        ],
    ));
    rows.extend(agent(node, facts));
    let rest = facts.as_object().into_iter().flatten();
    let rest = rest.filter(|(key, _)| !TOLD.contains(&key.as_str()));
    let rest = rest.filter_map(|(key, value)| Some(format!("{key}: {}", scalar(value)?)));
    let rest: Vec<String> = rest.collect();
    rows.push(["besides".to_owned(), rest.join(", ")]);
    rows.retain(|[_, text]| !text.is_empty());
    rows
}

fn machine(facts: &Value) -> [[String; 2]; 5] {
    let of = |key| text(facts, key);
    let said = |what: &str, key| text(facts, key).map(|text| format!("{what} {text}"));
    [
        row(
            "machine",
            [
                of("Manufacturer"),
                of("Product"),
                said("serial", "Serial Number"),
                said("board", "Board Serial"),
                said("chassis", "Chassis Serial"),
            ],
        ),
        row(
            "firmware",
            [of("Firmware Type"), said("BIOS", "BIOS Version")],
        ),
        row(
            "cpu",
            [
                of("CPU Type"),
                said("sockets:", "CPU Sockets"),
                said("cores:", "CPU Physical Cores"),
                said("threads:", "CPU Total Cores"),
                of("CPU Virtualization"),
            ],
        ),
        row(
            "memory",
            [of("MiB of Memory").map(|mib| format!("{mib} MiB"))],
        ),
        row(
            "system",
            [
                of("Distribution").or_else(|| of("System Type")),
                said("kernel", "Live Image"),
                of("Kernel Architecture"),
                said("on", "Hypervisor"),
            ],
        ),
    ]
}

fn agent(node: &Node, facts: &Value) -> Vec<[String; 2]> {
    let version = node
        .agent
        .as_ref()
        .map(|version| format!("ur-agent {version}"));
    let beside = node.beside.as_ref();
    let beside = beside.map(|beside| format!("{beside} beside it: each request runs twice"));
    let version = version.unwrap_or_else(|| "Node.js Ur".to_owned());
    let mut rows = vec![row("agent", [Some(version), beside])];
    let warnings = facts.get("Ur Agent").map(|agent| texts(agent, "warnings"));
    let warnings = warnings.into_iter().flatten();
    rows.extend(warnings.map(|warning| row("warning", [Some(warning)])));
    rows
}

fn row<const N: usize>(name: &str, words: [Option<String>; N]) -> [String; 2] {
    let words: Vec<String> = words.into_iter().flatten().collect();
    [name.to_owned(), words.join(", ")]
}

fn booted(facts: &Value, clock: &Clock) -> [Option<String>; 2] {
    let at = facts.get("Boot Time").and_then(Value::as_i64);
    let at = at.and_then(|at| Timestamp::from_second(at).ok());
    let up = at.map(|at| Timestamp::now().as_second() - at.as_second());
    let up = up.filter(|up| *up >= 0).map(|up| {
        let (days, hours, minutes) = (up / 86400, up / 3600 % 24, up / 60 % 60);
        match (days, hours) {
            (0, 0) => format!("up for {minutes} min"),
            (0, _) => format!("up for {hours} h {minutes} min"),
            _ => format!("up for {days} d {hours} h"),
        }
    });
    [at.map(|at| clock.seconds(at)), up]
}

fn named<'a>(facts: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let object: Option<&Map<String, Value>> = facts.get(key).and_then(Value::as_object);
    object.into_iter().flatten()
}

fn flag(value: &Value, key: &str) -> Option<bool> {
    value.get(key).and_then(Value::as_bool)
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(scalar)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let texts = value.get(key).and_then(Value::as_array);
    texts.into_iter().flatten().filter_map(scalar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::NodeId;
    use serde_json::json;

    #[test]
    fn a_node_is_a_page_of_what_it_said() {
        let sysinfo = json!({
            "Hostname": "node1", "System Type": "Linux", "Manufacturer": "Dell Inc.", "Product": "R650",
            "Serial Number": "S1", "Firmware Type": "uefi", "Live Image": "6.1.0", "MiB of Memory": "1024",
            "CPU Total Cores": 4, "Setup": "false", "Rack": "r1", "Boot Time": "1767225601", "Odd\x1b": {},
            "Ur Agent": {"version": "0.1.0", "warnings": ["no DMI"]},
            "Disks": {"sda": {"Size in GB": 500, "Rotational": true, "Serial": "D1"}},
            "Network Interfaces": {"eth0": {"MAC Address": "02:00:00:00:00:01", "ip4addr": "192.0.2.1", "NIC Names": ["admin"]}},
        });
        let id = NodeId::parse("u1").unwrap();
        let mut node = Node::read(id, sysinfo.to_string().as_bytes()).unwrap();
        node.sysinfo = serde_json::value::to_raw_value(&sysinfo)
            .ok()
            .map(Into::into);
        let mut out = Vec::new();
        write(&node, &Clock::utc(), Some(80), &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let (booted, rest): (Vec<&str>, Vec<&str>) =
            page.lines().partition(|line| line.starts_with("booted"));
        assert!(
            booted[0].starts_with("booted    2026-01-01T00:00:01Z, up for "),
            "{page}"
        );
        let expected = "\
node      node1, u1
machine   Dell Inc., R650, serial S1
firmware  uefi
cpu       threads: 4
memory    1024 MiB
system    Linux, kernel 6.1.0
setup     false
agent     ur-agent 0.1.0
warning   no DMI
besides   Rack: r1

DISK  GB   KIND        TRANSPORT  MODEL  SERIAL  WWN
sda   500  rotational  -          -      D1      -

NIC           IP         LINK  MB/S  MTU  DRIVER  MAC
eth0 (admin)  192.0.2.1  -        -    -  -       02:00:00:00:00:01";
        assert_eq!(rest.join("\n"), expected);
    }
}
