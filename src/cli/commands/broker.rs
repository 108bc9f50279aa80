//! `--amqp-url`, `--amqp-url-file`: which broker, and the connection to it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use broker::{Url, error_chain};
use clap::Args;

use super::command_line::COMMON;
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
}

impl BrokerArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
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
    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self {
                amqp_url: None,
                amqp_url_file: None,
            } => other,
            given => given,
        }
    }

    fn is_default(&self) -> bool {
        let is_set = |name| variable(name).is_some();
        let Self {
            amqp_url,
            amqp_url_file,
        } = self;
        let is_given = amqp_url.is_some() || amqp_url_file.is_some();
        !is_given && !is_set("UR_AMQP_URL") && !is_set("UR_AMQP_URL_FILE")
    }

    pub(super) fn urls(&self) -> Result<Vec<Url>> {
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
