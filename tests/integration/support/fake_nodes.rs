//! Fake nodes: they answer as agents do, or as badly as the test wants.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use broker::{Broker, Delivery, Publisher};
use futures_util::StreamExt;
use protocol::{NodeId, RoutingKey, reply_key};
use serde_json::{Value, json};
use tokio::select;
use tokio::time::sleep;

/// A request that came to one of the nodes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) body: Value,
    /// Milliseconds, after which the broker would have thrown it away.
    pub(crate) expiration: Option<u64>,
}

/// What a node says: the kind of message, and its body.
pub(crate) type Answer = (&'static str, Value);

pub(crate) struct FakeNodes {
    pub(crate) requests: Receiver<Request>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeNodes {
    /// `answer` is asked at each request; `n` counts them from 1.
    pub(crate) fn start(
        url: &str,
        sysinfos: Vec<Value>,
        listens: bool,
        answer: impl FnMut(usize, &Request) -> Vec<Answer> + Send + 'static,
    ) -> Self {
        let (url, (told, requests)) = (url.to_owned(), channel());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let nodes = serve(&url, sysinfos, listens, (told, ready), answer);
            runtime.block_on(async {
                select! {
                    end = nodes => end.expect("fake nodes"),
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().expect("fake nodes that listen");
        Self {
            requests,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// How many requests came until now.
    pub(crate) fn count(&self) -> usize {
        self.requests.try_iter().count()
    }
}

impl Drop for FakeNodes {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// A node with ur-agent.
pub(crate) fn modern(name: &str) -> Value {
    let agent = json!({"version": "9.9.9", "boot_id": "b", "capabilities": ["progress", "status"]});
    json!({"UUID": name, "Hostname": name, "Ur Agent": agent})
}

/// A node that takes its time until it answers a broadcast.
pub(crate) fn slow(name: &str, milliseconds: u64) -> Value {
    let mut sysinfo = modern(name);
    sysinfo["answers_after"] = json!(milliseconds);
    sysinfo
}

/// A node with the Node.js agent.
pub(crate) fn node_js(name: &str) -> Value {
    json!({"UUID": name, "Hostname": name})
}

pub(crate) fn accepted() -> Answer {
    let progress = json!({"state": "accepted", "at": "2026-01-01T00:00:00Z"});
    ("execute-progress", progress)
}

pub(crate) fn exited(status: i32) -> Answer {
    let reply = json!({"exit_status": status, "stdout": "out\n", "stderr": ""});
    ("execute-reply", reply)
}

async fn serve(
    url: &str,
    sysinfos: Vec<Value>,
    listens: bool,
    (told, ready): (Sender<Request>, Sender<()>),
    mut answer: impl FnMut(usize, &Request) -> Vec<Answer>,
) -> Result<()> {
    let broker = Broker::connect(&url.parse()?, "fake-nodes").await?;
    let mut keys = vec!["ur.broadcast.*.*".to_owned()];
    if listens {
        let node = |sysinfo: &Value| format!("ur.execute.{}.*", name(sysinfo));
        match sysinfos.len() {
            ..100 => keys.extend(sysinfos.iter().map(node)),
            _ => keys.push("ur.execute.*.*".to_owned()),
        }
    }
    let queue = format!("ur.test.{}", uuid::Uuid::new_v4());
    let mut deliveries = broker.subscribe(&queue, &keys).await?;
    let publisher = broker.publisher().await?;
    ready.send(())?;
    let mut count = 0;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        delivery.ack().await?;
        match RoutingKey::parse(&delivery.routing_key) {
            Ok(RoutingKey::Broadcast { request, .. }) => {
                for sysinfo in &sysinfos {
                    let key = reply_key(&NodeId::parse(&name(sysinfo)).expect("an id"), &request);
                    if let Some(milliseconds) = sysinfo["answers_after"].as_u64() {
                        sleep(Duration::from_millis(milliseconds)).await;
                    }
                    say(&publisher, &key.to_string(), sysinfo).await?;
                }
            }
            Ok(RoutingKey::Execute { node, request }) => {
                count += 1;
                let request = read(node, request, &delivery);
                for (kind, body) in answer(count, &request) {
                    let key = format!("ur.{kind}.{}.{}", request.node, request.id);
                    say(&publisher, &key, &body).await?;
                }
                told.send(request).ok();
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(node: String, id: String, delivery: &Delivery) -> Request {
    Request {
        node,
        id,
        body: serde_json::from_slice(&delivery.body).expect("JSON"),
        expiration: delivery.expiration().and_then(|text| text.parse().ok()),
    }
}

fn name(sysinfo: &Value) -> String {
    super::text_of(&sysinfo["UUID"])
}

/// Does not wait for the confirm, so that ten thousand nodes are quick.
async fn say(publisher: &Publisher, key: &str, body: &Value) -> Result<()> {
    let receipt = publisher.publish(key, body.to_string()).await?;
    drop(receipt);
    Ok(())
}
