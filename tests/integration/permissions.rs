//! A log-in that is good for one node alone: the agent lives by it, and it is worth nothing against another node.

use broker::{Broker, is_refusal};

use crate::support::agent::{Agent, Setup};
use crate::support::broker::Vhost;
use crate::support::client::Client;
use crate::support::{Node, and, script, wait_until};

const EXCHANGE: [&str; 2] = ["--publish-exchange", "ur.node.{node}"];

#[test]
fn an_agent_lives_by_a_log_in_of_its_own_which_is_no_use_against_another_node() {
    let vhost = Vhost::new();
    let [uuid, victim] = [(); 2].map(|()| uuid::Uuid::new_v4().to_string());
    let Some(url) = vhost.with_node_user(&uuid) else {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    };
    let client = Client::connect(&vhost.url, &uuid);
    let agent = Agent::start(&uuid, &url, Setup::args(&EXCHANGE));
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    node.wait_until_announced();
    node.ping();
    let streaming = and(script("echo out; sleep 60"), "stream", true);
    let id = node.send(&streaming);
    node.progress(&id, "accepted");
    let output = node.key("execute-output", &id);
    node.client
        .wait_for("output", |message| message.key == output);
    node.cancel(&id);
    assert_eq!(node.reply(&id)["cancelled"], true);

    refuses(&url, &uuid, &victim);
    let impostor = Agent::start(&victim, &url, Setup::args(&EXCHANGE));
    wait_until("an agent of another name is refused", || {
        impostor.log().contains("ACCESS_REFUSED")
    });
    drop(impostor);
    assert_eq!(node.shell("echo here"), "here\n");
    node.vhost.delete_user(&format!("node-{uuid}"));
}

fn refuses(url: &str, node: &str, victim: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = url.parse().expect("a URL");
    runtime.block_on(async {
        let broker = Broker::connect(&url, "thief").await.expect("a log-in");
        let key = format!("ur.execute.{victim}.r1");
        let sent = broker.publisher().await.expect("a channel");
        let sent = sent.publish(&key, b"{}").await.expect("on its way");
        let error = sent
            .routing()
            .await
            .expect_err("amq.topic is not for nodes");
        assert!(is_refusal(&error), "{error:#}");
        let queue = format!("ur.request.{node}.x");
        for key in [key.as_str(), "ur.execute-reply.#", "ur.#"] {
            let bound = broker.subscribe(&queue, &[key.to_owned()]).await;
            assert!(bound.is_err(), "{key} is for others");
        }
        let others = format!("ur.request.{victim}.x");
        let bound = broker
            .subscribe(&others, &[format!("ur.ping.{node}")])
            .await;
        assert!(bound.is_err(), "that queue is another's");
        // What it publishes to its own exchange under another's key goes nowhere.
        let broker = broker.publishing_to(&format!("ur.node.{node}"));
        let sent = broker.publisher().await.expect("a channel");
        let sent = sent.publish(&key, b"{}").await.expect("on its way");
        let routing = sent.routing().await.expect("a confirm");
        assert_eq!(routing, broker::Routing::Unroutable);
    });
}
