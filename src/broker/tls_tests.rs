//! TLS without a broker: certificates that openssl makes, clocks of any year, and servers that are something else.

use std::fs;
use std::future::Future;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;

use super::*;
use crate::{Broker, Url, error_chain};

/// Seconds of a day in a year that a clock may show.
const YEAR_1970: u64 = 86_400;
const YEAR_2100: u64 = 130 * 365 * 86_400;

/// A CA and the certificate of a broker that is called headnode, both for ten days from now.
fn certificates_of_today() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let commands = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj /CN=ca -keyout ca.key -out ca.pem &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj /CN=ca -keyout x.key -out other-ca.pem &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=headnode \
          -addext subjectAltName=DNS:headnode,IP:192.0.2.1 -keyout broker.key -out broker.csr &&
        openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days 10 -out broker.pem";
    let shell = Command::new("sh")
        .args(["-c", &format!("{{ {commands}; }} 2>openssl.log")])
        .current_dir(dir.path())
        .status();
    let log = fs::read_to_string(dir.path().join("openssl.log")).unwrap();
    assert!(shell.unwrap().success(), "{log}");
    dir
}

fn now() -> u64 {
    UnixTime::now().as_secs()
}

/// What is said of a broker's certificate in a year.
fn verdict(dir: &TempDir, (ca, certificate): (&str, &str), host: &str, second: u64) -> String {
    let files = TlsFiles {
        ca: Some(dir.path().join(ca)),
        ..TlsFiles::default()
    };
    let provider = Arc::new(ring::default_provider());
    let roots = Arc::new(files.roots().unwrap());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let shown = certificates(&dir.path().join(certificate)).unwrap();
    let name = ServerName::try_from(host).unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(second));
    match verifier
        .unwrap()
        .verify_server_cert(&shown[0], &[], &name, &[], time)
    {
        Ok(_) => "accepted".to_owned(),
        Err(error) => files.explanation(&error),
    }
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn a_certificate_is_for_this_name_from_this_ca_at_this_time_or_the_error_says_what_is_wrong() {
    let dir = certificates_of_today();
    let ours = ("ca.pem", "broker.pem");
    assert_eq!(verdict(&dir, ours, "headnode", now()), "accepted");
    assert_eq!(verdict(&dir, ours, "192.0.2.1", now()), "accepted");
    let year = Timestamp::now().to_string();
    let year = year.split('-').next().unwrap();

    let other = verdict(&dir, ours, "head2", now());
    says(&other, &["not for head2,", "but for headnode, 192.0.2.1"]);
    let early = verdict(&dir, ours, "headnode", YEAR_1970);
    says(
        &early,
        &["not valid before 2", year, "here it is 1970-01-02"],
    );
    let late = verdict(&dir, ours, "headnode", YEAR_2100);
    says(&late, &["expired at 2", "here it is 2099-"]);
    let other_ca = verdict(&dir, ("other-ca.pem", "broker.pem"), "headnode", now());
    says(&other_ca, &["not from a CA in", "other-ca.pem"]);
    let own = verdict(&dir, ("ca.pem", "ca.pem"), "headnode", now());
    says(&own, &["a CA's own"]);
}

#[test]
fn files_that_are_missing_or_something_else_are_named() {
    let dir = certificates_of_today();
    let path = |name: &str| Some(dir.path().join(name));
    let error = |ca, certificate, key| {
        let files = TlsFiles {
            ca,
            certificate,
            key,
        };
        error_chain(&files.config().unwrap_err())
    };
    says(&error(path("no.pem"), None, None), &["--ca-file", "no.pem"]);
    let key = error(path("ca.key"), None, None);
    says(&key, &["ca.key has no certificate"]);
    let half = error(path("ca.pem"), path("broker.pem"), None);
    says(&half, &["both --cert-file and --key-file"]);
    let swapped = error(path("ca.pem"), path("broker.pem"), path("broker.pem"));
    says(&swapped, &["private key", "broker.pem"]);
    let mixed = error(path("ca.pem"), path("broker.pem"), path("ca.key"));
    says(&mixed, &["broker.pem with", "ca.key"]);
    let fits = TlsFiles {
        ca: path("ca.pem"),
        certificate: path("broker.pem"),
        key: path("broker.key"),
    };
    assert!(fits.config().is_ok());
}

/// What a connection to a server says that reads a little, answers with `answer` and hangs up; and what it read.
fn meets(scheme: &str, answer: &'static [u8]) -> (String, Vec<u8>) {
    let dir = certificates_of_today();
    let tls = TlsFiles {
        ca: Some(dir.path().join("ca.pem")),
        ..TlsFiles::default()
    };
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 4096];
            let len = stream.read(&mut read).await.unwrap();
            read.truncate(len);
            stream.write_all(answer).await.unwrap();
            read
        };
        let url: Url = format!("{scheme}://u:hush@{address}").parse().unwrap();
        let url = url.with_tls(&tls);
        let (read, connected) = tokio::join!(server, Broker::connect(&url, "test"));
        let error = connected.err().expect("it is no broker");
        (error_chain(&error), read)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn amqps_begins_with_tls_and_shows_no_password_to_a_server_that_has_none() {
    // RabbitMQ's answer to what is not AMQP.
    let (error, read) = meets("amqps", b"AMQP\x00\x00\x09\x01");
    says(
        &error,
        &["connecting to amqps://u@127", "is not TLS", "5671"],
    );
    assert_eq!(read[0], 0x16, "{read:?}");
    assert!(
        !read
            .windows(4)
            .any(|window| window == b"hush" || window == b"AMQP")
    );
    says(&meets("amqps", b"").0, &["does it speak TLS"]);
}

#[test]
fn a_server_without_tls_1_2_and_1_3_is_told() {
    // A fatal alert, "protocol version", as a server of TLS 1.1 sends it.
    let (error, _) = meets("amqps", &[21, 3, 2, 0, 2, 2, 70]);
    says(&error, &["neither TLS 1.2 nor TLS 1.3"]);
}

#[test]
fn plain_amqp_at_a_port_of_tls_is_told() {
    for answer in [&[21, 3, 3, 0, 2, 2, 10][..], b""] {
        let (error, read) = meets("amqp", answer);
        says(&error, &["begins with amqps://"]);
        assert_eq!(read, b"AMQP\x00\x00\x09\x01");
    }
}

#[test]
fn a_url_without_a_user_wants_a_certificate_to_log_in_with() {
    let url: Url = "amqps://127.0.0.1:1".parse().unwrap();
    let error = block_on(Broker::connect(&url, "test")).err().unwrap();
    says(&error_chain(&error), &["client certificate", "--cert-file"]);
}
