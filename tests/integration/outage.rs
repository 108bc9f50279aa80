//! The broker is away, silent, forgetful or says no: the agent stays, and comes back by itself.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use broker::{Broker, Routing};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::support::agent::{Agent, Setup};
use crate::support::broker::{PrivateBroker, Vhost};
use crate::support::client::{Client, Received};
use crate::support::{Node, PATIENCE, is_root, runs, script, wait_until, wait_until_bound};

#[test]
fn an_agent_that_is_there_before_its_broker_finds_it_when_it_comes() {
    let broker = PrivateBroker::start();
    broker.again("stop");
    let vhost = broker.vhost();
    let mut agent = Agent::start("early-bird", &vhost.url, Setup::default());
    wait_until("it tries again", || {
        agent.log().matches("no broker").count() > 1
    });
    assert!(!agent.has_ended());
    broker.again("start");
    let client = Client::connect(&vhost.url, "early-bird");
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    wait_until_bound(&node.client);
    assert_eq!(node.shell("echo found"), "found\n");
}

#[test]
fn scripts_go_on_without_a_broker_and_each_is_answered_once_with_all_its_output() {
    let broker = PrivateBroker::start();
    let mut node = Node::at(broker.vhost(), Setup::default());
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let goes_on = script(&format!(
        "echo before; echo ran >>{}; while ! test -e {}; do sleep 0.05; done; echo after",
        mark.display(),
        gate.display()
    ));
    let ends_meanwhile = script(&format!(
        "while ! test -e {}.gone; do sleep 0.05; done; seq 10000",
        gate.display()
    ));
    let (first, second) = (node.send(&goes_on), node.send(&ends_meanwhile));
    wait_until("the script runs", || mark.exists());
    node.progress(&second, "accepted");
    broker.again("kill");
    node.logs("connection lost");
    fs::create_dir(gate.with_extension("gone")).unwrap();
    let outcome = node.job(&second).join("outcome.json");
    wait_until("one ends", || outcome.exists());
    broker.again("start");
    node.client = Client::connect(&node.vhost.url, &node.agent.uuid);
    wait_until_bound(&node.client);
    let whole: String = (1..=10_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(node.reply(&second)["stdout"], whole);
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&first)["stdout"], "before\nafter\n");
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
    node.shell("true");
    let is_reply = |message: &Received| message.key.starts_with("ur.execute-reply.");
    assert_eq!(node.client.take(Duration::ZERO, is_reply), None);
}

