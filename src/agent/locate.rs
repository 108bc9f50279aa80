//! Location of the broker; the first match wins: `--amqp-url`, `--amqp-url-file` or their environment, Ur's
//! `AMQP_*` environment, the config file, the kernel command line, DNS SRV.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, Question, TYPE};

use broker::{TlsFiles, Url};
use protocol::without_byte_order_mark;

use super::args::AgentArgs;
use super::settings_file;

const DNS_LIMIT: Duration = Duration::from_secs(2);

/// Brokers to try in turn, and who named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerUrls {
    pub urls: Vec<Url>,
    pub source: &'static str,
}

/// Looks everywhere, anew each time: at boot the network and DNS may come later than we do.
pub(super) fn locate(args: &AgentArgs) -> Result<BrokerUrls> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let tls = tls_files(args, &command_line);
    let BrokerUrls { urls, source } = locate_urls(args, &command_line)?;
    let urls = urls.into_iter().map(|url| url.with_tls(&tls)).collect();
    Ok(BrokerUrls { urls, source })
}

/// What is not given may stand on the kernel command line, the only place where a ramdisk is told anything.
fn tls_files(args: &AgentArgs, command_line: &str) -> TlsFiles {
    let file = |given: &Option<PathBuf>, name| {
        let told = || argument(command_line, name).map(PathBuf::from);
        given.clone().or_else(told)
    };
    TlsFiles {
        ca: file(&args.ca_file, "ur.ca"),
        certificate: file(&args.cert_file, "ur.cert"),
        key: file(&args.key_file, "ur.key"),
    }
}

fn locate_urls(args: &AgentArgs, command_line: &str) -> Result<BrokerUrls> {
    if let Some(urls) = &args.amqp_url {
        return found("--amqp-url or UR_AMQP_URL", urls);
    }
    if let Some(path) = &args.amqp_url_file {
        return Ok(BrokerUrls {
            urls: Url::list_in_file(path)?,
            source: "--amqp-url-file or UR_AMQP_URL_FILE",
        });
    }
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(url) = from_parts(&environment)? {
        return Ok(one("AMQP_HOST in the environment", url));
    }
    if let Some(found) = in_config(&args.config)? {
        return Ok(found);
    }
    if let Some(found) = in_command_line(command_line)? {
        return Ok(found);
    }
    let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
    let (urls, failure) = in_dns(&resolv, srv)?;
    if urls.is_empty() {
        bail!(
            "no broker is named: give --amqp-url, --amqp-url-file, UR_AMQP_URL, AMQP_HOST, {}, ur.amqp= on \
             the kernel command line, or an _amqp._tcp SRV record in the search domain{failure}",
            args.config.display()
        );
    }
    Ok(BrokerUrls {
        urls,
        source: "DNS SRV",
    })
}

fn one(source: &'static str, url: Url) -> BrokerUrls {
    BrokerUrls {
        urls: vec![url],
        source,
    }
}

fn found(source: &'static str, urls: &str) -> Result<BrokerUrls> {
    let urls = Url::list(urls).with_context(|| format!("reading {source}"))?;
    Ok(BrokerUrls { urls, source })
}

/// The names that the Node.js agent read.
fn from_parts(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Url>> {
    let Some(host) = get("AMQP_HOST") else {
        return Ok(None);
    };
    let port = match get("AMQP_PORT") {
        Some(port) => port
            .parse()
            .with_context(|| format!("reading AMQP_PORT {port:?}: not a port"))?,
        None => 5672,
    };
    let guest = || "guest".to_owned();
    let user = get("AMQP_LOGIN").unwrap_or_else(guest);
    let password = get("AMQP_PASSWORD").unwrap_or_else(guest);
    let vhost = get("AMQP_VHOST").unwrap_or_else(|| "/".to_owned());
    Ok(Some(
        Url::of(&host, port, &user, &password).with_vhost(&vhost),
    ))
}

fn in_config(path: &Path) -> Result<Option<BrokerUrls>> {
    let reading = || format!("reading {}", path.display());
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(reading)?,
    };
    let source = match without_byte_order_mark(&text).len() < text.len() {
        true => "the config file, whose byte order mark is ignored",
        false => "the config file",
    };
    let mut values = settings_file::settings(&text).with_context(reading)?;
    // As in the environment: what has no value is not set.
    values.retain(|_, value| !value.is_empty());
    if let Some(urls) = values.get("UR_AMQP_URL") {
        return found(source, urls).map(Some);
    }
    let url = from_parts(&|name| values.get(name).cloned()).with_context(reading)?;
    Ok(url.map(|url| one(source, url)))
}

/// The value of the kernel argument `name=value`.
fn argument<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = command_line.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn in_command_line(text: &str) -> Result<Option<BrokerUrls>> {
    let value = |name: &str| argument(text, name);
    if let Some(urls) = value("ur.amqp") {
        return found("ur.amqp on the kernel command line", urls).map(Some);
    }
    let Some(triton) = value("rabbitmq") else {
        return Ok(None);
    };
    let parts: Vec<&str> = triton.split(':').collect();
    let [user, password, host, port] = parts.as_slice() else {
        bail!("rabbitmq= on the kernel command line is not user:password:host:port");
    };
    let port = port
        .parse()
        .context("reading the port of rabbitmq= on the kernel command line")?;
    let url = Url::of(host, port, user, password);
    Ok(Some(one("rabbitmq on the kernel command line", url)))
}

