//! TLS to a RabbitMQ that is set up by the commands and settings of docs/operating.md.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::budget;
use crate::support::agent::{Agent, Setup};
use crate::support::broker::PrivateBroker;
use crate::support::client::Client;
use crate::support::operator::{Said, Ur};
use crate::support::{Node, runs, script, wait_until, wait_until_bound};

/// The lines of the page's section that stand apart, for this machine.
fn section(title: &str) -> String {
    let page = fs::read_to_string("../docs/operating.md").expect("the page");
    let (_, section) = page.split_once(&format!("\n## {title}\n")).expect(title);
    let section = section.split("\n## ").next().expect("a text");
    let apart = section.lines().filter_map(|line| line.strip_prefix("    "));
    let text = apart.collect::<Vec<_>>().join("\n");
    // A user that is there without being made.
    text.replace("192.0.2.1", "127.0.0.1")
        .replace("ur-node", "guest")
}

fn temporary_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn write(path: &Path, text: &str) {
    let mut file = File::create(path).expect("a file");
    file.write_all(text.as_bytes()).expect("writing a file");
}

/// A port that no outgoing connection is given between stop and start.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(12_000..20_000));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a port")
}

/// A folder with certificates, and a broker that has them.
struct Tls {
    broker: PrivateBroker,
    certificates: TempDir,
    port: u16,
}

impl Tls {
    fn start() -> Self {
        let (certificates, dir) = (temporary_dir(), temporary_dir());
        let own = certificates.path().to_str().expect("a path that is text");
        let text = section("TLS");
        let (commands, settings): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| !line.contains(" = "));
        let openssl = commands.join("\n");
        let openssl = openssl
            .split("\nrabbitmq-plugins")
            .next()
            .expect("commands");
        let made = runs(
            &[
                "sh",
                "-ec",
                &format!("cd {own}; {{ {openssl}\n}} 2>openssl.log"),
            ],
            &[],
        );
        assert!(made, "{openssl}");
        let port = free_port();
        let settings = settings
            .join("\n")
            .replace("/etc/rabbitmq", own)
            .replace("= 5671", &format!("= 127.0.0.1:{port}"));
        fs::create_dir(dir.path().join("conf.d")).expect("a folder");
        write(&dir.path().join("conf.d/tls.conf"), &settings);
        write(
            &dir.path().join("enabled_plugins"),
            "[rabbitmq_auth_mechanism_ssl].\n",
        );
        Self {
            broker: PrivateBroker::start_in(dir),
            certificates,
            port,
        }
    }

    fn file(&self, name: &str) -> String {
        let path = self.certificates.path().join(name);
        path.to_str().expect("a path that is text").to_owned()
    }

    fn url(&self, host: &str) -> String {
        format!("amqps://{host}:{}", self.port)
    }

    fn certificate(&self) -> [String; 4] {
        let (certificate, key) = (self.file("node.pem"), self.file("node.key"));
        [
            "--cert-file".to_owned(),
            certificate,
            "--key-file".to_owned(),
            key,
        ]
    }

    /// What `ur` says of a broker whose certificate should be from `ca`.
    fn ur(&self, url: &str, ca: &str, more: &[String]) -> Said {
        let state = temporary_dir();
        let ca = self.file(ca);
        let mut args = vec!["nodes", "--ca-file", &ca];
        args.extend(more.iter().map(String::as_str));
        Ur::start(url, state.path(), &args).end()
    }
}

