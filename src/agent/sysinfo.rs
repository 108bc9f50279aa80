//! Sysinfo: what the sysinfo program prints, completed by what only the agent knows.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use job::boot_id;
use protocol::{
    NodeId, beginnings, is_admin, mac_address, said_names, uuid_names, without_byte_order_mark,
};

use super::announce;
use super::args::AgentArgs;

/// Built in, so that a bare Linux node needs nothing.
const BUILT_IN: &str = include_str!("../../scripts/ur/tasks/sysinfo.sh");
/// SmartOS's own.
const SMARTOS: &str = "/usr/bin/sysinfo";
const FIRMWARE_UUID: &str = "/sys/class/dmi/id/product_uuid";
const LIMIT: Duration = Duration::from_secs(10);
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What firmware says when its maker has not filled it in. (SMBIOS 7.2.1 names the first two; the others
/// are board makers' samples, each found on many machines.)
const PLACEHOLDERS: [&str; 5] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// A node as it announces itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sysinfo {
    pub node: NodeId,
    /// The admin NIC's address, if there is one.
    pub mac: Option<String>,
    pub facts: Map<String, Value>,
    /// The facts as they are published.
    pub body: Arc<[u8]>,
    pub collected_at: Instant,
    /// Something an operator should know: said once in the log, and in every announcement.
    pub warnings: Vec<String>,
    collected: Collected,
    seen: Seen,
}

impl Sysinfo {
    /// Whether a question is for this node: for all, or for one of its names.
    pub(super) fn is_named_by(&self, names: &[String]) -> bool {
        if names.is_empty() {
            return true;
        }
        let admin = nics(&self.facts).find(|(_, nic)| is_admin(nic));
        let ip = admin.and_then(|(_, nic)| nic.get("ip4addr")?.as_str());
        let hostname = self.facts.get("Hostname").and_then(Value::as_str);
        let mac = self.mac.as_deref();
        let ours = uuid_names(&self.node, mac).into_iter();
        let mut ours = ours
            .chain(said_names(hostname.unwrap_or_default(), mac, ip))
            .chain(beginnings(&self.node));
        ours.any(|name| names.contains(&name))
    }
}

/// What is known of a node only where it is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    /// The address with which it reaches the broker.
    broker_side: Option<IpAddr>,
    /// Triton's agent runs here, too.
    node_js: bool,
}

/// What a sysinfo program said, before we completed it.
#[derive(Clone, Debug, PartialEq)]
struct Collected {
    facts: Map<String, Value>,
    source: String,
    warnings: Vec<String>,
    at: Instant,
}

impl Sysinfo {
    /// The same machine, now that it is known with which address it reaches the broker.
    pub(super) fn seen_from(&self, broker_side: IpAddr) -> Self {
        let seen = Seen {
            broker_side: Some(broker_side),
            ..self.seen
        };
        complete(self.collected.clone(), seen)
    }

    /// The same, now that it is known whether the Node.js agent runs here, too.
    pub(super) fn beside_node_js(self, node_js: bool) -> Self {
        match self.seen.node_js == node_js {
            true => self,
            false => complete(
                self.collected,
                Seen {
                    node_js,
                    ..self.seen
                },
            ),
        }
    }

    pub(super) fn has_node_js(&self) -> bool {
        self.seen.node_js
    }

    /// Whether this is another machine's word, or none, in the place of `earlier`'s: its program failed,
    /// and what answered instead does not know the machine by that name.
    pub(super) fn is_stopgap_for(&self, earlier: &Self) -> bool {
        let named_else = (&self.node, &self.mac) != (&earlier.node, &earlier.mac);
        named_else && self.collected.source != earlier.collected.source
    }

    /// The same, with what `earlier` knew of its connection.
    pub(super) fn seen_like(self, earlier: &Self) -> Self {
        complete(self.collected, earlier.seen)
    }
}

/// A node of this name that knows nothing else of itself, for tests.
#[cfg(test)]
pub(super) fn named(uuid: &str) -> Sysinfo {
    let mut facts = Map::new();
    for name in ["UUID", "Hostname"] {
        facts.insert(name.to_owned(), json!(uuid));
    }
    let collected = Collected {
        facts,
        source: "test".to_owned(),
        warnings: Vec::new(),
        at: Instant::now(),
    };
    complete(collected, Seen::default())
}

