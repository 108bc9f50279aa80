//! Waits between attempts to connect: exponential, with jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(30);

/// How long to wait before attempt `attempt` (the first retry is 1): between half of the limit and all of it, so
/// that a fleet whose broker comes back does not come back with it as one. Less than half would be worse for the
/// fleet: short waits use up the attempts that come soon, so that after an outage of 3 seconds the last of 300
/// nodes would be back after 16, where it is after 6.
pub fn backoff(attempt: u32) -> Duration {
    limit(attempt).mul_f64((1.0 + fastrand::f64()) / 2.0)
}

fn limit(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    FIRST.saturating_mul(2_u32.pow(doublings)).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_from_a_fifth_of_a_second_to_thirty() {
        let limits = [0, 1, 2, 3, 8, 9, 50, u32::MAX].map(|attempt| limit(attempt).as_millis());
        assert_eq!(limits, [200, 200, 400, 800, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn every_part_of_the_upper_half_is_drawn_as_often_as_any_other() {
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let share = backoff(50).as_secs_f64() / MAX.as_secs_f64();
            quarters[((share - 0.5) * 8.0) as usize] += 1;
        }
        // A quarter is off by more than this once in 10^12 runs.
        assert!(
            quarters.iter().all(|count| (800..1200).contains(count)),
            "{quarters:?}"
        );
    }

    /// Seconds after which each of `nodes` is back from an outage of so many.
    fn back_after(outage: f64, nodes: usize) -> Vec<f64> {
        let back = |_| {
            let waits = (1..).map(|attempt| backoff(attempt).as_secs_f64());
            let mut times = waits.scan(0.0, |time, wait| {
                *time += wait;
                Some(*time)
            });
            times.find(|time| *time >= outage).unwrap()
        };
        let mut times: Vec<f64> = (0..nodes).map(back).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn after_an_outage_no_node_is_back_later_than_twice_the_median() {
        for outage in [0.5, 3.0, 10.0, 60.0, 600.0] {
            let times = back_after(outage, 300);
            let (median, last) = (times[150], times[299]);
            assert!(last < 2.0 * median, "{outage}: {median}, {last}");
        }
    }
}
