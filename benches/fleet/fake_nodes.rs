//! Simulated nodes: each has a queue and bindings as ur-agent's, and answers as ur-agent does: its sysinfo
//! to a broadcast, `accepted` and a reply to a request, an ack to a ping. They run nothing, and share
//! connections, as no agents do.

use std::cell::RefCell;
use std::io::Write;
use std::ops::Range;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use broker::{Broker, Delivery, Publisher, Url};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::{SelectAll, select_all};
use jiff::Timestamp;
use protocol::{
    Ack, ErrorCode, NodeId, Outcome, Ping, Progress, Refusal, Reply, RoutingKey, State,
    SysinfoRequest, Text, reply_key,
};
use serde::Serialize;
use serde_json::{Value, json};

/// What the built-in sysinfo says of a server of two sockets and five disks.
const SYSINFO: &str = include_str!("sysinfo.json");
const NODES_PER_CONNECTION: usize = 250;

struct FakeNode {
    id: NodeId,
    mac: String,
    sysinfo: Vec<u8>,
}

/// A question may be for nodes of some names alone.
fn asks(body: &[u8], node: &FakeNode) -> bool {
    let asked: SysinfoRequest = serde_json::from_slice(body).unwrap_or_default();
    asked.names.is_empty() || asked.names.iter().any(|name| *name == node.id.as_str())
}

/// The latest request, or client that pings: a node that is the first to see one prints it, with the time.
type Latest = Rc<RefCell<String>>;

/// The name of node `i`.
pub(crate) fn uuid(i: usize) -> String {
    format!("00000000-0000-4000-8000-{i:012x}")
}

/// Serves `count` nodes until the connection breaks; prints `ready` when all of them listen.
pub(crate) async fn serve(url: &Url, count: usize) -> Result<()> {
    let latest = Latest::default();
    let shares = (0..count).step_by(NODES_PER_CONNECTION);
    let shares = shares.map(|first| {
        let end = count.min(first + NODES_PER_CONNECTION);
        Share::connect(url, first..end, Rc::clone(&latest))
    });
    let shares = try_join_all(shares).await?;
    print("ready")?;
    try_join_all(shares.into_iter().map(Share::answer)).await?;
    Ok(())
}

/// The nodes of one connection.
struct Share {
    /// Its queues live as long.
    _broker: Broker,
    nodes: Vec<FakeNode>,
    deliveries: SelectAll<Deliveries>,
    publisher: Publisher,
    latest: Latest,
}

type Deliveries = std::pin::Pin<Box<dyn futures_util::Stream<Item = (usize, Result<Delivery>)>>>;

