//! Faults of the network between agents and broker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::clock::{Clock, between};
use super::journal::Journal;
use super::proxy::Cable;

pub(crate) fn disturb(
    cables: &mut [Cable],
    clock: &Clock,
    mut rng: Rng,
    journal: &mut Journal,
) -> Result<()> {
    while clock.is_foul() {
        clock.pause(&mut rng, Duration::from_millis(500), Duration::from_secs(8));
        let which = rng.usize(..cables.len());
        let weather = &cables[which].weather;
        // Agents notice a dead peer after 10 s, so these last less than that, or clearly more.
        let short = between(&mut rng, Duration::from_millis(100), Duration::from_secs(4));
        let long = between(&mut rng, Duration::from_secs(12), Duration::from_secs(18));
        let (fault, held) = match rng.u32(..12) {
            0..3 => {
                weather.storm.fetch_add(1, Ordering::Relaxed);
                ("network: connection reset", Duration::ZERO)
            }
            3..5 => {
                weather.delay.store(500, Ordering::Relaxed);
                ("network: 500 ms of delay, and loss", short * 2)
            }
            5 => {
                weather.refuses.store(true, Ordering::Relaxed);
                weather.storm.fetch_add(1, Ordering::Relaxed);
                ("network: reset, and refused for a while", short)
            }
            way => {
                let is_long = rng.u32(..4) == 0;
                weather.up_is_cut.store(way != 6, Ordering::Relaxed);
                weather.down_is_cut.store(way != 7, Ordering::Relaxed);
                let fault = match (way, is_long) {
                    (6, false) => "network: nothing reaches the agent, shorter than the heartbeat",
                    (6, true) => "network: nothing reaches the agent, longer than the heartbeat",
                    (7, false) => "network: nothing leaves the agent, shorter than the heartbeat",
                    (7, true) => "network: nothing leaves the agent, longer than the heartbeat",
                    (_, false) => "network: cut both ways, shorter than the heartbeat",
                    (_, true) => "network: cut both ways, longer than the heartbeat",
                };
                (fault, if is_long { long } else { short })
            }
        };
        journal.note(fault, format!("chaos-{} for {held:?}", which + 1));
        clock.wait(held);
        if rng.bool() {
            // What was held on the way is lost, as when a router on it has forgotten the connection.
            weather.storm.fetch_add(1, Ordering::Relaxed);
        }
        cables[which].heal();
    }
    Ok(())
}
