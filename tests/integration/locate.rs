//! Location of the broker: where an agent looks for it, and that its log says where it was found. What a test cannot change
//! on this machine (kernel command line, resolver) is replaced in a mount namespace of the agent's.

use std::net::{Ipv4Addr, UdpSocket};

use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, ResourceRecord};

use crate::support::agent::{Agent, Setup};
use crate::support::broker::Vhost;
use crate::support::{Node, is_root, runs, wait_until};

/// An agent without a URL that finds this virtual host all the same.
fn finds(vhost: Vhost, setup: Setup, source: &str) {
    let mut node = Node::by(vhost, "", setup);
    assert_eq!(node.shell("echo here"), "here\n");
    let log = node.agent.log();
    let found = log.lines().filter(|line| line.contains("broker found"));
    let found: Vec<&str> = found.collect();
    assert_eq!(found.len(), 1, "{log}");
    assert!(found[0].contains(&format!("source={source:?}")), "{log}");
}

struct Parts {
    user: String,
    password: String,
    host: String,
    port: String,
    vhost: String,
}

impl Parts {
    fn of(url: &str) -> Self {
        let (login, place) = url
            .strip_prefix("amqp://")
            .and_then(|rest| rest.rsplit_once('@'))
            .expect("amqp://user:password@…");
        let (user, password) = login.split_once(':').unwrap_or((login, "guest"));
        let (address, vhost) = place.split_once('/').unwrap_or((place, "/"));
        let (host, port) = address.split_once(':').unwrap_or((address, "5672"));
        let [user, password, host, port, vhost] =
            [user, password, host, port, vhost].map(str::to_owned);
        Self {
            user,
            password,
            host,
            port,
            vhost,
        }
    }

    /// As the Node.js agent knew them.
    fn variables(&self) -> [(String, String); 5] {
        [
            ("AMQP_HOST", &self.host),
            ("AMQP_PORT", &self.port),
            ("AMQP_LOGIN", &self.user),
            ("AMQP_PASSWORD", &self.password),
            ("AMQP_VHOST", &self.vhost),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
    }
}

/// A setup whose agent sees the file `text` in place of `target`. `None` where that is not allowed.
fn seeing(text: &str, target: &str) -> Option<Setup> {
    if !is_root() || !runs(&["unshare", "--mount"], &["true"]) {
        return None;
    }
    let bind = format!(
        "printf %s \"$UR_TEST_TEXT\" >\"$UR_TEST_DIR/bound\" && unset UR_TEST_TEXT && \
         mount --bind \"$UR_TEST_DIR/bound\" {target} && exec \"$@\""
    );
    let wrapper = ["unshare", "--mount", "sh", "-c", &bind, "sh"];
    Some(Setup {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        env: vec![("UR_TEST_TEXT".to_owned(), text.to_owned())],
        ..Setup::default()
    })
}

#[test]
fn a_flag_names_the_broker() {
    let vhost = Vhost::new();
    let setup = Setup::args(&["--amqp-url", &vhost.url]);
    finds(vhost, setup, "--amqp-url or UR_AMQP_URL");
}

#[test]
fn the_environment_names_the_broker_and_comes_before_the_config_file() {
    let vhost = Vhost::new();
    let setup = Setup {
        env: vec![("UR_AMQP_URL".to_owned(), vhost.url.clone())],
        config: "UR_AMQP_URL=amqp://127.0.0.1:1\n".to_owned(),
        ..Setup::default()
    };
    finds(vhost, setup, "--amqp-url or UR_AMQP_URL");
}

#[test]
fn the_variables_of_the_nodejs_agent_name_the_broker() {
    let vhost = Vhost::new();
    let setup = Setup {
        env: Parts::of(&vhost.url).variables().to_vec(),
        ..Setup::default()
    };
    finds(vhost, setup, "AMQP_HOST in the environment");
}

#[test]
fn the_config_file_names_the_broker_by_a_url_or_in_parts() {
    let vhost = Vhost::new();
    let setup = Setup {
        config: format!("# the headnode\nUR_AMQP_URL={}\n", vhost.url),
        ..Setup::default()
    };
    finds(vhost, setup, "the config file");
    let vhost = Vhost::new();
    let parts = Parts::of(&vhost.url).variables();
    let lines = parts.map(|(name, value)| format!("{name}={value}\n"));
    let setup = Setup {
        config: lines.concat(),
        ..Setup::default()
    };
    finds(vhost, setup, "the config file");
}

#[test]
fn a_broker_url_that_is_wrong_is_told_without_its_password() {
    let mut agent = Agent::start("n1", "https://u:s3cr3t@head", Setup::default());
    wait_until("it says so twice", || {
        agent.log().matches("not a broker URL").count() > 1
    });
    assert!(!agent.has_ended());
    assert!(!agent.log().contains("s3cr3t"));
}

#[test]
fn the_kernel_command_line_names_the_broker() {
    let vhost = Vhost::new();
    let Some(setup) = seeing(&format!("quiet ur.amqp={}\n", vhost.url), "/proc/cmdline") else {
        return eprintln!("skipped: only root can show an agent another /proc/cmdline");
    };
    finds(vhost, setup, "ur.amqp on the kernel command line");
}

#[test]
fn the_kernel_command_line_of_triton_names_the_broker() {
    let Some(vhost) = Vhost::root() else {
        return eprintln!("skipped: the broker's virtual host / is not the one to be used");
    };
    let parts = Parts::of(&vhost.url);
    let word = [parts.user, parts.password, parts.host, parts.port].join(":");
    let Some(setup) = seeing(&format!("rabbitmq={word} quiet\n"), "/proc/cmdline") else {
        return eprintln!("skipped: only root can show an agent another /proc/cmdline");
    };
    finds(vhost, setup, "rabbitmq on the kernel command line");
}

#[test]
fn dns_names_the_broker_by_its_srv_record() {
    let Some(vhost) = Vhost::root() else {
        return eprintln!("skipped: the broker's virtual host / is not the one to be used");
    };
    let parts = Parts::of(&vhost.url);
    if (parts.user.as_str(), parts.password.as_str()) != ("guest", "guest") {
        return eprintln!("skipped: with DNS the agent is always guest");
    }
    // An address that is on loopback and nobody's name server.
    let address = Ipv4Addr::new(127, 53, 0, fastrand::u8(1..255));
    let resolver = format!("search ur.test\nnameserver {address}\n");
    let (Some(setup), Ok(socket)) = (
        seeing(&resolver, "/etc/resolv.conf"),
        UdpSocket::bind((address, 53)),
    ) else {
        return eprintln!("skipped: only root can be a name server");
    };
    let port = parts.port.parse().unwrap();
    std::thread::spawn(move || answer_srv(&socket, &parts.host, port));
    finds(vhost, setup, "DNS SRV");
}

/// A name server that knows one record, for as long as this process lives.
fn answer_srv(socket: &UdpSocket, target: &str, port: u16) {
    let mut buffer = [0; 512];
    loop {
        let (len, asker) = socket.recv_from(&mut buffer).expect("a query");
        let query = Packet::parse(&buffer[..len]).expect("a query");
        let mut reply = Packet::new_reply(query.id());
        let name = Name::new("_amqp._tcp.ur.test").expect("a name");
        if query
            .questions
            .iter()
            .any(|question| question.qname == name)
        {
            let srv = SRV {
                priority: 10,
                weight: 0,
                port,
                target: Name::new(target).expect("a name"),
            };
            let record = ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv));
            reply.answers.push(record);
        }
        let bytes = reply.build_bytes_vec().expect("a short packet");
        socket.send_to(&bytes, asker).expect("an asker");
    }
}
