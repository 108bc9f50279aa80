//! Waits between attempts to connect: exponential, with full jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(30);

/// How long to wait before attempt `attempt` (the first retry is 1). Any time from nothing to the limit
/// is as likely as any other, so that a fleet whose broker comes back does not come back with it as one.
pub fn backoff(attempt: u32) -> Duration {
    limit(attempt).mul_f64(fastrand::f64())
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
    fn every_part_of_the_range_is_drawn_as_often_as_any_other() {
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let share = backoff(50).as_secs_f64() / MAX.as_secs_f64();
            quarters[(share * 4.0) as usize] += 1;
        }
        // A quarter is off by more than this once in 10^12 runs.
        assert!(
            quarters.iter().all(|count| (800..1200).contains(count)),
            "{quarters:?}"
        );
    }
}
