//! From a broker's URL to a node that can be reached: queue, bindings, consumer, in this order,
//! and only then its name on the wire.

use anyhow::{Result, bail};
use lapin::Consumer;
use tracing::{info, warn};

use crate::broker::Broker;

use super::args::AgentArgs;
use super::locate::{Found, locate};
use super::sysinfo::Sysinfo;

/// Connects to the first broker that lets us.
pub(super) async fn connect(args: &AgentArgs) -> Result<Broker> {
    let args = args.clone();
    // DNS may keep us waiting, and the jobs must not wait with us.
    let Found { urls, source } = tokio::task::spawn_blocking(move || locate(&args)).await??;
    info!(source, brokers = ?urls, "broker found");
    let mut last = None;
    for url in &urls {
        match Broker::connect(url, &name()).await {
            Ok(broker) => {
                info!(broker = %url, "connected");
                return Ok(broker);
            }
            Err(error) => {
                warn!(broker = %url, error = format!("{error:#}"), "no connection");
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) => Err(error),
        None => bail!("no broker is named"),
    }
}

fn name() -> String {
    format!("ur-agent {}", crate::VERSION)
}

/// A queue of our own, new at every connection: a fixed name would meet the ghost of its
/// predecessor after a network cut (405 RESOURCE_LOCKED).
pub(super) async fn listen(broker: &Broker, sysinfo: &Sysinfo) -> Result<Consumer> {
    let node = &sysinfo.node;
    let mac = sysinfo.mac.as_deref().unwrap_or("no-mac");
    let queue = format!("ur.request.{node}.{mac}.{:016x}", fastrand::u64(..));
    let mut keys = vec![
        format!("ur.execute.{node}.*"),
        "ur.broadcast.*.*".to_owned(),
        format!("ur.ping.{node}"),
        format!("ur.cancel.{node}.*"),
    ];
    if let Some(mac) = &sysinfo.mac {
        keys.push(format!("ur.execute.{node}-{mac}.*"));
        keys.push(format!("ur.cancel.{node}-{mac}.*"));
    }
    broker.listen(&queue, &keys).await
}
