//! TLS to the broker: the data centre's own CA, a client certificate, and errors that say which certificate is wrong,
//! and how. TLS 1.2 and 1.3; the certificate must be for the host that the URL names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow, bail};
use jiff::Timestamp;
use lapin::ErrorKind;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, PeerIncompatible,
    RootCertStore,
};

use crate::clock::synchronized_now;

/// Where the CA's certificate is, unless something else is said.
const CA_FILE: &str = "/etc/ur/ca.pem";

/// PEM files: who is believed to be the broker, and as whom we log in. They are read at each connection, so that a new
/// certificate takes the place of one that is about to expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of CAs; without it, `/etc/ur/ca.pem`.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and what leads from it to a CA that the broker knows.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    fn ca(&self) -> &Path {
        self.ca.as_deref().unwrap_or(Path::new(CA_FILE))
    }

    /// Read before anything is sent.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let reading = || format!("reading the private key {}", key.display());
                let der = PrivateKeyDer::from_pem_file(key).with_context(reading)?;
                config
                    .with_client_auth_cert(certificates(certificate)?, der)
                    .with_context(|| {
                        format!("using {} with {}", certificate.display(), key.display())
                    })?
            }
            _ => bail!(
                "a client certificate is two files: give both --cert-file and --key-file, or neither"
            ),
        };
        // Each connection has a configuration of its own, which forgets whatever it would remember.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let ca = certificates(self.ca()).context(
            "a broker's certificate is checked against the data centre's CA: --ca-file names it",
        )?;
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            let taken = roots.add(certificate);
            taken.with_context(|| format!("reading {}", self.ca().display()))?;
        }
        Ok(roots)
    }

    /// Speaks TLS from here on.
    pub(crate) async fn handshake(
        &self,
        config: ClientConfig,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.context("the host in the URL is neither a name nor an address")?;
        let connector = TlsConnector::from(Arc::new(config));
        let connecting = connector.connect(name, stream).await;
        connecting.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                Error::new(error).context("the server ended the TLS handshake without a reason: does it speak TLS at this port?")
            }
            _ => self.explain(error),
        })
    }

    /// The same error, in words that say what to look at.
    fn explain(&self, error: io::Error) -> Error {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        match cause.map(|cause| self.explanation(cause)) {
            Some(text) => anyhow!(text),
            None => error.into(),
        }
    }

    /// An error of the AMQP handshake. With TLS 1.3, the broker's no to our certificate comes only then.
    pub(crate) fn explain_late(&self, error: lapin::Error) -> Error {
        let ErrorKind::IOError(cause) = error.kind() else {
            return error.into();
        };
        let tls = cause.get_ref().and_then(|inner| inner.downcast_ref());
        match tls.map(|cause| self.explanation(cause)) {
            Some(text) => anyhow!(text),
            // It may have closed before we had read its alert.
            None if self.certificate.is_none() => Error::from(error).context(
                "the broker ended the connection before the log-in: it may want a client certificate, --cert-file and --key-file",
            ),
            None => error.into(),
        }
    }

    fn explanation(&self, error: &TlsError) -> String {
        match error {
            TlsError::InvalidCertificate(error) => self.certificate_explanation(error),
            TlsError::InvalidMessage(_) => "the server's answer is not TLS: amqps:// needs a port that speaks it, 5671 by default".to_owned(),
            TlsError::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            )
            | TlsError::AlertReceived(AlertDescription::ProtocolVersion) => {
                "the broker speaks neither TLS 1.2 nor TLS 1.3".to_owned()
            }
            TlsError::AlertReceived(alert) => match &self.certificate {
                Some(path) => format!(
                    "the broker refused our certificate, {}, or the connection: TLS alert {alert:?}",
                    path.display()
                ),
                None => format!(
                    "the broker refused the connection: TLS alert {alert:?}; it may want a client certificate, --cert-file and --key-file"
                ),
            },
            other => other.to_string(),
        }
    }

    fn certificate_explanation(&self, error: &CertificateError) -> String {
        match error {
            CertificateError::NotValidForNameContext { expected, presented } => {
                let expected = expected.to_str();
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                let names = match names.is_empty() {
                    true => "no name (only subjectAltName counts)".to_owned(),
                    false => names.join(", "),
                };
                format!("the broker's certificate is not for {expected}, as the URL has it, but for {names}")
            }
            CertificateError::ExpiredContext { time, not_after } => format!(
                "the broker's certificate expired at {}; here it is {}",
                shown(*not_after),
                here(*time)
            ),
            CertificateError::NotValidYetContext { time, not_before } => format!(
                "the broker's certificate is not valid before {}; here it is {}",
                shown(*not_before),
                here(*time)
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the broker's certificate is not from a CA in {}",
                self.ca().display()
            ),
            // The usual outcome of one command of openssl instead of two.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the broker's certificate is a CA's own: a broker needs one that a CA has signed, with CA:FALSE or without basicConstraints".to_owned()
            }
            other => format!("the broker's certificate is not accepted: {other}"),
        }
    }
}

/// All certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading certificates from {}", path.display());
    let found = CertificateDer::pem_file_iter(path).with_context(reading)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().with_context(reading)?;
    match found.is_empty() {
        true => bail!("{} has no certificate in PEM format", path.display()),
        false => Ok(found),
    }
}

/// The name in `DnsName("headnode")`.
fn bare(name: &str) -> String {
    let (_, name) = name.split_once('(').unwrap_or(("", name));
    let name = name.trim_end_matches(')').trim_matches('"');
    name.escape_debug().to_string()
}

fn shown(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).ok();
    let time = second.and_then(|second| Timestamp::from_second(second).ok());
    time.map_or_else(|| "no time".to_owned(), |time| time.to_string())
}

/// The time by this machine's clock, and whether it can be right.
fn here(time: UnixTime) -> String {
    match synchronized_now() {
        Some(_) => format!("{}, by a synchronized clock", shown(time)),
        None => format!("{}, by a clock that nothing has synchronized", shown(time)),
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
