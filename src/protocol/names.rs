//! The names by which a person may mean a node, in lower case: case does not matter in any of them.

use serde_json::Value;

use super::NodeId;

/// Letters of the beginning of a UUID that can stand for it. Of fewer, a host name is too easily one by chance.
pub const MIN_BEGINNING: usize = 8;
const UUID_LEN: usize = 36;
/// The longest MAC address, that of InfiniBand, has 20 bytes.
const MAX_MAC: usize = 20 * 3 - 1;

/// Whether sysinfo names this NIC as the one by which the node is administered.
pub fn is_admin(nic: &Value) -> bool {
    let names = nic.get("NIC Names").and_then(Value::as_array);
    names.is_some_and(|names| names.iter().any(|name| name == "admin"))
}

/// The MAC address of a NIC in lower case. It becomes part of routing keys, where a stray word would keep the node from
/// listening at all: with anything but letters, digits and colons it is none.
pub fn mac_address(nic: &Value) -> Option<String> {
    let text = nic.get("MAC Address")?.as_str()?;
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b':';
    let is_address = !text.is_empty() && text.len() <= MAX_MAC && text.bytes().all(is_allowed);
    is_address.then(|| text.to_ascii_lowercase())
}

/// A node's UUID, alone and with its MAC address: no other node can have these.
pub fn uuid_names(id: &NodeId, mac: Option<&str>) -> Vec<String> {
    let mut names = vec![id.as_str().to_lowercase()];
    names.extend(mac.map(|mac| format!("{id}-{mac}").to_lowercase()));
    names
}

/// What a node says of itself: its host name, whole and short, and its addresses. A host name that looks like a UUID is
/// none of them.
pub fn said_names(hostname: &str, mac: Option<&str>, ip: Option<&str>) -> Vec<String> {
    let hostname = hostname.to_lowercase();
    let mut names = Vec::new();
    if !looks_like_uuid(&hostname) {
        let short = hostname.split_once('.').map(|(short, _)| short.to_owned());
        names.extend(short.filter(|short| !short.is_empty()));
        names.push(hostname);
    }
    if let Some(mac) = mac {
        let mac = mac.to_lowercase();
        names.extend([mac.replace(':', "-"), mac]);
    }
    names.extend(ip.map(str::to_lowercase));
    names
}

/// The beginnings of its UUID.
pub fn beginnings(id: &NodeId) -> impl Iterator<Item = String> {
    let id = id.as_str().to_lowercase();
    (MIN_BEGINNING..id.len()).filter_map(move |end| Some(id.get(..end)?.to_owned()))
}

/// A text that begins so means the node of that UUID, and no other that calls itself so.
pub fn looks_like_uuid(text: &str) -> bool {
    let uuid = text.get(..UUID_LEN).map(uuid::Uuid::try_parse);
    uuid.is_some_and(|uuid| uuid.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_uuid_its_beginnings_its_host_name_and_its_addresses() {
        let id = NodeId::parse("1B4E28ba-2fa1-11d2-883f-0016d3cca427").unwrap();
        let mac = Some("AA:00:00:00:00:01");
        let with_mac = "1b4e28ba-2fa1-11d2-883f-0016d3cca427-aa:00:00:00:00:01";
        assert_eq!(uuid_names(&id, mac)[1], with_mac);
        let begun: Vec<String> = beginnings(&id).collect();
        assert_eq!((begun[0].as_str(), begun.len()), ("1b4e28ba", 28));
        let said = said_names("Web1.DC1", mac, Some("192.0.2.1"));
        let expected = [
            "web1",
            "web1.dc1",
            "aa-00-00-00-00-01",
            "aa:00:00:00:00:01",
            "192.0.2.1",
        ];
        assert_eq!(said, expected);
        assert_eq!(said_names(id.as_str(), None, None), [""; 0]);
    }
}
