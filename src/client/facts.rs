//! Facts: sysinfo as `-w` sees it, each field of its type. Agents write numbers and flags as texts where SmartOS
//! does, and a node may write what it likes: what is not of its type is null. docs/ur.md has the same table.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use Kind::{Boolean, Number, Text, Texts};

use super::Node;
use protocol::NodeId;

/// The key below which everything stands as the node said it.
pub(super) const RAW: &str = "raw";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Boolean,
    /// An array of texts.
    Texts,
    /// An object of texts.
    TextMap,
    /// An object, by name, of objects with these fields.
    Named(&'static [(&'static str, Kind)]),
    Object(&'static [(&'static str, Kind)]),
}

const DISK: &[(&str, Kind)] = &[
    ("Size in GB", Number),
    ("Model", Text),
    ("Serial", Text),
    ("WWN", Text),
    ("Transport", Text),
    ("Rotational", Boolean),
    ("Removable", Boolean),
    ("Logical Block Size", Number),
];

const INTERFACE: &[(&str, Kind)] = &[
    ("MAC Address", Text),
    ("NIC Names", Texts),
    ("ip4addr", Text),
    ("ip6addr", Text),
    ("Link Status", Text),
    ("Speed in Mb/s", Number),
    ("MTU", Number),
    ("Driver", Text),
    ("Host Interface", Text),
];

const AGENT: &[(&str, Kind)] = &[
    ("version", Text),
    ("boot_id", Text),
    ("capabilities", Texts),
    ("sysinfo_source", Text),
    ("warnings", Texts),
];

pub(super) const FACTS: &[(&str, Kind)] = &[
    ("UUID", Text),
    ("Hostname", Text),
    ("System Type", Text),
    ("Datacenter Name", Text),
    ("Live Image", Text),
    ("Kernel Version", Text),
    ("Kernel Architecture", Text),
    ("Distribution", Text),
    ("Distribution ID", Text),
    ("Boot Time", Number),
    ("Boot ID", Text),
    ("MiB of Memory", Number),
    ("Setup", Boolean),
    ("Manufacturer", Text),
    ("Product", Text),
    ("Serial Number", Text),
    ("SKU Number", Text),
    ("HW Version", Text),
    ("HW Family", Text),
    ("Board Serial", Text),
    ("Chassis Serial", Text),
    ("BIOS Version", Text),
    ("Firmware Type", Text),
    ("CPU Type", Text),
    ("CPU Virtualization", Text),
    ("CPU Total Cores", Number),
    ("CPU Physical Cores", Number),
    ("CPU Sockets", Number),
    ("Hypervisor", Text),
    ("Disks", Kind::Named(DISK)),
    ("Boot Parameters", Kind::TextMap),
    ("Network Interfaces", Kind::Named(INTERFACE)),
    ("Virtual Network Interfaces", Kind::Named(INTERFACE)),
    ("Ur Agent", Kind::Object(AGENT)),
    // SmartOS alone.
    ("VM Capable", Boolean),
    ("Bhyve Capable", Boolean),
    ("Zpool Size in GiB", Number),
    ("Zpool Creation", Number),
];

/// Keys that an expression has to put in quotes.
pub(super) fn blank_keys() -> impl Iterator<Item = &'static str> {
    let tables = [FACTS, DISK, INTERFACE].into_iter().flatten();
    tables.map(|(key, _)| *key).filter(|key| key.contains(' '))
}

/// What `-w` sees of a node that was asked for all it says.
pub fn of(node: &Node) -> Value {
    of_said(&node.id, node.sysinfo.as_deref())
}

pub(super) fn of_said(id: &NodeId, said: Option<&RawValue>) -> Value {
    let said = said.map_or("{}", |said| said.get());
    let said: Value = serde_json::from_str(said).unwrap_or_default();
    let Value::Object(raw) = said else {
        return Value::Object(Map::new());
    };
    let mut facts = object(&raw, FACTS);
    // The key of its answer names it: that is what is sent to.
    facts.insert("UUID".to_owned(), id.as_str().into());
    let hostname = facts.entry("Hostname").or_insert(Value::Null);
    if hostname.as_str().is_none_or(str::is_empty) {
        *hostname = id.as_str().into();
    }
    facts.insert(RAW.to_owned(), Value::Object(raw));
    Value::Object(facts)
}

