//! `ur snoop`: every message as it passes.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::view::json::Form;
use broker::Delivery;
use client::{Clock, Filter, NoVerdict, Plain};

/// Bytes of a body that is shown: parsed, it takes many times as much memory.
const MAX_BODY: usize = 8 * 1024 * 1024;

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
    let clock = Clock::of(&io::stdout());
    let mut out = io::stdout().lock();
    loop {
        let delivery = subscription.receive().await?;
        let message = json!({"key": delivery.routing_key, "body": body(&delivery)});
        let wanted = filter.as_ref().map(|filter| {
            let verdict = filter.verdict(message.to_string().as_bytes());
            let accepts = verdict.map(|verdict| verdict == Some(true));
            accepts.or_else(|why| match why {
                // It is about another kind of message.
                NoVerdict::Failed(_) => Ok(false),
                NoVerdict::Value(..) => Err(Usage(why.about(&delivery.routing_key))),
            })
        });
        if !wanted.unwrap_or(Ok(true))? {
            continue;
        }
        let now = Timestamp::now();
        if args.json_lines {
            let time = format!("{now:.3}");
            let line = json!({"time": time, "key": message["key"], "body": message["body"]});
            Form::Lines.write([line].iter(), &mut out)?;
        } else {
            let time = clock.milliseconds(now);
            writeln!(out, "{time} {}", Plain::of(&delivery.routing_key))?;
            Form::write_pretty(&message["body"], &mut out)?;
        }
        out.flush()?;
    }
}

/// What is no JSON is shown as the text it is.
fn body(delivery: &Delivery) -> Value {
    if delivery.body.len() > MAX_BODY {
        return json!({"not shown, bytes": delivery.body.len()});
    }
    serde_json::from_slice(&delivery.body)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&delivery.body)))
}