/// Asks the configured name servers for `_amqp._tcp.<search domain>`. No record is no error. With the last failure, to
/// be told where none has a record.
fn in_dns(
    resolv_conf: &[u8],
    ask: impl Fn(SocketAddr, &str) -> Result<Vec<Url>>,
) -> Result<(Vec<Url>, String)> {
    let mut failure = String::new();
    let config = resolv_conf::Config::parse(resolv_conf)
        .map_err(|error| anyhow!("reading /etc/resolv.conf: {error}"))?;
    let domains: Vec<String> = config.get_last_search_or_domain().cloned().collect();
    for domain in domains {
        for server in &config.nameservers {
            let server: IpAddr = server.into();
            let name = format!("_amqp._tcp.{domain}");
            match ask(SocketAddr::new(server, 53), &name) {
                Ok(urls) if !urls.is_empty() => return Ok((urls, failure)),
                Ok(_) => {}
                Err(error) => failure = format!("; asking {server} for {name}: {error:#}"),
            }
        }
    }
    Ok((Vec::new(), failure))
}

fn srv(server: SocketAddr, name: &str) -> Result<Vec<Url>> {
    let id = fastrand::u16(..);
    let mut query = Packet::new_query(id);
    query.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    query.questions.push(Question::new(
        Name::new(name)?,
        TYPE::SRV.into(),
        CLASS::IN.into(),
        false,
    ));
    let any: SocketAddr = match server.is_ipv4() {
        true => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(DNS_LIMIT))?;
    socket.connect(server)?;
    socket.send(&query.build_bytes_vec()?)?;
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer)?;
    let (answer, _) = buffer.split_at(len);
    let answer = Packet::parse(answer)?;
    if answer.id() != id {
        bail!("the answer is to another question");
    }
    Ok(in_order(&answer))
}

