//! `ur snoop`: every message as it passes.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::broker::BrokerArgs;
use crate::exit::Exit;
use broker::Delivery;
use client::Filter;

#[derive(Debug, Args)]
#[command(override_usage = "ur snoop [OPTIONS] [KEY PATTERN]")]
pub(crate) struct SnoopArgs {
    /// Routing keys: * is a word, # any words
    #[arg(value_name = "KEY PATTERN", default_value = "ur.#")]
    pattern: String,
    /// Only what a jq expression on {key, body} accepts
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Print a line of JSON for each
    #[arg(short = 'J', long)]
    json_lines: bool,
}

pub(crate) async fn snoop(broker: &BrokerArgs, args: SnoopArgs) -> Result<Exit> {
    let filter = args.expression.as_deref().map(Filter::parse).transpose()?;
    let client = broker.connect().await?;
    let mut subscription = client.subscribe(&[args.pattern]).await?;
    let mut out = io::stdout().lock();
    loop {
        let delivery = subscription.receive().await?;
        let message = json!({"key": delivery.routing_key, "body": body(&delivery)});
        // An expression that fails on a message is about another kind of message.
        let wanted = |filter: &Filter| {
            filter
                .accepts(message.to_string().as_bytes())
                .unwrap_or(false)
        };
        if !filter.as_ref().is_none_or(wanted) {
            continue;
        }
        let time = format!("{:.3}", Timestamp::now());
        if args.json_lines {
            let line = json!({"time": time, "key": message["key"], "body": message["body"]});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{time} {}", delivery.routing_key)?;
            writeln!(out, "{}", serde_json::to_string_pretty(&message["body"])?)?;
        }
        out.flush()?;
    }
}

/// What is no JSON is shown as the text it is.
fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.body)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&delivery.body)))
}
