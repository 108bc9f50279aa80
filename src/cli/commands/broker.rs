//! `--amqp-url`, `--amqp-url-file`: which broker, and the connection to it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use broker::Url;
use clap::Args;

use crate::exit::Usage;
use crate::stderr::tell;
use client::Client;

const DEFAULT_URL: &str = "amqp://guest:guest@localhost:5672";
const AMQP_URL_HELP: &str = "RabbitMQ; URLs with commas are tried in turn\n\
     [env: UR_AMQP_URL]\n[default: amqp://guest:guest@localhost:5672]";

/// What is typed comes before the environment.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    // Not a doc comment, in which rustdoc takes the brackets for links.
    #[arg(long, global = true, value_name = "URL", help = AMQP_URL_HELP)]
    amqp_url: Option<String>,
    /// The same from the first line of a file, where no
    /// other user sees a password [env: UR_AMQP_URL_FILE]
    #[arg(long, global = true, value_name = "FILE", verbatim_doc_comment)]
    #[arg(conflicts_with = "amqp_url", display_order = 0)]
    amqp_url_file: Option<PathBuf>,
}

impl BrokerArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
        Client::connect(self.urls()?).await
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
        if let Some(urls) = env::var_os("UR_AMQP_URL") {
            return listed(&urls.to_string_lossy());
        }
        match env::var_os("UR_AMQP_URL_FILE") {
            Some(path) => Url::list_in_file(Path::new(&path)),
            None => listed(DEFAULT_URL),
        }
    }
}

fn listed(urls: &str) -> Result<Vec<Url>> {
    Url::list(urls).map_err(|error| Usage(format!("{error:#}")).into())
}
