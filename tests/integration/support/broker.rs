//! Virtual hosts of a RabbitMQ that was started before the tests, by its management API; and one of a test's own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A virtual host that is deleted in the end; the broker's own one where there is no management.
pub(crate) struct Vhost {
    /// Of the virtual host, for agents and clients.
    pub(crate) url: String,
    pub(crate) name: Option<String>,
}

impl Vhost {
    pub(crate) fn new() -> Self {
        let url = std::env::var("UR_AMQP_URL").expect(
            "UR_AMQP_URL is not set, and these tests need RabbitMQ: run `make test`, \
             or `tools/with-broker --private cargo test`",
        );
        let Some(management) = Management::from_env() else {
            return Self { url, name: None };
        };
        let name = format!("ur-test-{}", uuid::Uuid::new_v4());
        management.call("PUT", &format!("/api/vhosts/{name}"), "{}");
        management.permit(&name, &management.user);
        Self {
            url: format!("{}/{name}", without_path(&url)),
            name: Some(name),
        }
    }

    /// The default one of a RabbitMQ, if `UR_AMQP_URL` does not name another.
    pub(crate) fn root() -> Option<Self> {
        let url = std::env::var("UR_AMQP_URL").ok()?;
        (without_path(&url) == url.trim_end_matches('/')).then_some(Self { url, name: None })
    }

    /// The same virtual host for a user of its own. `None` where there is no management.
    pub(crate) fn with_user(mut self, user: &str, password: &str) -> Option<Self> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let body = format!(r#"{{"password":"{password}","tags":""}}"#);
        management.call("PUT", &format!("/api/users/{user}"), &body);
        management.permit(name, user);
        let (scheme, rest) = self.url.split_once("://")?;
        let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        self.url = format!("{scheme}://{user}:{password}@{host}");
        Some(self)
    }

    /// A log-in that is good for one node alone, as docs/operating.md has it, and the exchange that it publishes to.
    /// Returns the URL.
    pub(crate) fn with_node_user(&self, node: &str) -> Option<String> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let put = |path: String, body: Value| management.call("PUT", &path, &body.to_string());
        let user = format!("node-{node}");
        put(
            format!("/api/users/{user}"),
            json!({"password": "pw", "tags": ""}),
        );
        let exchange = format!("ur.node.{node}");
        put(
            format!("/api/exchanges/{name}/{exchange}"),
            json!({"type": "topic", "durable": true}),
        );
        for kind in [
            "*",
            "sysinfo",
            "execute-reply",
            "execute-progress",
            "execute-output",
        ] {
            let rest = if kind == "*" { "" } else { ".*" };
            let key = json!({"routing_key": format!("ur.{kind}.{node}{rest}")});
            let path = format!("/api/bindings/{name}/e/{exchange}/e/amq.topic");
            management.call("POST", &path, &key.to_string());
        }
        put(
            format!("/api/permissions/{name}/{user}"),
            json!({
                "configure": format!(r"^ur\.request\.{node}\."),
                "write": format!(r"^(ur\.request\.{node}\..*|ur\.node\.{node})$"),
                "read": format!(r"^(ur\.request\.{node}\..*|amq\.topic)$"),
            }),
        );
        put(
            format!("/api/topic-permissions/{name}/{user}"),
            json!({
                "exchange": "amq.topic",
                "write": "^$",
                "read": format!(r"^ur\.((execute|cancel)\.{node}(-[0-9a-f:]+)?\.\*|broadcast\.\*\.\*|ping\.{node})$"),
            }),
        );
        let (scheme, rest) = self.url.split_once("://")?;
        let (_, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        Some(format!("{scheme}://{user}:pw@{host}"))
    }

