//! Broker URLs: where a broker is and how to log in.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};

use crate::TlsFiles;

/// Asked of the broker, in seconds; a dead peer is noticed after two of them.
const HEARTBEAT: u16 = 30;
/// Bytes a frame. lapin holds two buffers of 32 frames, whose every page is touched in time: with the
/// usual 128 KiB they come to 8 MB.
const FRAME_MAX: u32 = 8_192;

/// Bytes of a line that names brokers.
const MAX_LINE: u64 = 64 * 1024;

/// Where a broker is and how to log in. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(crate) uri: AMQPUri,
    /// For `amqps://`.
    pub(crate) tls: TlsFiles,
}

impl FromStr for Url {
    type Err = anyhow::Error;

    /// The error never repeats the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self> {
        // Some of the parser's errors repeat it.
        let mut uri = AMQPUri::from_str(text).map_err(|_error| {
            anyhow!("not a broker URL: write amqp://user:password@host:port/vhost, with %40 for @, %2F for /, %3F for ?, %23 for # in a password")
        })?;
        // Else what follows the first of them would be shown, and looked up, as a host.
        if parts(text).is_some_and(|(_, after)| after.contains('@')) {
            bail!(
                "not a broker URL: there is an `@` after the first `/` or `?`. In a user, a password and a virtual host write %40 for @, %2F for /, %3F for ?, %23 for #, %25 for %"
            );
        }
        // Over TLS there is no guest: who is not named shows a certificate.
        if uri.scheme == AMQPScheme::AMQPS && !names_user(text) {
            uri.authority.userinfo.username.clear();
            uri.query.auth_mechanism = Some(SASLMechanism::External);
        }
        // The parser takes an IPv6 address for no host at all, and would connect to localhost.
        if let Some(address) = bracketed(text) {
            address.clone_into(&mut uri.authority.host);
        }
        // `amqp://host/` means the virtual host "" to the letter of the URI specification, and "/"
        // to the people who write it.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let tls = TlsFiles::default();
        Ok(Self { uri, tls })
    }
}

impl Url {
    /// From parts that were never one text.
    pub fn of(host: &str, port: u16, user: &str, password: &str) -> Self {
        let mut url = Self::from_str("amqp://localhost").expect("a constant that parses");
        host.clone_into(&mut url.uri.authority.host);
        url.uri.authority.port = port;
        user.clone_into(&mut url.uri.authority.userinfo.username);
        password.clone_into(&mut url.uri.authority.userinfo.password);
        url
    }

    pub fn with_vhost(mut self, vhost: &str) -> Self {
        vhost.clone_into(&mut self.uri.vhost);
        self
    }

    pub fn with_tls(mut self, tls: &TlsFiles) -> Self {
        self.tls = tls.clone();
        self
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// Whether passwords and scripts cross a network that others may listen to.
    pub fn is_plain_on_a_network(&self) -> bool {
        let host = self.uri.authority.host.as_str();
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost",
        };
        !self.is_tls() && !is_loopback
    }

    /// Host and port.
    pub(crate) fn address(&self) -> (&str, u16) {
        let authority = &self.uri.authority;
        (&authority.host, authority.port)
    }

    pub(crate) fn check_login(&self) -> Result<()> {
        let is_external = self.uri.query.auth_mechanism == Some(SASLMechanism::External);
        if is_external && self.tls.certificate.is_none() {
            bail!(
                "without a user in the URL the log-in is a client certificate: give --cert-file and --key-file, or amqps://user:password@host"
            );
        }
        Ok(())
    }

