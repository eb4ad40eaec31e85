//! Expectations of a run: `store-calls = "<= 1.2 * rate / 10"`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::metrics;
use crate::rivals::RivalConfig;
use crate::scenario::LEASED;
use crate::scenario::formula::Formula;

/// All that is expected of the runs of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectations(pub Vec<Expectation>);

/// One measure of one limiter, and what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Which limiter.
    pub of: String,
    /// Which measure; one of [`metrics::METRICS`].
    pub metric: String,
    /// The relation to the bound.
    pub relation: Relation,
    /// The bound.
    pub bound: Formula,
    /// As it was written.
    pub text: String,
}

/// How a measure must stand to its bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relation {
    /// At most.
    AtMost,
    /// At least.
    AtLeast,
    /// Equal, to the last digit.
    Equal,
    /// Less.
    Below,
    /// More.
    Above,
}

impl Relation {
    /// Whether `measured` stands so to `bound`. Nothing stands in any relation to NaN.
    pub fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::AtMost => measured <= bound,
            Self::AtLeast => measured >= bound,
            #[expect(clippy::float_cmp, reason = "meant to the last digit: `== 0`")]
            Self::Equal => measured == bound,
            Self::Below => measured < bound,
            Self::Above => measured > bound,
        }
    }
}

impl Expectations {
    /// Refuses measures and limiters that there are not.
    pub(crate) fn check(&self, rivals: &BTreeMap<String, RivalConfig>) -> Result<(), String> {
        for expectation in &self.0 {
            let of = &expectation.of;
            if of != LEASED && !rivals.contains_key(of) {
                return Err(format!(
                    "[expect.{of}]: there is no [rivals.{of}] in this scenario"
                ));
            }
            metrics::find(&expectation.metric)
                .ok_or_else(|| format!("[expect] {}", metrics::unknown(&expectation.metric)))?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Expectations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let mut expectations = Vec::new();
        for (name, value) in &table {
            match value {
                toml::Value::Table(of_rival) => {
                    for (metric, value) in of_rival {
                        read(name, metric, value, &mut expectations).map_err(D::Error::custom)?;
                    }
                }
                value => read(LEASED, name, value, &mut expectations).map_err(D::Error::custom)?,
            }
        }
        Ok(Self(expectations))
    }
}

/// Reads one condition, or a list of them.
fn read(
    of: &str,
    metric: &str,
    value: &toml::Value,
    expectations: &mut Vec<Expectation>,
) -> Result<(), String> {
    match value {
        toml::Value::String(text) => {
            let (relation, bound) = relation(text).ok_or_else(|| {
                format!("{metric} = \"{text}\": write a relation first, such as \"<= 200\"")
            })?;
            expectations.push(Expectation {
                of: of.to_owned(),
                metric: metric.to_owned(),
                relation,
                bound: Formula::parse(bound).map_err(|error| format!("{metric}: {error}"))?,
                text: text.clone(),
            });
            Ok(())
        }
        toml::Value::Array(all) => {
            for one in all {
                read(of, metric, one, expectations)?;
            }
            Ok(())
        }
        other => Err(format!(
            "{metric} = {other}: write a relation and a number in quotes, such as \"<= 200\""
        )),
    }
}

fn relation(text: &str) -> Option<(Relation, &str)> {
    let text = text.trim();
    let relations = [
        ("<=", Relation::AtMost),
        (">=", Relation::AtLeast),
        ("==", Relation::Equal),
        ("<", Relation::Below),
        (">", Relation::Above),
    ];
    let mut found = relations.into_iter();
    found.find_map(|(sign, relation)| Some((relation, text.strip_prefix(sign)?)))
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of != LEASED {
            write!(f, "{} ", self.of)?;
        }
        write!(f, "{} {}", self.metric, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_for_us_and_for_rivals() {
        let text = "overshoot = \"== 0\"\nutilisation = [\">= 99%\", \"< 1.01\"]\n\
                    [central]\nstore-calls = \"> 5 * rate\"";
        let Expectations(all) = toml::from_str(text).unwrap();
        let mut shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        let expected = [
            "central store-calls > 5 * rate",
            "overshoot == 0",
            "utilisation < 1.01",
            "utilisation >= 99%",
        ];
        shown.sort();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_relation_means_what_it_says() {
        assert!(Relation::AtMost.holds(1.0, 1.0) && !Relation::Below.holds(1.0, 1.0));
        assert!(Relation::AtLeast.holds(1.0, 1.0) && !Relation::Above.holds(1.0, 1.0));
        assert!(Relation::Equal.holds(0.0, 0.0) && !Relation::Equal.holds(1e-9, 0.0));
        assert!(!Relation::AtMost.holds(f64::NAN, 1.0));
    }

    #[test]
    fn what_is_no_condition_is_refused_with_an_example() {
        let error = |text: &str| {
            toml::from_str::<Expectations>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(error("overshoot = 0").contains("such as \"<= 200\""));
        assert!(error("overshoot = \"none\"").contains("write a relation first"));
        assert!(error("overshoot = \"<= \"").contains("ends too soon"));
    }

    #[test]
    fn measures_and_rivals_that_there_are_not_are_refused() {
        let check = |text: &str| {
            let all: Expectations = toml::from_str(text).unwrap();
            all.check(&BTreeMap::new())
        };
        assert!(check("overshoot = \"== 0\"").is_ok());
        assert!(
            check("overshot = \"== 0\"")
                .unwrap_err()
                .contains("overshoot")
        );
        assert!(check("[central]\novershoot = \"== 0\"").is_err());
    }
}
