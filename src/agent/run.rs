//! The life of the agent: one session with the broker after the other, with back-off in between.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use broker::backoff;
use job::Spool;

use crate::agent::Agent;
use crate::args::AgentArgs;
use crate::jobs::Jobs;
use crate::reboot::Reboot;
use crate::session::SessionError;
use crate::{heap, sysinfo};

/// Serves this node until SIGTERM or SIGINT. Never ends because of the broker.
pub(crate) fn run(args: AgentArgs) -> Result<()> {
    heap::return_large_blocks();
    block_on(serve_for_ever(args))
}

/// The runtime is made here and not around `main`: `supervise` and `exec` must not have one.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(future)
}

async fn serve_for_ever(args: AgentArgs) -> Result<()> {
    let spool = Spool::open(&args.state_dir)?;
    let found = spool.jobs()?;
    let mut reboot = Reboot::new(&args.reboot_command);
    reboot.recover(&found);
    let jobs = Jobs::recover(&spool, found, usize::from(args.max_jobs));
    let sysinfo = sysinfo::collect(&args).await;
    for warning in &sysinfo.warnings {
        warn!(warning, "sysinfo");
    }
    info!(node = %sysinfo.node, version = protocol::VERSION, "ur-agent is up");
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("telling systemd")?;
    let mut agent = Agent::new(Arc::new(args), spool, jobs, sysinfo, reboot);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = sessions(&mut agent) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping; scripts go on and are answered for when the agent is back");
    Ok(())
}

/// One session after the other, with back-off between those that fail.
async fn sessions(agent: &mut Agent) {
    let mut failures = 0;
    loop {
        let (error, lost) = match agent.connect().await {
            Ok(session) => {
                let since = Instant::now();
                let SessionError(error) = agent.serve(session).await;
                // One that breaks at once is no better than none.
                if since.elapsed() > Duration::from_secs(5) {
                    failures = 0;
                }
                (error, "connection lost")
            }
            Err(error) => (error, "no broker"),
        };
        failures += 1;
        let retry_in = backoff(failures);
        warn!(error = format!("{error:#}"), ?retry_in, "{lost}");
        agent.meanwhile(sleep(retry_in)).await;
    }
}
