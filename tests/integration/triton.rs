//! Triton's own clients: the order of their steps, and what they show.

use std::time::{Duration, Instant};

use broker::{Broker, Routing};
use serde_json::json;

use crate::support::client::Client;
use crate::support::{Node, and, script, text_of, wait_until};

/// Asks as urclient does: its binding comes into force when the question is on its way.
fn asks_before_it_listens(node: &Node, question: (&str, &str), answer: &str) {
    let (key, body) = question;
    let mut late = Client::listening(&node.vhost.url, &["ur.nothing".to_owned()]);
    assert_eq!(late.publish(key, body.as_bytes()), Routing::Taken);
    late.listen(answer);
    late.wait_for("the answer", |message| message.key == answer);
}

#[test]
fn a_ping_is_answered_to_a_client_whose_binding_comes_after_it() {
    let node = Node::start();
    let uuid = &node.agent.uuid;
    let ping = json!({"client_id": "late.client", "id": 1}).to_string();
    let (ask, answer) = (
        format!("ur.ping.{uuid}"),
        format!("ur.acklate.client.{uuid}"),
    );
    asks_before_it_listens(&node, (&ask, &ping), &answer);
}

#[test]
fn a_broadcast_is_answered_to_a_client_whose_binding_comes_after_it() {
    let Node {
        agent,
        vhost,
        client,
    } = Node::start();
    let answer = format!("ur.execute-reply.{}.late", agent.uuid);
    nobody_listens_after(client, &vhost.url, &agent.uuid);
    let client = Client::listening(&vhost.url, &["ur.nothing".to_owned()]);
    let node = Node {
        client,
        agent,
        vhost,
    };
    asks_before_it_listens(&node, ("ur.broadcast.sysinfo.late", "{}"), &answer);
}

/// The broker has a client's queue until it notices that the client has gone, and gives it what is meant for others.
fn nobody_listens_after(client: Client, url: &str, node: &str) {
    drop(client);
    let probe = Client::listening(url, &["ur.nothing".to_owned()]);
    let key = format!("ur.execute-reply.{node}.probe");
    wait_until("its queue is gone", || {
        probe.publish(&key, b"{}") == Routing::Unroutable
    });
}

/// As often as the table of docs/reliability.md says, each time by a connection of its own.
fn misses(
    url: &str,
    limit: Duration,
    question: impl Fn(usize) -> (String, String, String),
) -> usize {
    let misses_it = |&round: &usize| {
        let (key, body, answer) = question(round);
        let mut client = Client::listening(url, &[]);
        client.ask_and_listen((&key, body.as_bytes()), &answer);
        client
            .take(limit, |message| message.key == answer)
            .is_none()
    };
    (0..200).filter(misses_it).count()
}

#[test]
#[ignore = "takes minutes: make flood"]
fn two_hundred_times_in_urclients_order_nobody_is_missed() {
    let Node {
        agent,
        vhost,
        client,
    } = Node::start();
    nobody_listens_after(client, &vhost.url, &agent.uuid);
    let uuid = &agent.uuid;
    let broadcast = |kind: &'static str| {
        move |round: usize| {
            let key = format!("ur.broadcast.sysinfo.{kind}{round}");
            (
                key,
                "{}".to_owned(),
                format!("ur.execute-reply.{uuid}.{kind}{round}"),
            )
        }
    };
    let ping = |round: usize| {
        let body = json!({"client_id": format!("p{round}"), "id": "1"}).to_string();
        (
            format!("ur.ping.{uuid}"),
            body,
            format!("ur.ackp{round}.{uuid}"),
        )
    };
    // With the patience of each program.
    let [oneachnode, discovery, pings] = [
        misses(&vhost.url, Duration::from_secs(5), broadcast("oneachnode")),
        misses(&vhost.url, Duration::from_secs(3), broadcast("discovery")),
        misses(&vhost.url, Duration::from_secs(5), ping),
    ];
    println!("missed of 200: sdc-oneachnode -n {oneachnode}, discovery {discovery}, ping {pings}");
    assert_eq!((oneachnode, discovery, pings), (0, 0, 0));
}

