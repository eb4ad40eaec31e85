//! The costs of requests.
//!
//! # Invariant
//!
//! A cost is at least 1, and the mean of many is [`CostConfig::mean`].

use std::fmt;

use rand::RngExt;
use rand::distr::{Distribution, Uniform};
use rand_distr::Exp1;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::stream::{Stream, stream};
use crate::units::Count;

/// The costs of requests: `1`, `{ uniform = [1, 5] }` or `{ geometric = { mean = 3 } }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CostConfig {
    /// All the same.
    Fixed(u32),
    /// From the first to the second, both included, each as likely as any other.
    Uniform(u32, u32),
    /// Half of those that cost more than 1 cost more than 2, and so on, if the mean is 2: many
    /// small ones and few large ones.
    Geometric {
        /// At least 1.
        mean: f64,
    },
}

impl Default for CostConfig {
    fn default() -> Self {
        Self::Fixed(1)
    }
}

impl CostConfig {
    /// The mean.
    pub fn mean(self) -> f64 {
        match self {
            Self::Fixed(cost) => f64::from(cost),
            Self::Uniform(least, most) => f64::midpoint(f64::from(least), f64::from(most)),
            Self::Geometric { mean } => mean,
        }
    }

    /// Finds what no field can say by itself.
    ///
    /// # Errors
    ///
    /// A message that names the field and the mend.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Fixed(0) | Self::Uniform(0, _) => {
                Err("`cost` is 0, but a request costs at least 1".into())
            }
            Self::Uniform(least, most) if least > most => Err(format!(
                "`cost.uniform` goes from {least} down to {most}: put the lesser one first"
            )),
            Self::Geometric { mean } if !(1.0..=MEAN_MAX).contains(&mean) => Err(format!(
                "`cost.geometric.mean` must be from 1 to {MEAN_MAX}, such as 3"
            )),
            _ => Ok(()),
        }
    }
}

/// Draws costs.
#[derive(Clone, Debug)]
pub struct Costs {
    random: Stream,
    law: Law,
}

#[derive(Clone, Copy, Debug)]
enum Law {
    Fixed(u32),
    Uniform(Uniform<u32>),
    /// One more than the whole part of an exponential with this mean.
    Geometric {
        mean_of_exponential: f64,
    },
}

impl Costs {
    /// The `index`th drawer of costs in a run with a seed.
    ///
    /// # Errors
    ///
    /// As [`CostConfig::check`].
    pub fn new(config: CostConfig, seed: u64, index: u64) -> Result<Self, String> {
        config.check()?;
        let law = match config {
            CostConfig::Fixed(cost) => Law::Fixed(cost),
            CostConfig::Uniform(least, most) => Law::Uniform(
                Uniform::new_inclusive(least, most).expect("the lesser one comes first"),
            ),
            CostConfig::Geometric { mean } => Law::Geometric {
                // The chance to go on is 1 - 1/mean: none at a mean of 1.
                mean_of_exponential: -(-mean.recip()).ln_1p().recip(),
            },
        };
        Ok(Self {
            random: stream(seed, "costs", index),
            law,
        })
    }

    /// The cost of the next request.
    #[inline]
    pub fn draw(&mut self) -> u32 {
        match &self.law {
            Law::Fixed(cost) => *cost,
            Law::Uniform(law) => law.sample(&mut self.random),
            Law::Geometric {
                mean_of_exponential,
            } => {
                let exponential: f64 = self.random.sample(Exp1);
                above_one(exponential * mean_of_exponential)
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the whole part is meant; the cast saturates"
)]
fn above_one(number: f64) -> u32 {
    (number as u32).saturating_add(1)
}

impl<'de> Deserialize<'de> for CostConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CostVisitor)
    }
}

struct CostVisitor;

/// The forms that are not one number.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Varied {
    Uniform([Count; 2]),
    Geometric { mean: f64 },
}