    /// Brokers to try in turn, from one text with commas between them.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(|url| url.trim().parse()).collect()
    }

    /// The same from the first line of a file, as systemd hands over a credential.
    pub fn list_in_file(path: &Path) -> Result<Vec<Self>> {
        let reading = || format!("reading the broker's URL from {}", path.display());
        let mut line = String::new();
        BufReader::new(File::open(path).with_context(reading)?)
            .take(MAX_LINE)
            .read_line(&mut line)
            .with_context(reading)?;
        // Some editors begin a file with a byte order mark.
        Self::list(line.trim_start_matches('\u{feff}').trim()).with_context(reading)
    }

    /// Whether `text`, a list of URLs, names a password: every user of the machine can read it where it
    /// is an argument.
    pub fn names_password(text: &str) -> bool {
        text.split(',').any(|url| {
            let userinfo = parts(url).and_then(|(authority, _)| authority.rsplit_once('@'));
            userinfo.is_some_and(|(userinfo, _)| userinfo.contains(':'))
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A host may be what a name server said: no control characters.
        let authority = &self.uri.authority;
        write!(f, "{}://", self.uri.scheme)?;
        match authority.userinfo.username.escape_debug() {
            user if user.clone().next().is_none() => {}
            user => write!(f, "{user}@")?,
        }
        write!(f, "{}:{}", authority.host.escape_debug(), authority.port)?;
        match self.uri.vhost.as_str() {
            "/" => Ok(()),
            vhost => write!(f, "/{}", vhost.escape_debug()),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// User, password, host and port, and what follows them.
fn parts(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

fn names_user(url: &str) -> bool {
    parts(url).is_some_and(|(authority, _)| authority.contains('@'))
}

/// The address in `amqp://user@[address]:port`.
fn bracketed(url: &str) -> Option<&str> {
    let (authority, _) = parts(url)?;
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    host.strip_prefix('[')?
        .split_once(']')
        .map(|(address, _)| address)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url: Url = "amqp://ur:secret@head:5673/dc1".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://ur@head:5673/dc1");
        assert_eq!(format!("{url:?}"), url.to_string());
        let url: Url = "amqp://head/".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://guest@head:5672");
        let url: Url = "amqp://u:p@[fd00::1]:5673/v".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://u@fd00::1:5673/v");
        let url: Url = "amqps://u:p@h/v".parse().unwrap();
        assert_eq!(url.to_string(), "amqps://u@h:5671/v");
        let url: Url = "amqps://h".parse().unwrap();
        assert_eq!(url.to_string(), "amqps://h:5671");
        let url = Url::of("h\u{1b}[2J", 1, "a\nb", "p");
        assert_eq!(url.to_string(), "amqp://a\\nb@h\\u{1b}[2J:1");
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for text in [
            "http://u:secret@h",
            "secret",
            "amqp://u:secret@h:port",
            "u:secret@h:5672",
        ] {
            let error = format!("{:#}", text.parse::<Url>().unwrap_err());
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_unescaped_password_is_no_host() {
        let error = "amqp://op:p@ss/w@rd@127.0.0.1".parse::<Url>().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("%40"), "{error}");
        assert!(!error.contains("ss/w"), "{error}");
        let escaped: Url = "amqp://op:p%40ss%2Fw%40rd@127.0.0.1/a%40b".parse().unwrap();
        assert_eq!(escaped.to_string(), "amqp://op@127.0.0.1:5672/a@b");
    }

    #[test]
    fn no_form_of_a_secret_is_shown_by_a_url_or_its_error() {
        for form in include_str!("../../tests/fixtures/secrets.tsv")
            .lines()
            .skip(1)
        {
            let (secret, _) = form.split_once('\t').unwrap_or((form, form));
            for word in secret.split(' ') {
                let text = word.strip_prefix("ur.amqp=").unwrap_or(word);
                let shown = match Url::list(text) {
                    Ok(urls) => format!("{urls:?}"),
                    Err(error) => format!("{error:#}"),
                };
                assert!(!shown.contains("hush"), "{text} is shown as {shown}");
            }
        }
    }

    #[test]
    fn a_file_names_brokers_in_its_first_line_and_its_error_names_the_file_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\u{feff}amqp://u:secret@a, amqp://b \nnot read").unwrap();
        let urls = Url::list_in_file(file.path()).unwrap();
        let shown: Vec<String> = urls.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["amqp://u@a:5672", "amqp://guest@b:5672"]);

        let mut bad = tempfile::NamedTempFile::new().unwrap();
        writeln!(bad, "secret").unwrap();
        for path in [bad.path(), Path::new("/nonexistent")] {
            let error = format!("{:#}", Url::list_in_file(path).unwrap_err());
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_seen_in_any_url_of_a_list() {
        assert!(Url::names_password("amqp://h,amqp://u:p@h/v"));
        assert!(Url::names_password("amqp://u:p@[fd00::1]:5673/v"));
        assert!(!Url::names_password("amqp://u@h:5672/a:b@c,amqp://h:5672"));
    }
}
