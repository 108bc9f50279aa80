//! Times as they are shown: of this place on a terminal, UTC elsewhere.

use std::io::IsTerminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whose terminal it is, says where this place is.
pub struct Clock(Option<TimeZone>);

impl Clock {
    pub fn of(place: &impl IsTerminal) -> Self {
        Self(place.is_terminal().then(TimeZone::system))
    }

    pub fn utc() -> Self {
        Self(None)
    }

    pub fn seconds(&self, at: Timestamp) -> String {
        match &self.0 {
            Some(zone) => at.to_zoned(zone.clone()).strftime("%F %T").to_string(),
            None => format!("{at:.0}"),
        }
    }

    pub fn milliseconds(&self, at: Timestamp) -> String {
        match &self.0 {
            Some(zone) => at.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string(),
            None => format!("{at:.3}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_of_this_place_or_utc() {
        let at: Timestamp = "2026-01-01T00:00:01.5Z".parse().unwrap();
        let here = Clock(Some(TimeZone::fixed(jiff::tz::offset(2))));
        assert_eq!(here.seconds(at), "2026-01-01 02:00:01");
        assert_eq!(here.milliseconds(at), "2026-01-01 02:00:01.500");
        assert_eq!(Clock::utc().seconds(at), "2026-01-01T00:00:01Z");
        assert_eq!(Clock::utc().milliseconds(at), "2026-01-01T00:00:01.500Z");
    }
}