impl<'de> Visitor<'de> for CostVisitor {
    type Value = CostConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cost: `1`, `{ uniform = [1, 5] }` or `{ geometric = { mean = 3 } }`")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<CostConfig, E> {
        let count = u64::try_from(number).map_err(|_| E::custom("a cost is at least 1"))?;
        self.visit_u64(count)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<CostConfig, E> {
        cost(Count(number)).map(CostConfig::Fixed)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CostConfig, E> {
        cost(text.parse().map_err(E::custom)?).map(CostConfig::Fixed)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CostConfig, A::Error> {
        Ok(
            match Varied::deserialize(MapAccessDeserializer::new(map))? {
                Varied::Uniform([least, most]) => CostConfig::Uniform(cost(least)?, cost(most)?),
                Varied::Geometric { mean } => CostConfig::Geometric { mean },
            },
        )
    }
}

fn cost<E: Error>(count: Count) -> Result<u32, E> {
    u32::try_from(count.0).map_err(|_| E::custom("a cost is at most 4294967295"))
}

/// Costs are 32 bits wide: at this mean none in a run comes near their end.
const MEAN_MAX: f64 = 1e7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::chi_square_is_plausible;

    #[derive(Debug, serde::Deserialize)]
    struct Table {
        cost: CostConfig,
    }

    fn config(text: &str) -> CostConfig {
        toml::from_str::<Table>(&format!("cost = {text}"))
            .unwrap()
            .cost
    }

    fn counts(config: CostConfig, number: usize) -> Vec<f64> {
        let mut costs = Costs::new(config, 1, 0).unwrap();
        let mut counts = vec![0.0; number];
        for _ in 0..DRAWS {
            counts[costs.draw().min(19) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn a_cost_is_a_number_or_a_law() {
        assert_eq!(config("5"), CostConfig::Fixed(5));
        assert_eq!(config("\"2k\""), CostConfig::Fixed(2000));
        assert_eq!(config("{ uniform = [1, 5] }"), CostConfig::Uniform(1, 5));
        assert_eq!(
            config("{ geometric = { mean = 3.0 } }"),
            CostConfig::Geometric { mean: 3.0 }
        );
        assert_eq!(
            config("{ geometric = { mean = 3 } }"),
            CostConfig::Geometric { mean: 3.0 }
        );
    }

    #[test]
    fn what_cannot_be_is_refused_and_the_message_names_a_mend() {
        for (text, part) in [
            ("-1", "at least 1"),
            ("1.5", "a cost: `1`"),
            ("5000000000", "at most 4294967295"),
            ("{ uniform = [1] }", "array of length 2"),
            ("{ normal = 1 }", "expected `uniform` or `geometric`"),
            (
                "{ geometric = { mean = 2, max = 5 } }",
                "unknown field `max`",
            ),
        ] {
            let error = toml::from_str::<Table>(&format!("cost = {text}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (text, part) in [
            ("0", "at least 1"),
            ("{ uniform = [0, 5] }", "at least 1"),
            ("{ uniform = [5, 4] }", "the lesser one first"),
            ("{ geometric = { mean = 0.5 } }", "cost.geometric.mean"),
        ] {
            let error = config(text).check().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn uniform_costs_are_alike() {
        let mut expected = [0.0; 8];
        expected[3..].fill(f64::from(DRAWS) / 5.0);
        let counts = counts(CostConfig::Uniform(3, 7), 8);
        assert!(
            chi_square_is_plausible(&counts[3..], &expected[3..]),
            "{counts:?}"
        );
        assert!(counts[..3].iter().all(|count| *count == 0.0));
    }

    #[test]
    fn geometric_costs_follow_their_law() {
        let counts = counts(CostConfig::Geometric { mean: 3.0 }, 20);
        let go_on: f64 = 2.0 / 3.0;
        let mut expected = vec![0.0];
        expected.extend((0..18).map(|k| f64::from(DRAWS) / 3.0 * go_on.powi(k)));
        expected.push(f64::from(DRAWS) * go_on.powi(18));
        assert!(
            chi_square_is_plausible(&counts[1..], &expected[1..]),
            "{counts:?}"
        );
    }

    #[test]
    fn a_geometric_cost_with_a_mean_of_one_is_one() {
        let mut costs = Costs::new(CostConfig::Geometric { mean: 1.0 }, 1, 0).unwrap();
        assert!((0..1000).all(|_| costs.draw() == 1));
    }

    #[test]
    fn means_are_what_was_asked_for() {
        for config in [
            CostConfig::Fixed(7),
            CostConfig::Uniform(1, 5),
            CostConfig::Geometric { mean: 1.5 },
            CostConfig::Geometric { mean: 40.0 },
        ] {
            let mut costs = Costs::new(config, 1, 0).unwrap();
            let sum: f64 = (0..DRAWS).map(|_| f64::from(costs.draw())).sum();
            let mean = sum / f64::from(DRAWS);
            // A geometric has a deviation a little below its mean, the others less.
            let tolerance = 3.3 * config.mean() / f64::from(DRAWS).sqrt();
            assert!(
                (mean - config.mean()).abs() < tolerance,
                "{config:?}: {mean}"
            );
        }
    }

    const DRAWS: u32 = 200_000;
}