/// By priority, the lowest first; within one by weight, the heaviest first.
fn in_order(answer: &Packet) -> Vec<Url> {
    let mut records: Vec<(u16, u16, String, u16)> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) => Some((srv.priority, srv.weight, srv.target.to_string(), srv.port)),
            _ => None,
        })
        .collect();
    records.sort_by_key(|(priority, weight, _, _)| (*priority, u16::MAX - weight));
    let url = |(_, _, host, port): (u16, u16, String, u16)| Url::of(&host, port, "guest", "guest");
    records.into_iter().map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};
    use proptest::sample::Index;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;

    fn shown(found: Option<BrokerUrls>) -> Vec<String> {
        let urls = found.unwrap().urls;
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_told_where_no_other_has_a_record() {
        let conf = b"search dc1.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n";
        let silent = |server: SocketAddr| server.ip().to_string() == "192.0.2.1";
        let asked = |records: Vec<Url>| {
            in_dns(conf, move |server, _| match silent(server) {
                true => bail!("timeout"),
                false => Ok(records.clone()),
            })
        };
        let (urls, failure) = asked(Vec::new()).unwrap();
        assert!(urls.is_empty());
        assert_eq!(
            failure,
            "; asking 192.0.2.1 for _amqp._tcp.dc1.example: timeout"
        );
        let url = Url::of("mq", 5672, "guest", "guest");
        assert_eq!(asked(vec![url]).unwrap().0.len(), 1);
    }

    #[test]
    fn the_kernel_command_line_names_a_broker_in_our_way_or_in_tritons() {
        let ours = in_command_line("quiet ur.amqp=amqp://u:p@a,amqp://u:p@b:5673 rabbitmq=x:x:x:1");
        assert_eq!(shown(ours.unwrap()), ["amqp://u@a:5672", "amqp://u@b:5673"]);
        let triton = in_command_line("console=ttyS0 rabbitmq=guest:pw:10.0.0.2:5672\n");
        assert_eq!(shown(triton.unwrap()), ["amqp://guest@10.0.0.2:5672"]);
        assert_eq!(in_command_line("quiet splash").unwrap(), None);
        let tls = in_command_line("ur.ca=/dc1.pem ur.amqp=amqps://a,amqps://u:p@b/v");
        assert_eq!(
            shown(tls.unwrap()),
            ["amqps://a:5671", "amqps://u@b:5671/v"]
        );
        let error = in_command_line("rabbitmq=secret").unwrap_err().to_string();
        assert!(error.contains("user:password:host:port") && !error.contains("secret"));
    }

    #[test]
    fn the_kernel_command_line_names_the_files_of_tls_that_no_flag_names() {
        let line = "quiet ur.ca=/a/ca.pem ur.cert=/a/cert.pem ur.key=/a/key.pem";
        let given = |args: &[&str]| {
            let args = ["ur-agent"].iter().chain(args);
            let files = tls_files(&Cli::parse_from(args).args, line);
            [files.ca, files.certificate, files.key]
                .map(|path| path.unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(given(&[]), ["/a/ca.pem", "/a/cert.pem", "/a/key.pem"]);
        let ours = ["--ca-file", "/b.pem", "--key-file", "/b.key"];
        assert_eq!(given(&ours), ["/b.pem", "/a/cert.pem", "/b.key"]);
    }

    #[test]
    fn a_config_file_names_a_broker_and_a_bad_one_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.conf");
        assert_eq!(in_config(&path).unwrap(), None);
        let write = |text: &str| {
            std::io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes())
                .unwrap();
        };
        write("# broker\nAMQP_HOST=h\nAMQP_PORT=5673\nAMQP_LOGIN=u\nAMQP_PASSWORD=secret\n");
        assert_eq!(shown(in_config(&path).unwrap()), ["amqp://u@h:5673"]);
        write("UR_AMQP_URL=\nAMQP_HOST=h\nAMQP_PORT=\nAMQP_LOGIN=''\nAMQP_VHOST=\n");
        assert_eq!(shown(in_config(&path).unwrap()), ["amqp://guest@h:5672"]);
        write("\u{feff}AMQP_HOST=h\nAMQP_PASSWORD=pa$word1\n");
        let found = in_config(&path).unwrap().unwrap();
        assert!(found.source.contains("byte order mark"));
        assert_eq!(found.urls, [Url::of("h", 5672, "guest", "pa$word1")]);
        write("this is secret\n");
        assert!(!format!("{:#}", in_config(&path).unwrap_err()).contains("secret"));
    }

    #[test]
    fn srv_records_are_tried_by_priority_and_then_by_weight() {
        let mut answer = Packet::new_reply(1);
        for (priority, weight, host) in [(20, 0, "c"), (10, 1, "b"), (10, 5, "a")] {
            let target = Name::new_unchecked(host);
            let srv = SRV {
                priority,
                weight,
                port: 5672,
                target,
            };
            let name = Name::new_unchecked("_amqp._tcp.x");
            answer
                .answers
                .push(ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv)));
        }
        let hosts: Vec<String> = in_order(&answer).iter().map(ToString::to_string).collect();
        let expected = ["a", "b", "c"].map(|host| format!("amqp://guest@{host}:5672"));
        assert_eq!(hosts, expected);
    }

    proptest! {
        #[test]
        fn any_command_line_names_brokers_or_none_or_is_refused_without_its_password(
            text in "( |rabbitmq=|ur\\.amqp=|amqp://u:s3cr3t|u:s3cr3t:|[a-z]{1,3}|:|@h|:56|,|%2f|\\[|\\PC){0,9}"
        ) {
            if let Err(error) = in_command_line(&text) {
                prop_assert!(!format!("{error:#}").contains("s3cr3t"), "{:#}", error);
            }
        }

        #[test]
        fn any_config_file_names_brokers_or_none_or_is_refused_without_its_password(
            text in "(UR_AMQP_URL|AMQP_(HOST|PORT|PASSWORD)|=|'|\"|\\$|\\{|\\}|\\\\|#|\n| |export |s3cr3t|amqp://u:s3cr3t@h|7){0,12}"
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("agent.conf");
            std::io::Write::write_all(&mut fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
            // What stands in the place of a port is a port, and no secret.
            if let Err(error) = in_config(&path) {
                let said = format!("{error:#}");
                prop_assert!(!said.contains("s3cr3t") || said.contains("AMQP_PORT"), "{}", said);
            }
        }

        #[test]
        fn any_answer_of_a_name_server_is_understood_or_refused(
            spoilt in vec((any::<Index>(), any::<u8>()), 0..6), len in any::<Index>(), whole in any::<bool>()
        ) {
            let mut bytes = one_answer();
            for (at, byte) in spoilt {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if !whole {
                bytes.truncate(len.index(bytes.len()));
            }
            if let Ok(answer) = Packet::parse(&bytes) {
                prop_assert!(in_order(&answer).len() <= bytes.len());
            }
        }

        #[test]
        fn any_resolv_conf_is_understood_or_refused(
            text in "(search|nameserver|domain|options|sortlist| |\\t|\n|[a-z.]{1,9}|10\\.0\\.0\\.1|fe80::1%|/|#|;|ndots:|9|\\PC){0,12}"
        ) {
            if let Ok(config) = resolv_conf::Config::parse(text.as_bytes()) {
                prop_assert!(config.get_last_search_or_domain().count() <= text.len());
            }
        }
    }

    fn one_answer() -> Vec<u8> {
        let srv = SRV {
            priority: 10,
            weight: 5,
            port: 5672,
            target: Name::new_unchecked("a.b.example"),
        };
        let mut answer = Packet::new_reply(1);
        let name = Name::new_unchecked("_amqp._tcp.b.example");
        let record = ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(srv));
        answer.answers.extend([record.clone(), record]);
        answer.build_bytes_vec_compressed().unwrap()
    }
}