/// Asks the named program, else SmartOS's, else the built-in script; one that hangs or prints
/// rubbish is replaced by the built-in script, and that by what the agent can see itself.
pub(super) async fn collect(args: &AgentArgs) -> Sysinfo {
    let mut warnings = Vec::new();
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.env("UR_SETUP_FILE", &args.setup_file);
        command
    };
    let program = args
        .sysinfo
        .clone()
        .or_else(|| Path::new(SMARTOS).exists().then(|| PathBuf::from(SMARTOS)));
    let mut source = "built-in".to_owned();
    let mut facts = None;
    if let Some(program) = program {
        match output(command(&program), "").await {
            Ok(found) => {
                source = program.display().to_string();
                facts = Some(found);
            }
            Err(error) => warnings.push(format!(
                "{} failed, the built-in sysinfo answers: {error:#}",
                program.display()
            )),
        }
    }
    if facts.is_none() {
        match output(command(Path::new("/bin/sh")), BUILT_IN).await {
            Ok(found) => facts = Some(found),
            Err(error) => {
                source = "agent".to_owned();
                warnings.push(format!("the built-in sysinfo failed too: {error:#}"));
            }
        }
    }
    let mut facts = facts.unwrap_or_else(|| from_firmware(FIRMWARE_UUID));
    // CNAPI throws at sysinfo without it.
    if facts.get("Setup").is_none_or(Value::is_null) {
        let is_set_up = announce::is_set_up(&args.setup_file);
        facts.insert("Setup".to_owned(), json!(is_set_up.to_string()));
    }
    let collected = Collected {
        facts,
        source,
        warnings,
        at: Instant::now(),
    };
    complete(collected, Seen::default())
}

/// The machine's own name, where no program could be asked for it: a boot that is slow, because the
/// node is busy with much else, must not give it another one.
fn from_firmware(uuid_file: impl AsRef<Path>) -> Map<String, Value> {
    let mut facts = Map::new();
    if let Ok(uuid) = fs::read_to_string(uuid_file) {
        facts.insert("UUID".to_owned(), json!(uuid.trim()));
    }
    facts
}

/// Runs a sysinfo program within limits of time and size. It must print one JSON object.
async fn output(mut command: Command, script: &str) -> Result<Map<String, Value>> {
    let mut child = command
        .env_remove("UR_AMQP_URL")
        .env_remove("AMQP_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting it")?;
    let mut stdin = child.stdin.take().context("taking its stdin")?;
    let stdout = child.stdout.take().context("taking its stdout")?;
    let script = script.to_owned();
    let exchange = async {
        // One that does not read its input is none the worse for it.
        tokio::io::AsyncWriteExt::write_all(&mut stdin, script.as_bytes())
            .await
            .ok();
        drop(stdin);
        let mut text = Vec::new();
        let read = stdout.take(MAX_BYTES).read_to_end(&mut text).await?;
        if read as u64 == MAX_BYTES {
            bail!("it printed more than {MAX_BYTES} bytes");
        }
        let status = child.wait().await?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(text)
    };
    let text = match timeout(LIMIT, exchange).await {
        Ok(text) => text?,
        Err(_elapsed) => bail!("it did not end within {LIMIT:?}"),
    };
    match serde_json::from_slice(without_byte_order_mark(&text))
        .context("understanding its output")?
    {
        Value::Object(facts) => Ok(facts),
        _ => bail!("its output is JSON but no object"),
    }
}