/// Where another client listens to all replies, no answer is unroutable, and none must come too soon.
#[test]
fn a_broadcast_is_answered_no_sooner_than_its_client_can_hear_it() {
    let mut node = Node::start();
    let begun = Instant::now();
    node.client.publish("ur.broadcast.sysinfo.r1", b"{}");
    node.reply("r1");
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[test]
fn sysinfo_that_answers_a_broadcast_is_a_few_seconds_old_at_most() {
    let mut node = Node::start();
    let program = node.agent.dir().join("sysinfo");
    let text = std::fs::read_to_string(&program).unwrap();
    let text = text.replace("testnode", "renamed");
    crate::support::agent::write_program(&program, text.trim_start_matches("#!/bin/sh\n"));
    // Who asks for no more than names gets what is known.
    node.client
        .publish("ur.broadcast.sysinfo.names", br#"{"max_age":3600}"#);
    assert_eq!(node.reply("names")["Hostname"], "testnode");
    let mut asked = 0;
    wait_until("it is collected anew", || {
        asked += 1;
        let id = format!("facts{asked}");
        node.client
            .publish(&format!("ur.broadcast.sysinfo.{id}"), br#"{"max_age":0.5}"#);
        node.reply(&id)["Hostname"] == "renamed"
    });
}

#[test]
fn setup_is_always_there() {
    let mut node = Node::start();
    node.client.publish("ur.broadcast.sysinfo.r1", b"{}");
    assert_eq!(node.reply("r1")["Setup"], "false");
}

#[test]
fn the_reason_of_a_request_that_was_not_run_stands_in_stderr_too() {
    let mut node = Node::start();
    for request in [
        json!({"type": "file", "file": "/no/such/file"}),
        json!({"type": "scrpt"}),
    ] {
        let reply = node.ask(&request);
        let reason = format!("{}\n", text_of(&reply["error"]["message"]));
        assert_eq!(reply["stderr"], reason, "{reply}");
    }
}

#[test]
fn an_ack_has_its_time_as_javascript_writes_it() {
    let mut node = Node::start();
    let key = format!("ur.ping.{}", node.agent.uuid);
    node.client.publish(&key, br#"{"client_id":"js","id":1}"#);
    let key = format!("ur.ackjs.{}", node.agent.uuid);
    let ack = node
        .client
        .wait_for("the ack", |message| message.key == key);
    let time = text_of(&ack.json()["timestamp"]);
    let form: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z");
}

#[test]
fn null_among_arguments_and_variables_is_text() {
    let mut node = Node::start();
    let request = and(script("echo $1 $NOTHING"), "args", json!([null]));
    let request = and(
        request,
        "env",
        json!({"NOTHING": null, "PATH": "/bin:/usr/bin"}),
    );
    assert_eq!(node.ask(&request)["stdout"], "null null\n");
}

#[test]
fn a_node_js_agent_on_the_same_node_is_an_error_in_the_log_and_a_warning_in_sysinfo() {
    let mut node = Node::start();
    assert!(!node.agent.log().contains("runs twice"));
    let queue = format!("ur.request.{}.{}", node.agent.uuid, node.agent.mac);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let beside = runtime.block_on(async {
        let broker = Broker::connect(&node.vhost.url.parse()?, "node-amqp").await?;
        let subscription = broker.subscribe(&queue, &[]).await?;
        anyhow::Ok((broker, subscription))
    });
    let beside = beside.expect("an exclusive queue of that name");
    node.agent.kill();
    node.agent.start_again();
    node.client.forget();
    let sysinfo = node.wait_until_announced();
    let warnings = sysinfo["Ur Agent"]["warnings"].to_string();
    assert!(warnings.contains("every request runs twice"), "{sysinfo}");
    node.logs("ERROR Triton's Node.js agent runs on this node, too");
    drop(beside);
}

#[test]
fn a_reply_that_no_one_takes_does_not_keep_a_node_from_its_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let setup = crate::support::agent::Setup {
        reboot: Some(format!("touch {}", mark.display())),
        ..Default::default()
    };
    let node = Node::with(setup);
    let body = script("true").to_string();
    // No queue is bound to what the node answers.
    let sender = Client::listening(&node.vhost.url, &["ur.nothing".to_owned()]);
    nobody_listens_after(node.client, &node.vhost.url, &node.agent.uuid);
    let key = format!("ur.execute.{}.forgotten", node.agent.uuid);
    assert_eq!(sender.publish(&key, body.as_bytes()), Routing::Taken);
    wait_until("it is unroutable", || {
        node.agent.log().contains("the reply is unroutable")
    });
    let asks = script("exit 113").to_string();
    let key = format!("ur.execute.{}.asks", node.agent.uuid);
    let begun = Instant::now();
    assert_eq!(sender.publish(&key, asks.as_bytes()), Routing::Taken);
    wait_until("the reboot", || mark.exists());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn output_whose_middle_is_missing_has_a_mark_there() {
    let mut node = Node::start();
    let reply = node.ask(&and(script("seq 100000"), "max_output", 1000));
    let stdout = text_of(&reply["stdout"]);
    assert!(
        stdout.contains("\n[587895 bytes are left out here]\n"),
        "{stdout}"
    );
}
