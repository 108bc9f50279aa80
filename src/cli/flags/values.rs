//! Values of flags: a time, a request's id, NAME=VALUE.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use protocol::RequestId;

/// A time longer than 0: seconds, or with units as sleep(1) and systemd take them.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => with_units(text),
    };
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "write a time above 0: seconds, or 90s, 5m, 2h, 1h30m".to_owned())
}

fn with_units(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    time.try_into().ok()
}

pub(crate) fn request_id(text: &str) -> Result<RequestId, String> {
    RequestId::parse(text).map_err(|refusal| refusal.message)
}

pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_units() {
        for (text, seconds) in [
            ("90", 90.0),
            ("1.5", 1.5),
            ("90s", 90.0),
            ("5m", 300.0),
            ("2h", 7200.0),
            ("1h30m", 5400.0),
            ("2 min", 120.0),
            ("1d", 86400.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_secs_f64(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_above_0_is_told_with_an_example() {
        for text in [
            "",
            "0",
            "0m",
            "-1",
            "-5m",
            "nan",
            "inf",
            "5 parsecs",
            "m",
            "1e300",
            "2mo",
        ] {
            assert!(duration(text).unwrap_err().contains("90s, 5m"), "{text}");
        }
    }
}