/// Fills in what every receiver relies on: UUID, Hostname, the admin NIC, and who we are.
fn complete(collected: Collected, seen: Seen) -> Sysinfo {
    let mut facts = collected.facts.clone();
    let mut warnings = collected.warnings.clone();
    // sdc-oneachnode dies on a node without one.
    if !facts.get("Hostname").is_some_and(Value::is_string) {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        facts.insert("Hostname".to_owned(), json!(name.trim()));
    }
    let node = identity(&facts).unwrap_or_else(|| {
        let derived = derived_identity(&facts);
        warnings.push(format!(
            "the firmware has no usable UUID; {derived} is derived from this machine's addresses and serial number"
        ));
        derived
    });
    facts.insert("UUID".to_owned(), json!(node.as_str()));
    let mac = mark_admin(&mut facts, seen.broker_side);
    if seen.node_js {
        warnings.push(
            "Triton's Node.js agent runs on this node, too: every request runs twice; stop one of the two"
                .to_owned(),
        );
    }
    let mut agent = json!({
        "version": protocol::VERSION,
        "boot_id": boot_id(),
        "sysinfo_source": collected.source,
        "capabilities": ["progress", "stream", "cancel", "status", "stdin", "timeout", "max_output"],
    });
    if seen.node_js {
        agent["beside"] = json!("node.js");
    }
    if !warnings.is_empty() {
        agent["warnings"] = json!(warnings);
    }
    facts.insert("Ur Agent".to_owned(), agent);
    let body = serde_json::to_vec(&facts).expect("facts are JSON");
    Sysinfo {
        node,
        mac,
        facts,
        body: body.into(),
        collected_at: collected.at,
        warnings,
        collected,
        seen,
    }
}

/// The firmware's UUID, unless it is a placeholder.
fn identity(facts: &Map<String, Value>) -> Option<NodeId> {
    let text = facts.get("UUID")?.as_str()?.trim().to_ascii_lowercase();
    if PLACEHOLDERS.contains(&text.as_str()) {
        return None;
    }
    NodeId::parse(&text).ok()
}

/// The same at every boot of the same hardware: from the NICs' addresses and the serial number, or
/// where there are none from the installed system's machine-id.
fn derived_identity(facts: &Map<String, Value>) -> NodeId {
    // A virtual NIC's address is a new one at every boot.
    let physical = facts.get("Network Interfaces").and_then(Value::as_object);
    let mut seed: BTreeSet<String> = physical
        .into_iter()
        .flatten()
        .filter_map(|(_, nic)| nic.get("MAC Address")?.as_str().map(str::to_owned))
        .collect();
    if seed.is_empty() {
        let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        seed.insert(machine_id.trim().to_owned());
    }
    let serial = facts.get("Serial Number").and_then(Value::as_str);
    seed.extend(serial.map(str::to_owned));
    let seed: Vec<String> = seed.into_iter().collect();
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.join(" ").as_bytes());
    NodeId::parse(&uuid.to_string()).expect("a UUID is a word")
}

fn nics(facts: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    ["Network Interfaces", "Virtual Network Interfaces"]
        .into_iter()
        .filter_map(|kind| facts.get(kind)?.as_object())
        .flatten()
}

/// The admin NIC: the one that sysinfo names (BOOTIF's, or as SmartOS knows), else the one that
/// reaches the broker, else the first that has a link. Returns its address.
fn mark_admin(facts: &mut Map<String, Value>, broker_side: Option<IpAddr>) -> Option<String> {
    if let Some((_, nic)) = nics(facts).find(|(_, nic)| is_admin(nic)) {
        return mac_address(nic);
    }
    let ours = broker_side.map(|ip| ip.to_string());
    let reaches = |nic: &Value| nic.get("ip4addr").and_then(Value::as_str) == ours.as_deref();
    let up = |nic: &Value| nic.get("Link Status").and_then(Value::as_str) == Some("up");
    let chosen = nics(facts)
        .find(|(_, nic)| ours.is_some() && reaches(nic))
        .or_else(|| nics(facts).find(|(_, nic)| up(nic)))
        .map(|(name, _)| name.clone())?;
    for kind in ["Network Interfaces", "Virtual Network Interfaces"] {
        let nic = facts.get_mut(kind).and_then(|nics| nics.get_mut(&chosen));
        if let Some(nic) = nic.filter(|nic| nic.is_object()) {
            nic["NIC Names"] = json!(["admin"]);
            return mac_address(nic);
        }
    }
    None
}

#[cfg(test)]
#[path = "sysinfo_tests.rs"]
mod tests;
