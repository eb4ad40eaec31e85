//! Numbers with units, as scenarios write them: `"1.5ms"`, `"50k/s"`, `"5%"`, `"100k"`.

use crate::numbers::{float, whole};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// A span of time, in nanoseconds. Written as `"1.5ms"`, `"2min"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span(pub u64);

/// How often something happens, per second. Written as `"2000/s"`, `"50k/s"`, `"100/min"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PerSecond(pub f64);

/// A part of a whole, from 0 to 1. Written as `0.05` or `"5%"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

/// A number of things. Written as `1000` or `"100k"`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Count(pub u64);

/// Why a number with a unit cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{text}` is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

impl UnitError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            expected,
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A span of whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1000)
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.as_duration().as_secs_f64()
    }

    /// As the standard library's type.
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl From<Duration> for Span {
    /// Saturates after 584 years.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError::new(
                text,
                "a time of at most 584 years, such as `1.5ms` or `2min`",
            )
        };
        let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| bad())?;
        u64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| bad())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_duration())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for PerSecond {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError::new(text, "a rate such as `2000/s`, `50k/s` or `100/min`");
        let (number, unit) = text.split_once('/').ok_or_else(bad)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            "d" | "day" => 86400.0,
            "ms" => 0.001,
            _ => return Err(bad()),
        };
        let number = scaled(number)
            .filter(|number| *number >= 0.0)
            .ok_or_else(bad)?;
        Ok(Self(number / seconds))
    }
}

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In the unit in which it is short, as it will have been written: 100/min, and not
        // 1.6666666666666667/s.
        let short = |number: f64| (number * 1000.0).round() / 1000.0;
        let is_short = |number: f64| (number - short(number)).abs() <= number * 1e-15;
        let units = [("s", 1.0), ("min", 60.0), ("h", 3600.0), ("day", 86400.0)];
        let found = units
            .into_iter()
            .find(|(_, seconds)| is_short(self.0 * seconds));
        match found {
            Some((unit, seconds)) => write!(f, "{}/{unit}", short(self.0 * seconds)),
            None => write!(f, "{}/s", self.0),
        }
    }
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);
    /// The whole.
    pub const ALL: Self = Self(1.0);

    /// A share, if `part` is from 0 to 1.
    pub fn new(part: f64) -> Option<Self> {
        (0.0..=1.0).contains(&part).then_some(Self(part))
    }

    /// From 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let part = match text.trim().strip_suffix('%') {
            Some(percent) => shifted(percent, -2),
            None => shifted(text, 0),
        };
        part.and_then(Self::new)
            .ok_or_else(|| UnitError::new(text, "a share from 0 to 1, such as `0.05` or `5%`"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the digits that the multiplication makes up.
        write!(f, "{}%", (self.0 * 1e14).round() / 1e12)
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let is_count = |number: &f64| number.fract() == 0.0 && (0.0..=COUNT_MAX).contains(number);
        let count = scaled(text)
            .filter(is_count)
            .map(|number| Self(whole(number)));
        count.ok_or_else(|| UnitError::new(text, "a whole number, such as `1000` or `100k`"))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that may end in `k` or `M`, and may have underscores.
fn scaled(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let (digits, zeros) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 3),
        b'M' => (&text[..text.len() - 1], 6),
        _ => (&*text, 0),
    };
    shifted(digits, zeros)
}

/// A number times ten to the power of `zeros`, exactly as it is written: `4.35` times 100 is not
/// 434.99999999999994.
fn shifted(digits: &str, zeros: i32) -> Option<f64> {
    let digits = digits.trim();
    let is_plain = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".+-".contains(&byte));
    let number: f64 = if is_plain {
        format!("{digits}e{zeros}").parse().ok()?
    } else {
        // With an exponent of its own.
        digits.parse::<f64>().ok()? * 10_f64.powi(zeros)
    };
    number.is_finite().then_some(number)
}

/// Reads text with a unit, or a bare number where that can mean only one thing.
struct WithUnit<T> {
    expected: &'static str,
    number: Option<fn(f64) -> Option<T>>,
}

impl<T: FromStr<Err = UnitError>> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        let value = self.number.and_then(|convert| convert(number));
        value.ok_or_else(|| E::custom(UnitError::new(&number.to_string(), self.expected)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of scenarios are small")]
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_f64(float(number))
    }
}

macro_rules! deserialize {
    ($type:ty, $expected:literal, $number:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer
                    .deserialize_any(WithUnit {
                        expected: $expected,
                        number: $number,
                    })
                    .map_err(|error| D::Error::custom(error))
            }
        }
    };
}

deserialize!(Span, "a time with its unit, such as \"1.5ms\"", None);
deserialize!(PerSecond, "a rate with its unit, such as \"2000/s\"", None);
deserialize!(Share, "a share, such as 0.05 or \"5%\"", Some(Share::new));
deserialize!(
    Count,
    "a whole number, such as 1000 or \"100k\"",
    Some(|number| number.to_string().parse().ok())
);

/// Every whole number up to here is exact in a double.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct All {
        span: Span,
        rate: PerSecond,
        share: Share,
        count: Count,
    }

    #[test]
    fn numbers_have_units() {
        let all: All =
            toml::from_str("span = \"1.5ms\"\nrate = \"50k/s\"\nshare = \"5%\"\ncount = \"100k\"")
                .unwrap();
        assert_eq!(all.span, Span::from_micros(1500));
        assert_eq!(all.rate, PerSecond(50_000.0));
        assert_eq!(all.share, Share::new(0.05).unwrap());
        assert_eq!(all.count, Count(100_000));
        assert_eq!("120/min".parse(), Ok(PerSecond(2.0)));
        assert_eq!("1_000".parse(), Ok(Count(1000)));
    }

    #[test]
    fn a_number_is_written_as_people_write_it() {
        let rate = |text: &str| text.parse::<PerSecond>().unwrap().to_string();
        for text in [
            "100/min",
            "2.3/s",
            "5/day",
            "7/h",
            "0.001/s",
            "0/s",
            "1000000/s",
        ] {
            assert_eq!(rate(text), text);
        }
        assert_eq!(rate("4.35k/s"), "4350/s");
        for text in ["0.7%", "7%", "29%", "0.05%", "100%"] {
            let share = text.parse::<Share>().unwrap();
            assert_eq!(share.to_string(), text);
            let number = text.trim_end_matches('%').parse::<f64>().unwrap();
            assert!(
                share.get().to_string().len() <= 6,
                "{text}: {number} is {}",
                share.get()
            );
        }
        assert_eq!("2.3k".parse(), Ok(Count(2300)));
        assert_eq!("1e3/s".parse(), Ok(PerSecond(1000.0)));
    }

    #[test]
    fn a_number_without_its_unit_is_refused_and_the_message_names_a_mend() {
        let error = |text: &str| toml::from_str::<All>(text).unwrap_err().to_string();
        assert!(
            error("span = 5").contains("such as \"1.5ms\""),
            "{}",
            error("span = 5")
        );
        assert!(error("span = \"fast\"").contains("`fast` is not a time"));
        assert!("1000".parse::<PerSecond>().is_err());
        assert!("-1/s".parse::<PerSecond>().is_err());
        assert!("120%".parse::<Share>().is_err());
        assert!("1.5".parse::<Count>().is_err());
        assert!("-1s".parse::<Span>().is_err());
    }
}
