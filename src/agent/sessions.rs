//! The life of the agent: one session with the broker after the other, with back-off in between.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
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
    outlive_others();
    block_on(serve_for_ever(args))
}

/// Short of memory, the machine is to lose something else first, also where no systemd says so. Scripts do not inherit
/// it. Only root may.
fn outlive_others() {
    let score = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj");
    if let Err(error) = score.and_then(|mut score| score.write_all(b"-900")) {
        info!(%error, "not protected from the OOM killer");
    }
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

/// A session that broke sooner is no better than none: the outage before it goes on.
const WORTH: Duration = Duration::from_secs(5);

/// One session after the other, with back-off between those that fail.
async fn sessions(agent: &mut Agent) {
    let mut away_since = Instant::now();
    loop {
        let (error, lost) = match agent.connect().await {
            Ok(session) => {
                let since = Instant::now();
                let SessionError(error) = agent.serve(session).await;
                if since.elapsed() > WORTH {
                    away_since = Instant::now();
                }
                (error, "connection lost")
            }
            Err(error) => (error, "no broker"),
        };
        let retry_in = backoff(away_since.elapsed());
        warn!(error = format!("{error:#}"), ?retry_in, "{lost}");
        agent.meanwhile(sleep(retry_in)).await;
    }
}
