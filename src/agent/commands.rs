//! The commands of `ur-agent` besides `run`: `exec` runs one request without a broker, `sysinfo` and `check`
//! print what the agent would find here.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use job::{Created, Held, Spool};
use protocol::{Message, NodeId, RequestId, without_byte_order_mark};

use super::args::AgentArgs;
use super::sessions::block_on;
use super::{connect, reply, supervisors, sysinfo as facts};

/// Runs one request here, supervised as the agent would, and prints its reply.
pub(crate) fn exec(file: &Path) -> Result<()> {
    let body = match file.to_str() {
        Some("-") => {
            let mut body = Vec::new();
            io::stdin().read_to_end(&mut body)?;
            body
        }
        _ => fs::read(file).with_context(|| format!("reading {}", file.display()))?,
    };
    let body = without_byte_order_mark(&body);
    let refused = |refusal: protocol::Refusal| anyhow!("{}", refusal.message);
    let Message::Run(_) = Message::decode(body).map_err(refused)? else {
        bail!("{} is no request to run", file.display());
    };
    let dir = tempfile::tempdir().context("making a state directory")?;
    // The script may have mounted something in it.
    let dir = dir.keep();
    let done = run_in(&dir, body);
    for (path, error) in job::remove_tree(&dir) {
        writeln!(
            io::stderr(),
            "ur-agent: {} is left: {error}",
            path.display()
        )?;
    }
    writeln!(io::stdout(), "{}", String::from_utf8_lossy(&done?))?;
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
    writeln!(
        io::stdout(),
        "{}",
        serde_json::to_string_pretty(&found.facts)?
    )?;
    for warning in found.warnings {
        writeln!(io::stderr(), "warning: {}", printable(&warning))?;
    }
    Ok(())
}

/// Says what the agent would find here. Fails if it could not serve.
pub(crate) fn check(args: &AgentArgs) -> Result<()> {
    let out = &mut io::stdout();
    let found = block_on(async { Ok(facts::collect(args).await) })?;
    writeln!(out, "node      {}", found.node)?;
    writeln!(out, "admin NIC {}", found.mac.as_deref().unwrap_or("none"))?;
    for warning in &found.warnings {
        writeln!(out, "warning   {}", printable(warning))?;
    }
    let dir = args.state_dir.display();
    match Spool::open(&args.state_dir) {
        Ok(spool) => writeln!(out, "state     {}", spool.state_dir().display())?,
        Err(error) if error.is::<Held>() => {
            writeln!(out, "state     {dir}, held by the agent that runs here")?;
        }
        Err(error) => writeln!(out, "state     not usable: {error:#}")?,
    }
    block_on(async {
        let found = connect::find(args).await?;
        writeln!(out, "broker    {:?}, by {}", found.urls, found.source)?;
        for url in connect::plain(&found) {
            writeln!(
                out,
                "warning   no TLS to {url}: the network can read passwords and scripts, and send its own; use amqps://"
            )?;
        }
        let broker = connect::connect(&found).await?;
        writeln!(out, "          connected, from {}", broker.local_address)?;
        broker.close().await
    })
}

/// For a terminal: what a sysinfo program said may hold anything.
fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}