/// Fields that are not in the table stay as they are.
fn object(raw: &Map<String, Value>, table: &[(&str, Kind)]) -> Map<String, Value> {
    let fields = raw.iter().map(|(name, value)| {
        let known = table.iter().find(|(known, _)| known == name);
        let value = known.map_or_else(|| value.clone(), |(_, kind)| typed(value, *kind));
        (name.clone(), value)
    });
    fields.collect()
}

fn typed(value: &Value, kind: Kind) -> Value {
    let fitting = match (kind, value) {
        (Kind::Named(table), Value::Object(named)) => {
            let one = |(name, value): (&String, &Value)| {
                (name.clone(), typed(value, Kind::Object(table)))
            };
            Some(Value::Object(named.iter().map(one).collect()))
        }
        (Kind::Object(table), Value::Object(fields)) => Some(Value::Object(object(fields, table))),
        (Kind::TextMap, Value::Object(words)) => {
            let one = |(name, value): (&String, &Value)| (name.clone(), typed(value, Text));
            Some(Value::Object(words.iter().map(one).collect()))
        }
        (Texts, Value::Array(texts)) => Some(Value::Array(
            texts.iter().map(|it| typed(it, Text)).collect(),
        )),
        (Text, Value::String(_)) | (Number, Value::Number(_)) | (Boolean, Value::Bool(_)) => {
            Some(value.clone())
        }
        (Text, Value::Number(_) | Value::Bool(_)) => Some(Value::String(value.to_string())),
        (Number, Value::String(text)) => read(text, Value::is_number),
        (Boolean, Value::String(text)) => read(text, Value::is_boolean),
        _ => None,
    };
    fitting.unwrap_or_default()
}

fn read(text: &str, is_right: fn(&Value) -> bool) -> Option<Value> {
    serde_json::from_str(text).ok().filter(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(sysinfo: &Value) -> Value {
        let id = NodeId::parse("u1").unwrap();
        let said = serde_json::value::to_raw_value(sysinfo).unwrap();
        of_said(&id, Some(&said))
    }

    #[test]
    fn numbers_are_numbers_and_flags_flags_and_what_was_said_is_kept() {
        let said = json!({
            "UUID": "another's", "MiB of Memory": "32768", "Setup": "false", "Serial Number": 123, "Rack": "7",
            "Disks": {"sda": {"Size in GB": "500", "Rotational": true}},
            "Network Interfaces": {"eth0": {"MTU": "9000", "NIC Names": ["admin"]}},
        });
        let facts = facts(&said);
        assert_eq!(facts["UUID"], "u1");
        assert_eq!(facts["Hostname"], "u1");
        assert_eq!(facts["MiB of Memory"], 32768);
        assert_eq!(facts["Setup"], false);
        assert_eq!(facts["Serial Number"], "123");
        assert_eq!(facts["Rack"], "7");
        assert_eq!(
            facts["Disks"]["sda"],
            json!({"Size in GB": 500, "Rotational": true})
        );
        assert_eq!(facts["Network Interfaces"]["eth0"]["MTU"], 9000);
        assert_eq!(facts["raw"], said);
    }

    #[test]
    fn a_field_that_is_not_of_its_type_is_null() {
        let odd = facts(&json!({
            "Hostname": {}, "MiB of Memory": "much", "Setup": 1, "Disks": "none",
            "Network Interfaces": {"eth0": 7}, "CPU Total Cores": [16], "Boot Parameters": ["a"],
        }));
        assert_eq!(odd["Hostname"], "u1");
        for name in [
            "MiB of Memory",
            "Setup",
            "Disks",
            "CPU Total Cores",
            "Boot Parameters",
        ] {
            assert_eq!(odd[name], Value::Null, "{name}");
        }
        assert_eq!(odd["Network Interfaces"]["eth0"], Value::Null);
    }

    #[test]
    fn the_documentation_has_every_fact() {
        let page = include_str!("../../docs/ur.md");
        for table in [FACTS, DISK, INTERFACE, AGENT] {
            for (name, _) in table {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
    }
}
