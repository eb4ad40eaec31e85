//! A limit in a configuration file: as one text, or as a structure.
//!
//! ```toml
//! limit = "1000/s burst 2000 overshoot 1% advance 10%"
//!
//! [limit]
//! rate = "1000/s"
//! burst = 2000
//! overshoot = "1%"
//! advance = "10%"
//! ```

use alloc::string::{String, ToString};
use core::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit::Limit;
use crate::parse::{parse_budget, parse_rate};

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor)
    }
}

/// Chooses the form by what is there, so that an error speaks of the form that was meant.
struct LimitVisitor;

impl<'de> Visitor<'de> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a limit such as \"1000/s burst 2000\", or `rate`, `burst`, `overshoot` and `advance`",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Limit, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
        let parts = Parts::deserialize(MapAccessDeserializer::new(map))?;
        parts.into_limit().map_err(A::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    rate: String,
    burst: Option<u64>,
    overshoot: Option<Budget>,
    advance: Option<Budget>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "tokens, or a percentage of the burst such as \"1%\""
)]
enum Budget {
    Tokens(u64),
    Text(String),
}

impl Parts {
    fn into_limit(self) -> Result<Limit, String> {
        let (rate, usual_burst) = parse_rate(&self.rate, self.rate.trim())
            .map_err(|error| format_field("rate", &error))?;
        let burst = self.burst.unwrap_or(usual_burst);
        let overshoot = Budget::tokens(self.overshoot.as_ref(), "overshoot", burst)?;
        let advance = Budget::tokens(self.advance.as_ref(), "advance", burst)?;
        let limit = Limit::new(rate, burst, overshoot);
        let limit = limit.and_then(|limit| limit.with_advance(advance));
        limit.map_err(|error| error.to_string())
    }
}

impl Budget {
    /// The tokens of the budget in `field`; none if it is not given.
    fn tokens(budget: Option<&Self>, field: &str, burst: u64) -> Result<u64, String> {
        match budget {
            None => Ok(0),
            Some(Self::Tokens(tokens)) => Ok(*tokens),
            Some(Self::Text(text)) => {
                parse_budget(text, text, burst).map_err(|error| format_field(field, &error))
            }
        }
    }
}

fn format_field(field: &str, error: &dyn fmt::Display) -> String {
    alloc::format!("`{field}`: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Limit, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_mean_the_same() {
        let text = read(r#""1000/s burst 2000 overshoot 1%""#).unwrap();
        let parts = read(r#"{"rate": "1000/s", "burst": 2000, "overshoot": "1%"}"#).unwrap();
        assert_eq!(text, parts);
        let tokens = read(r#"{"rate": "1000/s", "burst": 2000, "overshoot": 20}"#).unwrap();
        assert_eq!(text, tokens);
        let text = read(r#""1000/s burst 2000 advance 10%""#).unwrap();
        let parts = read(r#"{"rate": "1000/s", "burst": 2000, "advance": 200}"#).unwrap();
        assert_eq!(text, parts);
        for rate in ["1000/s", "1.5/s", "10/0.5us"] {
            let parts = read(&alloc::format!(r#"{{"rate": "{rate}"}}"#)).unwrap();
            assert_eq!(parts, read(&alloc::format!(r#""{rate}""#)).unwrap());
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let limit = read(r#""7/3min burst 5 overshoot 2 advance 1""#).unwrap();
        assert_eq!(read(&serde_json::to_string(&limit).unwrap()), Ok(limit));
    }

    #[test]
    fn a_bad_structure_is_answered_with_the_field_and_the_mend() {
        for (json, part) in [
            (
                r#"{"rate": "1000"}"#,
                "`rate`: in `1000`: a period is missing",
            ),
            (
                r#"{"rate": "10/s", "overshoot": "x"}"#,
                "`overshoot`: in `x`",
            ),
            (r#"{"rate": "10/s", "bursts": 3}"#, "unknown field `bursts`"),
            (r#"{"burst": 3}"#, "missing field `rate`"),
            (r#"{"rate": "10/s", "burst": -3}"#, "-3"),
            (r#"{"rate": "10/s", "burst": 0}"#, "a burst of 0"),
            (
                r#"{"rate": "10/s", "overshoot": true}"#,
                "tokens, or a percentage",
            ),
            ("17", "a limit such as"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