impl Share {
    async fn connect(url: &Url, range: Range<usize>, latest: Latest) -> Result<Self> {
        let broker = Broker::connect(url, "fake nodes").await?;
        let nodes: Vec<FakeNode> = range.map(FakeNode::new).collect::<Result<_>>()?;
        let mut deliveries: Vec<Deliveries> = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let subscription = broker.subscribe(&node.queue(), &node.keys()).await?;
            deliveries.push(Box::pin(subscription.map(move |delivery| (i, delivery))));
        }
        Ok(Self {
            publisher: broker.publisher().await?,
            _broker: broker,
            nodes,
            deliveries: select_all(deliveries),
            latest,
        })
    }

    async fn answer(mut self) -> Result<()> {
        while let Some((i, delivery)) = self.deliveries.next().await {
            let delivery = delivery?;
            delivery.ack().await?;
            let node = &self.nodes[i];
            match RoutingKey::parse(&delivery.routing_key) {
                Ok(RoutingKey::Broadcast { .. }) if !asks(&delivery.body, node) => {}
                Ok(RoutingKey::Broadcast { request, .. }) => {
                    self.say(&reply_key(&node.id, &request), node.sysinfo.clone())
                        .await?;
                }
                Ok(RoutingKey::Execute { request, .. }) => {
                    self.note("execute", &request)?;
                    self.run(node, request).await?;
                }
                Ok(RoutingKey::Ping { .. }) => {
                    let ping: Ping = serde_json::from_slice(&delivery.body)?;
                    self.note("ping", &ping.client_id)?;
                    self.acknowledge(node, ping).await?;
                }
                Ok(RoutingKey::Cancel { request, .. }) => {
                    let unknown = Refusal::new(ErrorCode::UnknownRequest, "no such request");
                    let reply = Reply::of(&Outcome::Refused(unknown));
                    self.say(&reply_key(&node.id, &request), reply.encode())
                        .await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Its output is its name: no two nodes say the same.
    async fn run(&self, node: &FakeNode, request: String) -> Result<()> {
        let accepted = RoutingKey::Progress {
            node: node.id.to_string(),
            request: request.clone(),
        };
        self.say(&accepted, json(&Progress::now(State::Accepted))?)
            .await?;
        let mut reply = Reply::of(&Outcome::Exited { status: 0 });
        let output = format!("{}\n", node.id);
        reply.set_stdout(Text::of(output.as_bytes().into()), output.len() as u64);
        reply.set_stderr(Text::of(Vec::new()), 0);
        reply.started_at = Some(Timestamp::now());
        reply.duration_ms = Some(3);
        reply.usage = Some(protocol::Usage {
            cpu_seconds: 0.002,
            max_rss_bytes: 3_768_320,
        });
        self.say(&reply_key(&node.id, &request), reply.encode())
            .await
    }

    async fn acknowledge(&self, node: &FakeNode, ping: Ping) -> Result<()> {
        let key = RoutingKey::Ack {
            client: ping.client_id,
            node: node.id.to_string(),
        };
        let ack = Ack {
            req_id: ping.id,
            timestamp: Timestamp::now(),
        };
        self.say(&key, json(&ack)?).await
    }

    /// Does not wait for the confirm, as an agent does not with its next request.
    async fn say(&self, key: &RoutingKey, body: Vec<u8>) -> Result<()> {
        drop(self.publisher.publish(&key.to_string(), body).await?);
        Ok(())
    }

    fn note(&self, what: &str, id: &str) -> Result<()> {
        let mut latest = self.latest.borrow_mut();
        if *latest != id {
            id.clone_into(&mut latest);
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            print(&format!("{what} {}", now.as_secs_f64()))?;
        }
        Ok(())
    }
}

impl FakeNode {
    fn new(i: usize) -> Result<Self> {
        let id = NodeId::parse(&uuid(i)).map_err(anyhow::Error::msg)?;
        let [.., a, b, c] = u32::try_from(i)?.to_be_bytes();
        let mac = format!("ac:1f:6b:{a:02x}:{b:02x}:{c:02x}");
        let mut sysinfo: Value = serde_json::from_str(SYSINFO)?;
        sysinfo["UUID"] = json!(id);
        sysinfo["Hostname"] = json!(format!("node{i}"));
        sysinfo["Network Interfaces"]["eth0"]["MAC Address"] = json!(mac);
        sysinfo["Ur Agent"] = json!({
            "version": protocol::VERSION,
            "boot_id": uuid(i),
            "capabilities": ["progress", "cancel", "stream", "status"],
        });
        let sysinfo = json(&sysinfo)?;
        Ok(Self { id, mac, sysinfo })
    }

    fn queue(&self) -> String {
        let Self { id, mac, .. } = self;
        format!("ur.request.{id}.{mac}.{:016x}", fastrand::u64(..))
    }

    fn keys(&self) -> Vec<String> {
        let Self { id, mac, .. } = self;
        vec![
            format!("ur.execute.{id}.*"),
            "ur.broadcast.*.*".to_owned(),
            format!("ur.ping.{id}"),
            format!("ur.cancel.{id}.*"),
            format!("ur.execute.{id}-{mac}.*"),
            format!("ur.cancel.{id}-{mac}.*"),
        ]
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("writing JSON")
}

fn print(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
