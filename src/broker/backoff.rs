//! Waits between attempts to connect: a part of the time that the broker has been away, with jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(30);
/// The part of an outage that a wait may add to it.
const PART: u32 = 4;

/// How long to wait before the next attempt, `outage` after the connection was lost: at most a quarter of that, and
/// between half of the limit and all of it, so that a fleet whose broker comes back does not come back with it as one.
/// What is bounded is how late a node is back, however many attempts have failed; a wait that doubles with each of
/// them would miss the broker's return by as long as the outage took.
pub fn backoff(outage: Duration) -> Duration {
    limit(outage).mul_f64((1.0 + fastrand::f64()) / 2.0)
}

fn limit(outage: Duration) -> Duration {
    (outage / PART).clamp(FIRST, MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_quarter_of_the_outage_from_a_fifth_of_a_second_to_thirty() {
        let limits = [0, 500, 2000, 10_000, 60_000, 3_600_000]
            .map(|outage| limit(Duration::from_millis(outage)).as_millis());
        assert_eq!(limits, [200, 200, 500, 2500, 15_000, 30_000]);
    }

    #[test]
    fn every_part_of_the_upper_half_is_drawn_as_often_as_any_other() {
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let share = backoff(Duration::MAX).as_secs_f64() / MAX.as_secs_f64();
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
            let mut time = 0.0;
            while time < outage {
                time += backoff(Duration::from_secs_f64(time)).as_secs_f64();
            }
            time
        };
        let mut times: Vec<f64> = (0..nodes).map(back).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn after_an_outage_every_node_is_back_within_a_quarter_of_it_and_not_all_at_once() {
        for outage in [0.5, 3.0, 10.0, 60.0, 600.0] {
            let times = back_after(outage, 300);
            let (first, last) = (times[0], times[299]);
            let most = outage + (outage / 4.0).clamp(0.2, 30.0);
            assert!(last <= most, "{outage}: {last}");
            assert!(
                last - first > (most - outage) / 2.0,
                "{outage}: {first}, {last}"
            );
        }
    }
}