#[test]
fn agent_and_ur_speak_tls_with_a_broker_set_up_as_the_page_says_and_every_other_is_refused() {
    let tls = Tls::start();
    let uuid = uuid::Uuid::new_v4().to_string();
    let mut setup = Setup::args(&["--ca-file", &tls.file("ca.pem")]);
    setup.args.extend(tls.certificate());
    let vhost = tls.broker.vhost();
    let client = Client::connect(&vhost.url, &uuid);
    let agent = Agent::start(&uuid, &tls.url("127.0.0.1"), setup);
    let mut node = Node {
        client,
        agent,
        vhost,
    };
    node.wait_until_announced();
    budget::hold_resident(&mut node);
    // More than one record of TLS, both ways.
    let long = format!(
        "echo {}; yes 0123456789abcde | head -c 1000000",
        "x".repeat(40_000)
    );
    let reply = node.ask(&script(&long));
    assert_eq!(reply["stdout"].as_str().map(str::len), Some(1_040_001));
    ur_is_let_in_or_told(&tls, &uuid);

    tls.broker.again("restart");
    node.client = Client::connect(&node.vhost.url, &uuid);
    wait_until_bound(&node.client);
    assert_eq!(node.shell("echo again"), "again\n");
    let log = node.agent.log();
    assert!(log.contains("connection lost"), "{log}");
    assert!(!log.contains("no TLS"), "{log}");
}

fn ur_is_let_in_or_told(tls: &Tls, uuid: &str) {
    let (here, certificate) = (tls.url("127.0.0.1"), tls.certificate());
    // By the certificate's name, and by a password.
    tls.ur(&here, "ca.pem", &certificate).is(0, &[uuid]);
    let password = here.replace("://", "://guest:guest@");
    tls.ur(&password, "ca.pem", &certificate).is(0, &[uuid]);
    let wrong = here.replace("://", "://guest:wrong@");
    tls.ur(&wrong, "ca.pem", &certificate)
        .is(1, &["ACCESS_REFUSED"]);

    let none = tls.ur(&password, "ca.pem", &[]);
    none.is(1, &["connecting to amqps://guest@", "client certificate"]);
    let other_ca = tls.ur(&here, "node.pem", &certificate);
    other_ca.is(1, &["is not from a CA in", "node.pem"]);
    let other_name = tls.ur(&tls.url("localhost"), "ca.pem", &certificate);
    other_name.is(1, &["not for localhost", "127.0.0.1", "headnode"]);

    let plain = format!("amqp://guest:guest@127.0.0.1:{}", tls.port);
    tls.ur(&plain, "ca.pem", &[])
        .is(1, &["begins with amqps://"]);
    let without = tls.broker.vhost().url.replace("amqp://", "amqps://");
    tls.ur(&without, "ca.pem", &[]).is(1, &["is not TLS"]);
    let old = OldServer::start(tls);
    let url = format!("amqps://guest:guest@127.0.0.1:{}", old.port);
    tls.ur(&url, "ca.pem", &[])
        .is(1, &["neither TLS 1.2 nor TLS 1.3"]);
}

/// A server of TLS 1.1.
struct OldServer {
    child: Child,
    port: u16,
}

impl OldServer {
    fn start(tls: &Tls) -> Self {
        let port = free_port();
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-tls1_1",
                "-cipher",
                "DEFAULT@SECLEVEL=0",
            ])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .args([
                "-cert",
                &tls.file("broker.pem"),
                "-key",
                &tls.file("broker.key"),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        wait_until("openssl listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { child, port }
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn an_agent_that_is_to_speak_amqp_over_a_network_warns_once_and_its_check_says_so() {
    // It is not one of loopback, and is refused at once.
    let url = "amqp://u:p@0.0.0.0:1";
    let agent = Agent::start("n1", url, Setup::default());
    let warnings = || agent.log().matches("no TLS: ").count();
    wait_until("it warns", || warnings() == 1);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut check = Command::new(ur_tests::program("ur-agent"))
        .args(["check", "--state-dir"])
        .arg(agent.dir().join("other"))
        .arg("--sysinfo")
        .arg(agent.dir().join("sysinfo"))
        .env("UR_AMQP_URL", url)
        .stdout(log.reopen().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("ur-agent");
    assert!(!check.wait().unwrap().success());
    let said = fs::read_to_string(log.path()).unwrap();
    assert!(
        said.contains("warning   no TLS to amqp://u@0.0.0.0:1: ") && said.contains("amqps://"),
        "{said}"
    );
    assert_eq!(warnings(), 1);
}
