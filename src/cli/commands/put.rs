//! `ur put`: local files and folders to a place on the nodes, by the task `file::put`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::archive::Package;
use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::transfer::{
    Done, LIMIT, SHORT_REPLY, STEP, Step, Transfer, TransferArgs, those, transfer,
};
use crate::flags::web::{FileServer, Via, via};
use protocol::NodeId;

/// Bytes of a piece.
const PIECE: u64 = 4 * 1024 * 1024;
/// A Node.js agent gives its scripts no standard input: there a piece is a variable, as base64.
const PIECE_OF_A_VARIABLE: u64 = 72 * 1024;
const CHANGED: &str = "the file was written to while it was sent: put it again";
/// How long a node may fetch.
const FETCH: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Args)]
#[command(override_usage = "ur put [OPTIONS] TARGETS FILE... DEST")]
pub(crate) struct PutArgs {
    #[command(flatten)]
    transfer: TransferArgs,
    /// How it gets there: broker, at most 256 MB, or http,
    /// fetched from this machine (http=ADDRESS:PORT)
    #[arg(long, value_name = "WAY", default_value = "broker", value_parser = via)]
    #[arg(hide_default_value = true, verbatim_doc_comment)]
    via: Via,
    /// Files and folders of this machine
    #[arg(required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// A path on the nodes; in a directory, with / at its end
    dest: String,
}

pub(crate) async fn put(broker: &BrokerArgs, args: PutArgs) -> Result<Exit> {
    if !args.dest.starts_with('/') || args.dest.contains('\n') {
        let dest = &args.dest;
        let bad = format!("{dest:?} is no place on a node: write an absolute path");
        return Err(Usage(bad).into());
    }
    let limit = (args.via == Via::Broker).then_some(LIMIT);
    let package = Package::of(&args.files, limit)?;
    let parameters = parameters(&package, &args.dest);
    transfer(
        broker,
        &args.transfer,
        "file::put",
        async |nodes| match args.via {
            Via::Broker => in_pieces(nodes, &package, &parameters).await,
            Via::Http(address) => by_http(nodes, &package, &parameters, address).await,
        },
    )
    .await
}

fn parameters(package: &Package, dest: &str) -> Map<String, Value> {
    let all = json!({
        "dest": dest,
        "names": package.names.join("\n"),
        "sha256": package.sha256,
        "bytes": package.bytes,
        "room": package.room,
    });
    let Value::Object(mut all) = all else {
        unreachable!("it is written as an object")
    };
    if let Some((mode, mtime)) = package.file {
        all.insert("mode".to_owned(), json!(format!("{mode:o}")));
        all.insert("mtime".to_owned(), json!(mtime));
    }
    all
}

/// One step for all nodes after the other: those that had a part of it before wait until its turn comes.
async fn in_pieces(
    nodes: &mut Transfer<'_>,
    package: &Package,
    parameters: &Map<String, Value>,
) -> Result<()> {
    let step = |name: &str, more: &[(&str, Value)]| Step {
        parameters: with(parameters, name, more),
        reply: SHORT_REPLY,
        node_js_wait: STEP,
        is_last: name == "finish",
    };
    let mut have: HashMap<NodeId, u64> = HashMap::new();
    let percent = |have: u64| have as f64 * 100.0 / package.bytes.max(1) as f64;
    nodes
        .step(
            step("begin", &[]),
            nodes.nodes.clone(),
            &mut |node, value| {
                let bytes = value.get("have").and_then(Value::as_u64).unwrap_or(0);
                let bytes = bytes.min(package.bytes);
                have.insert(node.id.clone(), bytes);
                Ok(Done::Far(percent(bytes)))
            },
        )
        .await?;
    let without_stdin = nodes.nodes.iter().any(|node| node.agent.is_none());
    let piece = if without_stdin {
        PIECE_OF_A_VARIABLE
    } else {
        PIECE
    };
    while !nodes.is_interrupted()
        && let Some(offset) = those(&nodes.nodes, &have).map(|(_, have)| *have).min()
        && offset < package.bytes
    {
        let end = (offset + piece).min(package.bytes);
        let data = piece_of(package, offset, end)?;
        let wanting = those(&nodes.nodes, &have).filter(|(_, have)| **have < end);
        let wanting = wanting.map(|(node, _)| node.clone()).collect();
        nodes
            .step(step("piece", &data), wanting, &mut |node, value| {
                let arrived = value.get("have").and_then(Value::as_u64);
                ensure!(
                    arrived == Some(end),
                    "the node does not say that it has {end} bytes: put it again"
                );
                have.insert(node.id.clone(), end);
                Ok(Done::Far(percent(end)))
            })
            .await?;
    }
    nodes
        .step(step("finish", &[]), nodes.nodes.clone(), &mut |_, _| {
            Ok(Done::Over(None))
        })
        .await
}

fn piece_of(package: &Package, offset: u64, end: u64) -> Result<[(&'static str, Value); 2]> {
    let mut bytes = vec![0; usize::try_from(end - offset)?];
    let read = package.content.read_exact_at(&mut bytes, offset);
    ensure!(package.is_unchanged()?, CHANGED);
    read.context("reading what is to be sent")?;
    Ok([
        ("offset", json!(offset)),
        ("data", json!(STANDARD.encode(&bytes))),
    ])
}

async fn by_http(
    nodes: &mut Transfer<'_>,
    package: &Package,
    parameters: &Map<String, Value>,
    address: Option<SocketAddr>,
) -> Result<()> {
    let ours = SocketAddr::new(nodes.own_address(), 0);
    let content = package.content.try_clone()?;
    let server = FileServer::start(content, package.bytes, address.unwrap_or(ours)).await?;
    let step = Step {
        parameters: with(parameters, "fetch", &[("url", json!(server.url))]),
        reply: SHORT_REPLY,
        node_js_wait: FETCH,
        is_last: true,
    };
    let all = nodes.nodes.clone();
    nodes
        .step(step, all, &mut |_, _| Ok(Done::Over(None)))
        .await?;
    ensure!(package.is_unchanged()?, CHANGED);
    Ok(())
}

fn with(parameters: &Map<String, Value>, step: &str, more: &[(&str, Value)]) -> Map<String, Value> {
    let mut all = parameters.clone();
    all.insert("step".to_owned(), json!(step));
    all.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    all
}
