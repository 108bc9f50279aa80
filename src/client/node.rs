//! A node as its sysinfo describes it. Of the thousands of bytes that a node says of itself, the few that
//! nodes are listed and chosen by are kept; all of them only where a command asks for them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Plain;
use super::target::name;
use protocol::{NodeId, is_admin, mac_address};

/// A node that answered, and what it said of itself. What it left out, or filled with something else than
/// is expected there, is `None`.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: NodeId,
    /// Of the admin NIC. Tells two machines of one UUID apart.
    pub mac: Option<String>,
    /// The UUID if the node gave none.
    pub hostname: Plain,
    /// Its host name is not its own alone: another node has it too, or it is the UUID of another.
    pub has_namesake: bool,
    /// Of the admin NIC.
    pub ip: Option<Plain>,
    pub cpus: Option<Plain>,
    pub memory_mib: Option<Plain>,
    pub disks: Option<usize>,
    pub setup: Option<Plain>,
    /// The version of ur-agent; a Node.js agent gives none.
    pub agent: Option<Plain>,
    /// What else answers to the same UUID on the same machine, as ur-agent has noticed: every request runs twice.
    pub beside: Option<Plain>,
    /// Booted as one.
    pub is_headnode: bool,
    /// All that it said, if the search was for that.
    pub sysinfo: Option<Arc<RawValue>>,
}

/// The fields that are looked at. Each may hold anything.
#[derive(Default, Deserialize)]
struct SysinfoFields<'a> {
    #[serde(borrow, rename = "Hostname")]
    hostname: Option<&'a RawValue>,
    #[serde(borrow, rename = "CPU Total Cores")]
    cpus: Option<&'a RawValue>,
    #[serde(borrow, rename = "MiB of Memory")]
    memory_mib: Option<&'a RawValue>,
    #[serde(borrow, rename = "Disks")]
    disks: Option<&'a RawValue>,
    #[serde(borrow, rename = "Setup")]
    setup: Option<&'a RawValue>,
    #[serde(borrow, rename = "Ur Agent")]
    agent: Option<&'a RawValue>,
    #[serde(borrow, rename = "Boot Parameters")]
    boot_parameters: Option<&'a RawValue>,
    #[serde(borrow, rename = "Network Interfaces")]
    nics: Option<&'a RawValue>,
}

impl Node {
    /// `None` if `sysinfo` is no JSON object.
    pub fn read(id: NodeId, sysinfo: &[u8]) -> Option<Self> {
        if sysinfo.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        if let Ok(fields) = serde_json::from_slice(sysinfo) {
            return Some(Self::of(id, &fields));
        }
        // A field that comes twice is no error to others: the last one counts.
        let value: Value = serde_json::from_slice(sysinfo).ok()?;
        let fields = value.to_string();
        Some(Self::of(id, &serde_json::from_str(&fields).ok()?))
    }

    /// One that has said nothing.
    pub(super) fn unknown(id: NodeId) -> Self {
        Self::of(id, &SysinfoFields::default())
    }

    /// Keeps all that it said.
    pub(super) fn keep(&mut self, said: String) -> serde_json::Result<()> {
        self.sysinfo = Some(RawValue::from_string(said)?.into());
        Ok(())
    }

    /// What it is called wherever people read it.
    pub fn name(&self) -> String {
        name(&self.hostname, &self.id, self.has_namesake)
    }

