//! Virtual hosts of a RabbitMQ that somebody else started, by its management API.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

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

    /// Hands a message to a queue directly, past every binding. Returns that queue's name, if the
    /// management knows of one yet.
    pub(crate) fn publish_to_queue(&self, queue_prefix: &str, body: &str) -> Option<String> {
        let (management, name) = (Management::from_env()?, self.name.as_ref()?);
        let queues = management.call("GET", &format!("/api/queues/{name}"), "");
        let queues: Value = serde_json::from_str(&queues).expect("JSON");
        let names = queues.as_array().expect("an array").iter();
        let queue = names
            .filter_map(|queue| queue["name"].as_str())
            .find(|name| name.starts_with(queue_prefix))?
            .to_owned();
        let message = serde_json::json!({
            "properties": {}, "routing_key": queue, "payload": body, "payload_encoding": "string",
        });
        let path = format!("/api/exchanges/{name}/amq.default/publish");
        management.call("POST", &path, &message.to_string());
        Some(queue)
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
