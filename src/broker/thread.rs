//! Work that blocks, on a thread of its own. tokio's pool for that panics where no thread is to be had.

use std::thread;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

/// Fails if there is no thread for it.
pub async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    let work = move || done.send(work()).ok();
    thread::Builder::new()
        .name("ur-blocking".to_owned())
        .spawn(move || work().map_or((), drop))
        .context("starting a thread")?;
    result.await.context("waiting for a thread")
}
