//! `--amqp-url`: which broker, and the connection to it.

use anyhow::Result;
use broker::Url;
use clap::Args;

use crate::exit::Usage;
use client::Client;

#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// RabbitMQ; several URLs with commas are tried in turn
    /// [env: UR_AMQP_URL]
    /// [default: amqp://guest:guest@localhost:5672]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "UR_AMQP_URL",
        hide_env = true
    )]
    #[arg(
        default_value = "amqp://guest:guest@localhost:5672",
        hide_default_value = true
    )]
    #[arg(verbatim_doc_comment)]
    amqp_url: String,
}

impl BrokerArgs {
    pub(super) async fn connect(&self) -> Result<Client> {
        let urls: Result<Vec<Url>> = self.amqp_url.split(',').map(str::parse).collect();
        let urls = urls.map_err(|error| Usage(format!("{error:#}")))?;
        Client::connect(urls).await
    }
}
