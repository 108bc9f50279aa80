//! `--amqp-url`, `--amqp-url-file`, `--ca-file` …: which broker, and the connection to it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use broker::{TlsFiles, Url, error_chain};
use clap::Args;

use super::COMMON;
use crate::exit::Usage;
use crate::stderr::tell;
use client::Client;

const DEFAULT_URL: &str = "amqp://guest:guest@localhost:5672";
const AMQP_URL_HELP: &str = "RabbitMQ; URLs with commas are tried in turn\n\
     [env: UR_AMQP_URL]\n[default: amqp://guest:guest@localhost:5672]";

// What is typed comes before the environment. Not a doc comment: that would be the help of every command.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    // Not a doc comment, in which rustdoc takes the brackets for links.
    #[arg(long, value_name = "URL", help = AMQP_URL_HELP, help_heading = COMMON)]
    amqp_url: Option<String>,
    /// The same from the first line of a file, where no
    /// other user sees a password [env: UR_AMQP_URL_FILE]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[arg(conflicts_with = "amqp_url", help_heading = COMMON)]
    amqp_url_file: Option<PathBuf>,
    /// CA of the broker's certificate, for amqps://
    /// [env: UR_CA_FILE] [default: /etc/ur/ca.pem]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[arg(help_heading = COMMON)]
    ca_file: Option<PathBuf>,
    /// Certificate to log in with, where the URL names no
    /// user [env: UR_CERT_FILE]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    #[arg(help_heading = COMMON)]
    cert_file: Option<PathBuf>,
    /// Its private key [env: UR_KEY_FILE]
    #[arg(long, value_name = "FILE", help_heading = COMMON)]
    key_file: Option<PathBuf>,
}

impl BrokerArgs {
    pub(crate) async fn connect(&self) -> Result<Client> {
        Client::connect(self.urls()?)
            .await
            .map_err(|error| match self.is_default() {
                true => anyhow!(
                    "{}; UR_AMQP_URL is not set: this is the default",
                    error_chain(&error)
                ),
                false => error,
            })
    }

    /// What stands behind the command comes before what stands in front of it.
    pub(crate) fn or(self, other: Self) -> Self {
        let (amqp_url, amqp_url_file) = match (self.amqp_url, self.amqp_url_file) {
            (None, None) => (other.amqp_url, other.amqp_url_file),
            given => given,
        };
        Self {
            amqp_url,
            amqp_url_file,
            ca_file: self.ca_file.or(other.ca_file),
            cert_file: self.cert_file.or(other.cert_file),
            key_file: self.key_file.or(other.key_file),
        }
    }

    fn is_default(&self) -> bool {
        let is_set = |name| variable(name).is_some();
        let is_given = self.amqp_url.is_some() || self.amqp_url_file.is_some();
        !is_given && !is_set("UR_AMQP_URL") && !is_set("UR_AMQP_URL_FILE")
    }

    pub(crate) fn urls(&self) -> Result<Vec<Url>> {
        let file = |given: &Option<PathBuf>, name| {
            given.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        let tls = TlsFiles {
            ca: file(&self.ca_file, "UR_CA_FILE"),
            certificate: file(&self.cert_file, "UR_CERT_FILE"),
            key: file(&self.key_file, "UR_KEY_FILE"),
        };
        let urls = self.named_urls()?;
        Ok(urls.into_iter().map(|url| url.with_tls(&tls)).collect())
    }

    fn named_urls(&self) -> Result<Vec<Url>> {
        if let Some(urls) = &self.amqp_url {
            if Url::names_password(urls) {
                tell(
                    "ur: warning: every user of this machine can read the password in --amqp-url; \
                     give --amqp-url-file or UR_AMQP_URL instead",
                );
            }
            return listed(urls);
        }
        if let Some(path) = &self.amqp_url_file {
            return Url::list_in_file(path);
        }
        if let Some(urls) = variable("UR_AMQP_URL") {
            return listed(&urls.to_string_lossy());
        }
        match variable("UR_AMQP_URL_FILE") {
            Some(path) => Url::list_in_file(Path::new(&path)),
            None => listed(DEFAULT_URL),
        }
    }
}

/// One without a value is not set.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn listed(urls: &str) -> Result<Vec<Url>> {
    Url::list(urls).map_err(|error| Usage(format!("{error:#}")).into())
}
