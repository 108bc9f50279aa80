//! `ur exec`: a command line for /bin/sh on every node.

use anyhow::Result;
use clap::Args;

use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::script_input::InputArgs;
use crate::flags::send::SendArgs;
use crate::flags::stdin::send_beside_stdin;
use protocol::Request;

#[derive(Debug, Args)]
#[command(override_usage = "ur exec [OPTIONS] TARGETS 'COMMAND LINE'")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    send: SendArgs,
    #[command(flatten)]
    input: InputArgs,
    /// For /bin/sh on every node, in quotes, as one
    /// argument. The flags of ur stand before it
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, verbatim_doc_comment)]
    #[arg(value_name = "COMMAND LINE")]
    command: Vec<String>,
}

pub(crate) async fn exec(broker: &BrokerArgs, mut args: ExecArgs) -> Result<Exit> {
    let [line] = args.command.as_slice() else {
        return Err(Usage("quote the command line, so that it is one argument".to_owned()).into());
    };
    if line.trim().is_empty() {
        return Err(Usage("the command line is empty".to_owned()).into());
    }
    args.send.conduct.program.name = Some("sh".to_owned());
    let mut request = Request::script(line);
    let has_stdin = args.input.add_to(&mut request)?;
    send_beside_stdin(broker, &args.send, request, has_stdin).await
}
