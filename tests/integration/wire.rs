//! Messages on the wire, as the clients of the Node.js Ur expect them.

use std::time::Duration;

use broker::{Broker, Routing};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::broker::Vhost;
use crate::support::client::Received;
use crate::support::{Node, and, script, wait_until};

#[test]
fn a_node_announces_its_startup_with_sysinfo_as_json() {
    let mut node = Node::start();
    let key = format!("ur.startup.{}", node.agent.uuid);
    let startup = node
        .client
        .wait_for("startup", |message| message.key == key);
    assert_eq!(startup.content_type.as_deref(), Some("application/json"));
    let body = startup.json();
    assert_eq!(body["UUID"], json!(node.agent.uuid));
    assert_eq!(body["Hostname"], "testnode");
    assert!(body["Ur Agent"]["boot_id"].is_string(), "{body}");
}

#[test]
fn startup_is_announced_once_a_boot() {
    let mut node = Node::start();
    let key = format!("ur.startup.{}", node.agent.uuid);
    let is_startup = |message: &Received| message.key == key;
    node.client.wait_for("startup", is_startup);
    let mark = node.agent.state_dir().join("announced");
    wait_until("startup is marked", || mark.exists());
    node.agent.kill();
    node.agent.start_again();
    node.wait_until_announced();
    node.shell("true");
    assert_eq!(node.client.take(Duration::ZERO, is_startup), None);
}

#[test]
fn a_broadcast_is_answered_with_bare_sysinfo_on_a_key_of_four_words() {
    let mut node = Node::start();
    node.client.publish("ur.broadcast.sysinfo.r1", b"{}");
    let reply = node.reply_message("r1");
    assert_eq!(reply.key.split('.').count(), 4);
    assert_eq!(reply.content_type.as_deref(), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["UUID"], json!(node.agent.uuid));
    assert_eq!(body.get("exit_status"), None);
}

#[test]
fn an_unknown_broadcast_is_survived() {
    let mut node = Node::start();
    node.client.publish("ur.broadcast.reboot.r1", b"{}");
    assert_eq!(node.shell("echo still here"), "still here\n");
}

#[test]
fn a_ping_is_acked_on_a_key_without_a_dot_before_the_client() {
    let mut node = Node::start();
    let ping = json!({"client_id": "9f3c", "id": 41});
    let key = format!("ur.ping.{}", node.agent.uuid);
    node.client.publish(&key, ping.to_string().as_bytes());
    let key = format!("ur.ack9f3c.{}", node.agent.uuid);
    let ack = node
        .client
        .wait_for("the ack", |message| message.key == key);
    assert_eq!(ack.json()["req_id"], 41);
    assert!(ack.json()["timestamp"].is_string());
}

#[test]
fn a_request_to_uuid_and_mac_is_answered_on_the_key_of_the_uuid() {
    let mut node = Node::start();
    let key = format!("ur.execute.{}-{}.r1", node.agent.uuid, node.agent.mac);
    let request = script("echo by mac").to_string();
    node.client.publish(&key, request.as_bytes());
    assert_eq!(node.reply("r1")["stdout"], "by mac\n");
}

#[test]
fn a_heartbeat_says_who_lives_and_since_when() {
    let mut node = Node::start();
    let key = format!("ur.heartbeat.{}", node.agent.uuid);
    let beat = node
        .client
        .wait_for("a heartbeat", |message| message.key == key)
        .json();
    assert_eq!(beat["agent"], "ur-agent");
    assert_eq!(beat["jobs"], 0);
    assert!(
        beat["uptime"].as_u64().is_some_and(|seconds| seconds > 0),
        "{beat}"
    );
}

#[test]
fn labels_of_a_request_come_back_in_its_reply() {
    let mut node = Node::start();
    let request = and(script("true"), "name", "disk::erase");
    let request = and(and(request, "version", "1.2.0"), "digest", "sha256:00");
    let reply = node.ask(&request);
    assert_eq!(reply["name"], "disk::erase");
    assert_eq!(reply["version"], "1.2.0");
    assert_eq!(reply["digest"], "sha256:00");
    assert_eq!(reply["agent"], protocol::VERSION);
}

#[test]
fn the_key_of_every_reply_has_four_words_and_its_body_is_declared_json() {
    let mut node = Node::start();
    for body in [script("true").to_string(), "rubbish".to_owned()] {
        let id = uuid::Uuid::new_v4().to_string();
        node.send_as(&id, body.as_bytes());
        let reply = node.reply_message(&id);
        assert_eq!(reply.key.split('.').count(), 4);
        assert_eq!(reply.content_type.as_deref(), Some("application/json"));
        assert!(matches!(reply.json(), Value::Object(_)));
    }
}

/// RabbitMQ closes the channel of a consumer that leaves a message unacked for half an hour.
#[test]
fn what_a_client_received_is_acked_while_nothing_more_comes() {
    let vhost = Vhost::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let received = async {
        let broker = Broker::connect(&vhost.url.parse()?, "ur test").await?;
        let keys = ["ur.heartbeat.n1".to_owned()];
        let mut subscription = broker.subscribe("ur.test.acks", &keys).await?;
        let publisher = broker.publisher().await?;
        for _ in 0..3 {
            publisher.publish(&keys[0], b"{}").await?.routing().await?;
            subscription.receive().await?;
        }
        let nothing = timeout(Duration::from_millis(100), subscription.receive()).await;
        assert!(nothing.is_err());
        anyhow::Ok((broker, subscription))
    };
    let open = runtime.block_on(received).expect("a broker");
    wait_until("all are acked", || vhost.acked("ur.test.acks") == Some(3));
    drop(open);
}

/// Which of many messages in flight had no queue is told of each: RabbitMQ returns them while it still owes the
/// confirms of others.
#[test]
fn of_many_messages_in_flight_exactly_those_without_a_queue_are_unroutable() {
    const MESSAGES: usize = 2000;
    let vhost = Vhost::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let wrong = async {
        let broker = Broker::connect(&vhost.url.parse()?, "ur test").await?;
        let publisher = broker.publisher().await?;
        let keys = ["ur.there.*".to_owned()];
        let listener = broker.subscribe("ur.test.returns", &keys).await?;
        let mut in_flight = Vec::new();
        for i in 0..MESSAGES {
            let (word, routing) = match fastrand::bool() {
                true => ("there", Routing::Taken),
                false => ("nowhere", Routing::Unroutable),
            };
            // Keys repeat.
            let key = format!("ur.{word}.{}", i / 3);
            in_flight.push((publisher.publish(&key, b"{}").await?, routing));
        }
        let mut wrong = 0;
        for (receipt, routing) in in_flight {
            wrong += usize::from(receipt.routing().await? != routing);
        }
        drop(listener);
        anyhow::Ok(wrong)
    };
    assert_eq!(runtime.block_on(wrong).expect("a broker"), 0);
}
