//! Announcements of the node: startup once a boot, sysinfo, heartbeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use job::boot_id;
use protocol::{Ack, Heartbeat, Ping, RoutingKey, without_byte_order_mark};

use super::outbox::{ClientAnswer, Outgoing};
use super::sysinfo::Sysinfo;

/// A node that has been silent for this long may be taken for gone.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(60);

/// A random part of the deadline, so that a fleet that booted as one does not beat as one.
pub(super) fn heartbeat_period() -> Duration {
    HEARTBEAT_DEADLINE.mul_f64(0.3 + 0.3 * fastrand::f64())
}

pub(super) fn heartbeat(sysinfo: &Sysinfo, jobs: usize) -> Outgoing {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().and_then(|text| text.parse().ok());
    let body = Heartbeat {
        agent: "ur-agent".to_owned(),
        version: protocol::VERSION.to_owned(),
        boot_id: boot_id().to_owned(),
        uptime: seconds.unwrap_or(0),
        jobs,
    };
    notice(
        &RoutingKey::Heartbeat {
            node: sysinfo.node.to_string(),
        },
        &body,
    )
}

pub(super) fn notice(key: &RoutingKey, body: &impl serde::Serialize) -> Outgoing {
    Outgoing::Notice {
        key: key.to_string(),
        body: serde_json::to_vec(body).expect("our messages have only string keys"),
    }
}

/// To a client that asked.
pub(super) fn answer(key: &RoutingKey, body: &impl serde::Serialize) -> Outgoing {
    let body = serde_json::to_vec(body).expect("our messages have only string keys");
    Outgoing::Answer(ClientAnswer::new(key.to_string(), body))
}

pub(super) fn sysinfo(sysinfo: &Sysinfo) -> Outgoing {
    let key = RoutingKey::Sysinfo {
        node: sysinfo.node.to_string(),
        id: format!("{:08x}", fastrand::u32(..)),
    };
    notice(&key, &sysinfo.facts)
}

/// The answer to a ping.
pub(super) fn pong(sysinfo: &Sysinfo, ping: Ping) -> Outgoing {
    let key = RoutingKey::Ack {
        client: ping.client_id,
        node: sysinfo.node.to_string(),
    };
    let ack = Ack {
        req_id: ping.id,
        timestamp: Timestamp::now(),
    };
    answer(&key, &ack)
}

/// Remembers, in the state directory, that this boot has been announced.
pub(super) struct Startup {
    mark: PathBuf,
}

impl Startup {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            mark: state_dir.join("announced"),
        }
    }

    /// `None` once some queue has taken this boot's announcement.
    pub(super) fn message(&self, sysinfo: &Sysinfo) -> Option<Outgoing> {
        if fs::read_to_string(&self.mark).is_ok_and(|text| text == format!("{:?}", boot_id())) {
            return None;
        }
        Some(Outgoing::Startup {
            key: RoutingKey::Startup {
                node: sysinfo.node.to_string(),
            }
            .to_string(),
            body: serde_json::to_vec(&sysinfo.facts).expect("facts are JSON"),
        })
    }

    pub(super) fn taken(&self) -> Result<()> {
        job::write_json(&self.mark, &boot_id())
    }
}

/// Whether the node is set up: Triton's file says so. Until then sysinfo is repeated.
pub(super) fn is_set_up(file: &Path) -> bool {
    let text = fs::read(file).unwrap_or_default();
    let state: Value = serde_json::from_slice(without_byte_order_mark(&text)).unwrap_or_default();
    state.get("complete") == Some(&Value::Bool(true))
}