    /// Hands a message to a queue directly, past every binding. Returns that queue's name, if the
    /// management knows of one yet.
    pub(crate) fn publish_to_queue(&self, queue_prefix: &str, body: &str) -> Option<String> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let queue = self.queue(queue_prefix)?;
        let message = serde_json::json!({
            "properties": {}, "routing_key": queue, "payload": body, "payload_encoding": "string",
        });
        let path = format!("/api/exchanges/{name}/amq.default/publish");
        management.call("POST", &path, &message.to_string());
        Some(queue)
    }

    /// The name of a queue that the management knows of.
    pub(crate) fn queue(&self, prefix: &str) -> Option<String> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let queues = management.get(&format!("/api/queues/{name}"));
        let mut names = queues.iter().filter_map(|queue| queue["name"].as_str());
        names
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
    }

    /// A queue without a consumer, as that of a node that is cut off. Dies with the virtual host.
    pub(crate) fn declare_queue(&self, queue: &str, key: &str) {
        let (management, name) = self.managed();
        management.call("PUT", &format!("/api/queues/{name}/{queue}"), "{}");
        let path = format!("/api/bindings/{name}/e/amq.topic/q/{queue}");
        let body = serde_json::json!({"routing_key": key});
        management.call("POST", &path, &body.to_string());
    }

    /// How many messages a queue gives out, one after the other.
    pub(crate) fn drain(&self, queue: &str) -> usize {
        let (management, name) = self.managed();
        let path = format!("/api/queues/{name}/{queue}/get");
        let body = r#"{"count":100,"ackmode":"ack_requeue_false","encoding":"auto"}"#;
        let messages = management.call("POST", &path, body);
        let messages: Value = serde_json::from_str(&messages).expect("JSON");
        messages.as_array().expect("an array").len()
    }

    /// How many messages of a queue the management knows to be acked. It hears of them every few seconds.
    pub(crate) fn acked(&self, queue: &str) -> Option<u64> {
        let (management, name) = self.managed();
        let queues = management.get(&format!("/api/queues/{name}"));
        let found = queues.iter().find(|found| found["name"] == queue);
        found.and_then(|queue| queue["message_stats"]["ack"].as_u64())
    }

    fn managed(&self) -> (Management, &str) {
        let name = self.name.as_deref();
        let managed = Management::from_env().zip(name);
        managed.expect("this test needs RabbitMQ's management: `tools/with-broker --private`")
    }

    pub(crate) fn delete_user(&self, user: &str) {
        if let Some(management) = Management::from_env() {
            management.call("DELETE", &format!("/api/users/{user}"), "");
        }
    }

    /// Has the broker close the connections of clients that call themselves so. Returns how many the
    /// management knew of.
    pub(crate) fn close_connections(&self, client: &str) -> Option<usize> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let connections = management.get(&format!("/api/vhosts/{name}/connections"));
        let names = connections.iter().filter_map(|connection| {
            let called = connection["client_properties"]["connection_name"].as_str()?;
            called
                .starts_with(client)
                .then_some(connection["name"].as_str()?)
        });
        let closed = names.map(|name| {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            management.call("DELETE", &format!("/api/connections/{name}"), "");
        });
        Some(closed.count())
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        if let (Some(management), Some(name)) = (Management::from_env(), &self.name) {
            management.call("DELETE", &format!("/api/vhosts/{name}"), "");
        }
    }
}

fn without_path(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (_, rest) = url.split_at(start);
    let end = rest.find('/').map_or(url.len(), |at| start + at);
    url.split_at(end).0
}

/// RabbitMQ's HTTP API.
struct Management {
    user: String,
    login: String,
    address: String,
}

impl Management {
    fn from_env() -> Option<Self> {
        let url = std::env::var("UR_MANAGEMENT_URL").ok()?;
        let rest = url.strip_prefix("http://")?.trim_end_matches('/');
        let (login, address) = rest.rsplit_once('@').unwrap_or(("guest:guest", rest));
        let user = login.split(':').next().unwrap_or("guest");
        Some(Self {
            user: user.to_owned(),
            login: STANDARD.encode(login),
            address: address.to_owned(),
        })
    }

    fn permit(&self, vhost: &str, user: &str) {
        let everything = r#"{"configure":".*","write":".*","read":".*"}"#;
        self.call(
            "PUT",
            &format!("/api/permissions/{vhost}/{user}"),
            everything,
        );
    }

    fn get(&self, path: &str) -> Vec<Value> {
        serde_json::from_str(&self.call("GET", path, "")).expect("an array in JSON")
    }

    /// Returns the body of the response, which must be one of success.
    fn call(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connecting to management");
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.login,
            body.len()
        );
        let mut response = String::new();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut response))
            .expect("talking to management");
        let status = response.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {path}: {response}");
        let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
        body.to_owned()
    }
}

/// A RabbitMQ that a test may stop and reconfigure; ended in the end.
pub(crate) struct PrivateBroker {
    url: String,
    dir: TempDir,
}

impl PrivateBroker {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"))
    }

    /// With what is in the folder already: `enabled_plugins`, `conf.d/*.conf`.
    pub(crate) fn start_in(dir: TempDir) -> Self {
        let url = String::new();
        let mut broker = Self { url, dir };
        broker.again("start");
        let env = fs::read_to_string(broker.dir.path().join("env")).expect("the broker's env");
        let url = env
            .lines()
            .find_map(|line| line.strip_prefix("UR_AMQP_URL="));
        url.expect("a URL").clone_into(&mut broker.url);
        broker
    }

    /// One with a line more in its configuration.
    pub(crate) fn with(setting: &str) -> Self {
        let broker = Self::start();
        let mut file = File::options()
            .append(true)
            .open(broker.dir.path().join("rabbitmq.conf"))
            .expect("the broker's configuration");
        writeln!(file, "{setting}").expect("configuring the broker");
        broker.again("restart");
        broker
    }

    /// Its virtual host `/`, where guest may all.
    pub(crate) fn vhost(&self) -> Vhost {
        Vhost {
            url: self.url.clone(),
            name: None,
        }
    }

    /// Sets what cannot be set in a file, until it is restarted; for channels that are opened from now on.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let setting = format!("application:set_env(rabbit, {name}, {value}).");
        let mut command = Command::new("../tools/private-broker");
        command.arg("ctl").arg(self.dir.path());
        let status = command.args(["eval", &setting]).status();
        assert!(status.is_ok_and(|status| status.success()), "{setting}");
    }

    /// start, stop, restart or kill.
    pub(crate) fn again(&self, verb: &str) {
        let mut command = Command::new("../tools/private-broker");
        let status = command.arg(verb).arg(self.dir.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{verb} failed");
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        let mut command = Command::new("../tools/private-broker");
        command.arg("kill").arg(self.dir.path()).status().ok();
    }
}
