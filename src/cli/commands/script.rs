//! `ur script`: a local file, sent to every node and run there.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::exit::Exit;
use crate::flags::broker::BrokerArgs;
use crate::flags::script_input::{InputArgs, read_script};
use crate::flags::send::SendArgs;
use crate::flags::stdin::send_beside_stdin;
use protocol::Request;

#[derive(Debug, Args)]
#[command(override_usage = "ur script [OPTIONS] TARGETS FILE [ARG]...")]
pub(crate) struct ScriptArgs {
    #[command(flatten)]
    pub(super) send: SendArgs,
    #[command(flatten)]
    input: InputArgs,
    /// A local file (- is stdin), and its arguments: all
    /// that follows
    #[arg(verbatim_doc_comment)]
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["FILE", "ARG"])]
    pub(super) file_and_args: Vec<String>,
}

pub(crate) async fn script(broker: &BrokerArgs, mut args: ScriptArgs) -> Result<Exit> {
    args.send.what = Some(args.file_and_args.join(" "));
    let mut words = args.file_and_args.into_iter();
    let path = words.next().context("no file")?;
    let name = Path::new(&path).file_name();
    args.send.conduct.program.name = name.map(|name| name.to_string_lossy().into());
    let mut request = Request::script(read_script(Path::new(&path))?);
    request.args = words.collect();
    let has_stdin = args.input.add_to(&mut request)?;
    send_beside_stdin(broker, &args.send, request, has_stdin).await
}