#[test]
fn brokers_are_tried_in_turn_and_a_silent_one_is_passed_over() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let (silent_at, closed_at) = (silent.local_addr().unwrap(), closed.local_addr().unwrap());
    drop(closed);
    let vhost = Vhost::new();
    let urls = format!(
        "amqp://{closed_at}, amqp://u:s3cr3t@{silent_at}, {}",
        vhost.url
    );
    let mut node = Node::by(vhost, &urls, Setup::default());
    assert_eq!(node.shell("echo third"), "third\n");
    let log = node.agent.log();
    assert_eq!(log.matches("trying the next broker").count(), 2, "{log}");
    assert!(log.contains("no answer to AMQP"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
}

#[test]
fn a_refused_login_is_told_without_its_password_and_tried_until_let_in() {
    let vhost = Vhost::new();
    let Some(name) = vhost.name.clone() else {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    };
    let (_, host) = vhost.url.rsplit_once('@').unwrap();
    let user = format!("ur-late-{name}");
    let url = format!("amqp://{user}:s3cr3t@{host}");
    let mut agent = Agent::start("let-me-in", &url, Setup::default());
    wait_until("it is refused", || agent.log().contains("ACCESS_REFUSED"));
    assert!(!agent.has_ended());
    let log = agent.log();
    assert!(log.contains("broker found") && log.contains(&user), "{log}");
    let client = Client::connect(&vhost.url, "let-me-in");
    let vhost = vhost.with_user(&user, "s3cr3t").unwrap();
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    wait_until_bound(&node.client);
    assert_eq!(node.shell("echo let in"), "let in\n");
    assert!(!node.agent.log().contains("s3cr3t"));
    node.vhost.delete_user(&user);
}

#[test]
fn a_queue_that_is_deleted_is_made_anew() {
    let mut node = Node::start();
    let (Some(vhost), Ok(broker)) = (node.vhost.name.clone(), std::env::var("UR_BROKER_DIR"))
    else {
        return eprintln!("skipped: only a private broker lets us delete an exclusive queue");
    };
    let prefix = format!("ur.request.{}", node.agent.uuid);
    let mut queue = None;
    wait_until("the management knows the queue", || {
        queue = node.vhost.queue(&prefix);
        queue.is_some()
    });
    let queue = queue.unwrap();
    let delete = ["delete_queue", "--vhost", &vhost, &queue];
    assert!(runs(&["../tools/private-broker", "ctl", &broker], &delete));
    node.logs("the broker cancelled our consumer");
    node.wait_until_announced();
    assert_eq!(node.shell("echo back"), "back\n");
}

#[test]
fn a_connection_that_the_broker_closes_is_made_anew() {
    let mut node = Node::start();
    if node.vhost.name.is_none() {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    }
    wait_until("the management knows the connection", || {
        node.vhost.close_connections("ur-agent") == Some(1)
    });
    node.logs("connection lost");
    node.wait_until_announced();
    assert_eq!(node.shell("echo back"), "back\n");
}

#[test]
fn a_script_that_outlasts_the_consumer_timeout_is_not_delivered_again() {
    let broker = PrivateBroker::start();
    broker.set("consumer_timeout", "1000");
    // How often it looks, in milliseconds.
    broker.set("channel_tick_interval", "500");
    let mut node = Node::at(broker.vhost(), Setup::default());
    let (mark, gate) = (node.agent.dir().join("mark"), node.agent.dir().join("gate"));
    let id = node.send(&script(&format!(
        "echo ran >>{}; while ! test -e {}; do sleep 0.05; done; echo after",
        mark.display(),
        gate.display()
    )));
    node.progress(&id, "accepted");
    // A consumer that keeps a message to itself shows that the limit is in force.
    assert!(hoard(&node.vhost.url).contains("PRECONDITION_FAILED"));
    assert_eq!(node.shell("echo in between"), "in between\n");
    fs::create_dir(gate).unwrap();
    assert_eq!(node.reply(&id)["stdout"], "after\n");
    assert_eq!(fs::read_to_string(mark).unwrap(), "ran\n");
    let log = node.agent.log();
    assert!(!log.contains("connection lost"), "{log}");
    node.shell("true");
    let is_reply = |message: &Received| message.key.starts_with("ur.execute-reply.");
    assert_eq!(node.client.take(Duration::ZERO, is_reply), None);
}

/// Takes a message and never acknowledges it. Returns what the broker says in the end.
fn hoard(url: &str) -> String {
    let told = async {
        let broker = Broker::connect(&url.parse()?, "hoarder").await?;
        let key = "ur.hoard".to_owned();
        let mut deliveries = broker.subscribe(&key, std::slice::from_ref(&key)).await?;
        let publisher = broker.publisher().await?;
        let sent = publisher.publish(&key, b"{}").await?;
        assert_eq!(sent.routing().await?, Routing::Taken);
        let mut kept = Vec::new();
        let mut last = None;
        while let Ok(next) = timeout(PATIENCE, deliveries.next()).await {
            match next {
                Some(Ok(delivery)) => kept.push(delivery),
                Some(Err(error)) => last = Some(error),
                None => break,
            }
        }
        anyhow::Ok(format!("{last:?}"))
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(told).expect("a broker that answers")
}

#[test]
fn an_agent_that_gets_no_thread_at_a_reconnect_tries_again() {
    const USER: &str = "64123";
    let (uid, gid) = (format!("--reuid={USER}"), format!("--regid={USER}"));
    let user = ["setpriv", &uid, &gid, "--clear-groups"];
    let binary = ur_tests::program("ur-agent");
    if !is_root() || !runs(&user, &["test", "-x", &binary]) {
        return eprintln!("skipped: only root can run an agent as another user");
    }
    let vhost = Vhost::new();
    if vhost.name.is_none() {
        return eprintln!("skipped: UR_MANAGEMENT_URL is not set");
    }
    // A name takes a thread to look up, an address does not.
    let url = vhost.url.replace("127.0.0.1", "localhost");
    let setup = Setup {
        wrapper: user.map(str::to_owned).to_vec(),
        prepare: Some(|dir| {
            let owner = format!("{USER}:{USER}");
            assert!(runs(&["chown", "-R", &owner], &[dir.to_str().unwrap()]));
        }),
        ..Setup::default()
    };
    let mut node = Node::by(vhost, &url, setup);
    let pid = format!("--pid={}", node.agent.pid());
    // Of its own user, whose limit it is to lower and to raise again.
    let limit = |to: &str| {
        let limit = ["prlimit", &pid, &format!("--nproc={to}:")];
        assert!(runs(&user, &limit));
    };
    limit("1");
    wait_until("the management knows the connection", || {
        node.vhost.close_connections("ur-agent") == Some(1)
    });
    node.logs("starting a thread");
    limit("1000");
    node.wait_until_announced();
    assert_eq!(node.shell("echo back"), "back\n");
}