    fn of(id: NodeId, fields: &SysinfoFields<'_>) -> Self {
        let hostname = text(fields.hostname).filter(|name| !name.is_empty());
        let hostname = hostname.map(|name| Plain::hostname(&name));
        let disks = value(fields.disks);
        let nics = value(fields.nics);
        let admin = nics
            .as_object()
            .and_then(|nics| nics.values().find(|nic| is_admin(nic)));
        let of_nic = |field| string(admin.and_then(|nic| nic.get(field)));
        Self {
            hostname: hostname.unwrap_or_else(|| Plain::name(id.as_str())),
            id,
            has_namesake: false,
            mac: admin.and_then(mac_address),
            ip: of_nic("ip4addr").map(|ip| Plain::name(&ip)),
            cpus: scalar(fields.cpus),
            memory_mib: scalar(fields.memory_mib),
            disks: disks.as_object().map(serde_json::Map::len),
            setup: scalar(fields.setup),
            agent: string(value(fields.agent).get("version")).map(|it| Plain::name(&it)),
            beside: string(value(fields.agent).get("beside")).map(|it| Plain::name(&it)),
            is_headnode: is_true(value(fields.boot_parameters).get("headnode")),
            sysinfo: None,
        }
    }
}

fn value(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    string(Some(&value(raw)))
}

/// A number or a flag as text, or a text that is not empty.
fn scalar(raw: Option<&RawValue>) -> Option<Plain> {
    match value(raw) {
        Value::String(text) if !text.is_empty() => Some(Plain::name(&text)),
        Value::Number(number) => Some(Plain::name(&number.to_string())),
        Value::Bool(flag) => Some(Plain::name(&flag.to_string())),
        _ => None,
    }
}

/// By JavaScript's idea of truth, as sdc-oneachnode has it; but "false" in quotes is false.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty() && text != "false",
        Some(_) => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn node(uuid: &str, mac: &str, hostname: &str) -> Node {
        let sysinfo = json!({
            "UUID": uuid,
            "Hostname": hostname,
            "Network Interfaces": {
                "eth0": {"MAC Address": "ff:ff:ff:ff:ff:ff", "NIC Names": ["external"]},
                "eth1": {"MAC Address": mac, "ip4addr": "10.0.0.7", "NIC Names": ["admin"]},
            },
        });
        let mut node = read(uuid, &sysinfo);
        node.keep(sysinfo.to_string()).unwrap();
        node
    }

    fn read(uuid: &str, sysinfo: &Value) -> Node {
        let id = NodeId::parse(uuid).unwrap();
        Node::read(id, sysinfo.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_node_has_the_mac_of_its_admin_nic() {
        let node = node("n1", "00:00:00:00:00:01", "node1");
        assert_eq!(node.mac.as_deref(), Some("00:00:00:00:00:01"));
        assert_eq!(node.ip.as_deref(), Some("10.0.0.7"));
        let bare = read("n2", &json!({}));
        assert_eq!((bare.mac.as_deref(), &*bare.hostname), (None, "n2"));
    }

    #[test]
    fn a_field_of_another_type_is_passed_over_and_one_that_comes_twice_counts_once() {
        let odd = json!({
            "Hostname": 7, "Network Interfaces": ["eth0"], "Disks": "none", "Setup": {},
            "Boot Parameters": 1, "Ur Agent": "1.0", "MiB of Memory": 1024, "CPU Total Cores": "",
        });
        let odd = read("n1", &odd);
        assert_eq!((&*odd.hostname, odd.mac), ("n1", None));
        assert_eq!((odd.disks, odd.setup, odd.agent), (None, None, None));
        assert_eq!((odd.memory_mib.as_deref(), odd.cpus), (Some("1024"), None));
        let id = || NodeId::parse("n").unwrap();
        let twice = Node::read(id(), br#" {"Hostname": "a", "Hostname": "b"}"#).unwrap();
        assert_eq!(&*twice.hostname, "b");
        assert!(Node::read(id(), b"[1, 2, 3, 4, 5, 6, 7, 8]").is_none());
        assert!(Node::read(id(), b"{").is_none());
    }

    #[test]
    fn a_headnode_is_what_was_booted_as_one() {
        let boot = |headnode: Value| {
            read("n", &json!({"Boot Parameters": {"headnode": headnode}})).is_headnode
        };
        assert!(boot(json!("true")) && boot(json!(true)));
        assert!(!boot(json!("")) && !boot(json!("false")) && !boot(json!(false)));
        assert!(!node("n", "m", "h").is_headnode);
    }
}
