//! `ur file`: a file that is on the nodes already.

use anyhow::{Context, Result};
use clap::Args;

use super::broker::BrokerArgs;
use super::input::InputArgs;
use super::send::{SendArgs, send};
use crate::exit::Exit;
use protocol::Request;

#[derive(Debug, Args)]
#[command(override_usage = "ur file [OPTIONS] TARGETS PATH [ARG]...")]
pub(crate) struct FileArgs {
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    input: InputArgs,
    /// A file on the node, and its arguments: all that follows
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["PATH", "ARG"])]
    path_and_args: Vec<String>,
}

pub(crate) async fn file(broker: &BrokerArgs, args: FileArgs) -> Result<Exit> {
    let mut words = args.path_and_args.into_iter();
    let mut request = Request::file(words.next().context("no path")?);
    request.args = words.collect();
    args.input.add_to(&mut request)?;
    send(broker, &args.send, request, |_| Ok(())).await
}
