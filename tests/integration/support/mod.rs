//! Support of the integration tests: a node under test, and the client that watches it.

pub(crate) mod agent;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod fake_broker;
pub(crate) mod fake_nodes;
pub(crate) mod operator;
pub(crate) mod operator_home;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::broker::Routing;
use serde_json::{Value, json};

use agent::{Agent, Setup};
use broker::Vhost;
use client::{Client, Received};

/// For whatever takes no time on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that is connected and announced, in a virtual host of its own.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) agent: Agent,
    pub(crate) vhost: Vhost,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        Self::at(Vhost::new(), setup)
    }

    pub(crate) fn at(vhost: Vhost, setup: Setup) -> Self {
        let url = vhost.url.clone();
        Self::by(vhost, &url, setup)
    }

    /// With an agent that is given a URL of its own, or none.
    pub(crate) fn by(vhost: Vhost, url: &str, setup: Setup) -> Self {
        let uuid = uuid::Uuid::new_v4().to_string();
        let client = Client::connect(&vhost.url, &uuid);
        let agent = Agent::start(&uuid, url, setup);
        let mut node = Self {
            client,
            agent,
            vhost,
        };
        node.wait_until_announced();
        node
    }

    pub(crate) fn wait_until_announced(&mut self) -> Value {
        let prefix = format!("ur.sysinfo.{}.", self.agent.uuid);
        let said = |message: &Received| message.key.starts_with(&prefix);
        self.client.wait_for("sysinfo", said).json()
    }

    pub(crate) fn key(&self, kind: &str, request: &str) -> String {
        format!("ur.{kind}.{}.{request}", self.agent.uuid)
    }

    /// Sends a request and returns its id.
    pub(crate) fn send(&self, request: &Value) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.send_as(&id, request.to_string().as_bytes());
        id
    }

    pub(crate) fn send_as(&self, id: &str, body: &[u8]) {
        let routing = self.client.publish(&self.key("execute", id), body);
        assert_eq!(routing, Routing::Taken, "the agent has no queue");
    }

    pub(crate) fn cancel(&self, id: &str) {
        self.client.publish(&self.key("cancel", id), b"{}");
    }

    pub(crate) fn reply(&mut self, id: &str) -> Value {
        self.reply_message(id).json()
    }

    pub(crate) fn reply_message(&mut self, id: &str) -> Received {
        let key = self.key("execute-reply", id);
        self.client
            .wait_for(&format!("the reply {key}"), |message| message.key == key)
    }

    pub(crate) fn progress(&mut self, id: &str, state: &str) -> Value {
        let key = self.key("execute-progress", id);
        let said = |message: &Received| message.key == key && message.json()["state"] == state;
        self.client
            .wait_for(&format!("{state} on {key}"), said)
            .json()
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        let id = self.send(request);
        self.reply(&id)
    }

    /// The same, for a body that is no JSON perhaps.
    pub(crate) fn ask_raw(&mut self, body: &[u8]) -> Value {
        let id = uuid::Uuid::new_v4().to_string();
        self.send_as(&id, body);
        self.reply(&id)
    }

    /// Pings the agent and waits for its answer.
    pub(crate) fn ping(&mut self) {
        let key = format!("ur.ping.{}", self.agent.uuid);
        self.client.publish(&key, br#"{"client_id":"test","id":1}"#);
        let key = format!("ur.acktest.{}", self.agent.uuid);
        self.client
            .wait_for("the ack", |message| message.key == key);
    }

    /// Runs a shell script to its end and returns what it printed.
    pub(crate) fn shell(&mut self, text: &str) -> String {
        let reply = self.ask(&script(text));
        assert_eq!(reply["exit_status"], 0, "{reply}");
        text_of(&reply["stdout"])
    }

    /// Waits until the agent has said this in its log.
    pub(crate) fn logs(&self, text: &str) {
        wait_until(text, || self.agent.log().contains(text));
    }

    pub(crate) fn job(&self, id: &str) -> PathBuf {
        self.agent.state_dir().join("jobs").join(id)
    }

    /// Where the request's script runs.
    pub(crate) fn work(&self, id: &str) -> PathBuf {
        self.agent.state_dir().join("work").join(id).join("work")
    }
}

pub(crate) fn script(text: &str) -> Value {
    json!({"type": "script", "script": format!("#!/bin/sh\n{text}\n")})
}

/// The request with one more field.
pub(crate) fn and(mut request: Value, name: &str, value: impl Into<Value>) -> Value {
    request[name] = value.into();
    request
}

pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The code of a reply to a request that was not run.
pub(crate) fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or("no error")
}

/// Looks again and again until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Until an agent has its queue. What it announced then may have come before the client did.
pub(crate) fn wait_until_bound(client: &Client) {
    // Only agents have bindings for this, and they do not answer it.
    let key = "ur.broadcast.is-there-anybody.r1";
    wait_until("the agent has its queue", || {
        client.publish(key, b"{}") == Routing::Taken
    });
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a command succeeds.
pub(crate) fn runs(words: &[&str], more: &[&str]) -> bool {
    let mut command = std::process::Command::new(words[0]);
    let status = command.args(&words[1..]).args(more).status();
    status.is_ok_and(|status| status.success())
}
