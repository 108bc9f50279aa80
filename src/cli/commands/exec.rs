//! `ur exec`: a command line for /bin/sh on every node.

use anyhow::Result;
use clap::Args;

use super::broker::BrokerArgs;
use super::input::InputArgs;
use super::send::{SendArgs, send};
use crate::exit::{Exit, Usage};
use protocol::Request;

#[derive(Debug, Args)]
#[command(override_usage = "ur exec [OPTIONS] TARGETS 'COMMAND LINE'")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    input: InputArgs,
    /// For /bin/sh on every node; quote it
    #[arg(value_name = "COMMAND LINE")]
    command: String,
}

pub(crate) async fn exec(broker: &BrokerArgs, mut args: ExecArgs) -> Result<Exit> {
    if args.command.trim().is_empty() {
        return Err(Usage("the command line is empty".to_owned()).into());
    }
    args.send.watch.program.name = Some("sh".to_owned());
    let mut request = Request::script(args.command);
    args.input.add_to(&mut request)?;
    send(broker, &args.send, request, |_| Ok(())).await
}
