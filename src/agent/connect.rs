//! Connecting a node: the broker's address, the connection, the queue with its bindings and the consumer,
//! in this order.

use anyhow::{Result, anyhow};
use tracing::{info, warn};

use broker::{Broker, Subscription, Url, on_thread};

use super::args::AgentArgs;
use super::locate::{BrokerUrls, locate};
use super::sysinfo::Sysinfo;

/// Where the broker is now. DNS may keep us waiting, and the jobs must not wait with us.
pub(super) async fn find(args: &AgentArgs) -> Result<BrokerUrls> {
    let args = args.clone();
    on_thread(move || locate(&args)).await?
}

/// Connects to the first broker that lets us. Fails with the last one's reason.
pub(super) async fn connect(found: &BrokerUrls) -> Result<Broker> {
    let mut failed = None;
    for url in &found.urls {
        if let Some(error) = failed.take() {
            warn!(
                error = format!("{error:#}"),
                "no connection; trying the next broker"
            );
        }
        match Broker::connect(url, &name()).await {
            Ok(broker) => {
                info!(broker = %url, "connected");
                return Ok(broker);
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow!("{} names no broker", found.source)))
}

/// Those to which passwords and scripts go without TLS, over a network.
pub(super) fn plain(found: &BrokerUrls) -> Vec<&Url> {
    let urls = found.urls.iter();
    urls.filter(|url| url.is_plain_on_a_network()).collect()
}

fn name() -> String {
    format!("ur-agent {}", protocol::VERSION)
}

/// A queue of our own, new at every connection: a fixed name would meet the ghost of its
/// predecessor after a network cut (405 RESOURCE_LOCKED).
pub(super) async fn subscribe(broker: &Broker, sysinfo: &Sysinfo) -> Result<Subscription> {
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
    broker.subscribe(&queue, &keys).await
}

/// Whether the Node.js agent of Triton serves this node, too. Its queue has a fixed name.
pub(super) async fn has_node_js_agent(broker: &Broker, sysinfo: &Sysinfo) -> bool {
    let Some(mac) = &sysinfo.mac else {
        return false;
    };
    let queue = format!("ur.request.{}.{mac}", sysinfo.node);
    match broker.has_queue(&queue).await {
        Ok(found) => found,
        Err(error) => {
            let error = format!("{error:#}");
            warn!(error, "cannot look for a Node.js agent on this node");
            false
        }
    }
}
