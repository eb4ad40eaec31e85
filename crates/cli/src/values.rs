//! Values of options that several commands read alike.

use std::time::Duration;

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = "write a number and a unit, as in `10s`, `0.5ms` or `1m 30s`";
    let duration: jiff::SignedDuration = text.parse().map_err(|_| hint.to_owned())?;
    Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())
}

pub(crate) fn parse_part(text: &str) -> Result<f64, String> {
    parse_within(text, 1.0).ok_or_else(|| "write a number between 0 and 1, as in `0.8`".to_owned())
}

pub(crate) fn parse_exponent(text: &str) -> Result<f64, String> {
    parse_within(text, 10.0)
        .ok_or_else(|| "write a number between 0 and 10, as in `0.99`".to_owned())
}

fn parse_within(text: &str, most: f64) -> Option<f64> {
    let number = text.parse().ok()?;
    (0.0..=most).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_duration("0.5ms"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("10").is_err());
        assert!(parse_duration("-1s").is_err());
    }

    #[test]
    fn parts_lie_between_nothing_and_all() {
        assert_eq!(parse_part("0.8"), Ok(0.8));
        for text in ["1.1", "-0.1", "NaN", "half"] {
            assert!(parse_part(text).is_err(), "{text}");
        }
    }
}
