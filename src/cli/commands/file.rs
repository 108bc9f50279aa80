//! `ur file`: a file that is on the nodes already.

use anyhow::Result;
use clap::Args;

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::script_input::InputArgs;
use crate::flags::send::SendArgs;
use crate::flags::stdin::send_beside_stdin;
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

pub(crate) async fn file(broker: &BrokerArgs, mut args: FileArgs) -> Result<Exit> {
    args.send.what = Some(args.path_and_args.join(" "));
    let mut words = args.path_and_args.into_iter();
    let path = words.next().filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Usage("the path is empty".to_owned()))?;
    let mut request = Request::file(path);
    request.args = words.collect();
    let has_stdin = args.input.add_to(&mut request)?;
    send_beside_stdin(broker, &args.send, request, has_stdin).await
}
