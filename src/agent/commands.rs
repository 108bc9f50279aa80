//! The commands of `ur-agent` besides `run`: `exec` runs one request without a broker, `sysinfo` and `check`
//! print what the agent would find here.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use job::{Created, Held, Spool};
use protocol::{Message, NodeId, RequestId};

use super::args::AgentArgs;
use super::run::block_on;
use super::{connect, reply, supervisors, sysinfo as facts};

/// Runs one request here, supervised as the agent would, and prints its reply.
pub(crate) fn exec(file: &Path) -> Result<()> {
    let body = match file.to_str() {
        Some("-") => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body)?;
            body
        }
        _ => fs::read(file).with_context(|| format!("reading {}", file.display()))?,
    };
    let refused = |refusal: protocol::Refusal| anyhow!("{}", refusal.message);
    let Message::Run(_) = Message::decode(&body).map_err(refused)? else {
        bail!("{} is no request to run", file.display());
    };
    let dir = tempfile::tempdir().context("making a state directory")?;
    // The script may have mounted something in it.
    let dir = dir.keep();
    let done = run_in(&dir, &body);
    for (path, error) in job::remove_tree(&dir) {
        eprintln!("ur-agent: {} is left: {error}", path.display());
    }
    println!("{}", String::from_utf8_lossy(&done?));
    Ok(())
}

/// Returns the reply.
fn run_in(dir: &Path, body: &[u8]) -> Result<Vec<u8>> {
    let spool = Spool::open(dir)?;
    let node = NodeId::parse("local").expect("a word");
    let admission = spool.create(&RequestId::random(), (&node, "exec"), body);
    let admission = admission.map_err(|refusal| anyhow!("{}", refusal.message));
    let (Created::New(job) | Created::Existing(job)) = admission?;
    let mut supervisor = supervisors::of(&job)
        .spawn()
        .context("starting a supervisor")?;
    supervisor.wait().context("waiting for the supervisor")?;
    reply::of(&job, usize::MAX)
}

/// Prints what this machine says of itself.
pub(crate) fn sysinfo(args: &AgentArgs) -> Result<()> {
    let found = block_on(async { Ok(facts::collect(args).await) })?;
    println!("{}", serde_json::to_string_pretty(&found.facts)?);
    for warning in found.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

/// Says what the agent would find here. Fails if it could not serve.
pub(crate) fn check(args: &AgentArgs) -> Result<()> {
    let found = block_on(async { Ok(facts::collect(args).await) })?;
    println!("node      {}", found.node);
    println!("admin NIC {}", found.mac.as_deref().unwrap_or("none"));
    for warning in &found.warnings {
        println!("warning   {warning}");
    }
    match Spool::open(&args.state_dir) {
        Ok(spool) => println!("state     {}", spool.state_dir().display()),
        Err(error) if error.is::<Held>() => {
            println!(
                "state     {}, held by the agent that runs here",
                args.state_dir.display()
            );
        }
        Err(error) => println!("state     not usable: {error:#}"),
    }
    block_on(async {
        let found = connect::find(args).await?;
        println!("broker    {:?}, by {}", found.urls, found.source);
        let broker = connect::connect(&found).await?;
        println!("          connected, from {}", broker.local_address);
        broker.close().await
    })
}
