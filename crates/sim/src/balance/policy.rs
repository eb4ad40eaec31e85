//! The `balance` of a scenario, as it is written.
//!
//! A policy alone, `balance = "random"` or `balance = { sticky = { spill = "5%" } }`, or one that
//! changes: `balance = { policy = "random", steps = [{ at = "20s", policy = … }] }`.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::units::{Count, Share, Span};

/// How requests are spread over replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalanceConfig {
    /// At first.
    pub policy: Policy,
    /// Later, in order of time.
    pub steps: Vec<StepConfig>,
}

/// A change of policy.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepConfig {
    /// When.
    pub at: Span,
    /// To what.
    pub policy: Policy,
}

/// Which replica a request goes to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Policy {
    /// Any, each as likely.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// Always one replica for a key, as long as it lives; when it does not, its keys go to all
    /// others, and no other key moves.
    Sticky {
        /// Which part of the requests goes to any replica instead.
        #[serde(default)]
        spill: Share,
    },
    /// The one at which the fewest requests wait. It costs time in proportion to the fleet.
    LeastLoaded,
    /// The less busy of two that chance picks.
    TwoChoices,
    /// One gets a share, the others the rest, evenly.
    Skewed {
        /// Which one, by position; counting goes on at the first after the last.
        to: u32,
        /// The replica's weight.
        share: Share,
    },
    /// By weight, one for each position; those without one get nothing.
    Weights(Vec<f64>),
    /// Connections are kept: a client stays with a replica for a while.
    Client {
        /// For how many requests on average; chance decides after each.
        requests: Count,
    },
    /// One gets a share, and it is another one every so often.
    Moving {
        /// How often.
        every: Span,
        /// The replica's weight.
        share: Share,
    },
}

impl BalanceConfig {
    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// Names the field and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        self.policy.check("balance")?;
        let mut before = None;
        for (index, step) in self.steps.iter().enumerate() {
            let name = format!("balance.steps[{index}]");
            if before.is_some_and(|before| step.at <= before) {
                return Err(format!(
                    "`{name}.at` is {}, no later than the step before: put steps in order of time",
                    step.at
                ));
            }
            before = Some(step.at);
            step.policy.check(&name)?;
        }
        Ok(())
    }

    /// When requests begin to go elsewhere, in a run of a length: ascending, 0 left out.
    pub fn change_points(&self, duration: Span) -> Vec<u64> {
        let starts = core::iter::once(0).chain(self.steps.iter().map(|step| step.at.0));
        let ends = self.steps.iter().map(|step| step.at.0);
        let ends = ends.chain([duration.0]).map(|end| end.min(duration.0));
        let policies =
            core::iter::once(&self.policy).chain(self.steps.iter().map(|step| &step.policy));
        let mut points = Vec::new();
        for ((start, end), policy) in starts.zip(ends).zip(policies) {
            if start >= end {
                continue;
            }
            points.push(start);
            if let Policy::Moving { every, .. } = policy {
                let moves = (start / every.0 + 1..).map(|period| period * every.0);
                points.extend(moves.take_while(|at_ns| *at_ns < end));
            }
        }
        points.retain(|at_ns| *at_ns > 0);
        points
    }
}

impl Policy {
    fn check(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Weights(weights) => check_weights(name, weights),
            Self::Client { requests } if requests.0 == 0 => Err(format!(
                "`{name}.client.requests` is 0: a connection serves at least 1 request"
            )),
            Self::Moving { every, .. } if *every < MOVING_EVERY_MIN => Err(format!(
                "`{name}.moving.every` is {every}: it must be at least {MOVING_EVERY_MIN}"
            )),
            _ => Ok(()),
        }
    }
}

fn check_weights(name: &str, weights: &[f64]) -> Result<(), String> {
    let sum: f64 = weights.iter().sum();
    let bad = weights
        .iter()
        .any(|weight| !weight.is_finite() || *weight < 0.0);
    if bad || !sum.is_finite() || sum <= 0.0 {
        return Err(format!(
            "`{name}.weights` is {weights:?}: weights must be 0 or more, and not all of them 0"
        ));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for BalanceConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Changing {
            #[serde(default)]
            policy: Policy,
            #[serde(default)]
            steps: Vec<StepConfig>,
        }

        let written = toml::Value::deserialize(deserializer)?;
        let changes = ["policy", "steps"]
            .iter()
            .any(|field| written.get(field).is_some());
        let read = if changes {
            written
                .try_into()
                .map(|Changing { policy, steps }| Self { policy, steps })
        } else {
            written.try_into().map(|policy| Self {
                policy,
                steps: Vec::new(),
            })
        };
        read.map_err(|error: toml::de::Error| D::Error::custom(error.message()))
    }
}

/// Keeps the points at which things change to a thousand a second.
const MOVING_EVERY_MIN: Span = Span::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Scenario {
        #[serde(default)]
        balance: BalanceConfig,
    }

    fn read(text: &str) -> BalanceConfig {
        let config = toml::from_str::<Scenario>(text).unwrap().balance;
        config.check().unwrap();
        config
    }

    fn refused(text: &str) -> String {
        match toml::from_str::<Scenario>(text) {
            Ok(scenario) => scenario.balance.check().unwrap_err(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_policy_is_written_alone_or_with_its_changes() {
        assert_eq!(read("").policy, Policy::Random);
        assert_eq!(read("balance = \"two-choices\"").policy, Policy::TwoChoices);
        let spill = Share::new(0.05).unwrap();
        let sticky = read("balance = { sticky = { spill = \"5%\" } }");
        assert_eq!(sticky.policy, Policy::Sticky { spill });
        assert_eq!(
            read("balance = { weights = [6, 2.5, 1] }").policy,
            Policy::Weights(vec![6.0, 2.5, 1.0])
        );
        let requests = Count(100);
        let client = read("[balance]\nclient = { requests = 100 }");
        assert_eq!(client.policy, Policy::Client { requests });
        let steps = read(
            "[balance]\nsteps = [{ at = \"20s\", policy = { skewed = { to = 0, share = 1 } } }]",
        );
        let to = Policy::Skewed {
            to: 0,
            share: Share::ALL,
        };
        assert_eq!(steps.policy, Policy::Random);
        assert_eq!(steps.steps[0].policy, to);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        let unknown = refused("balance = \"fastest\"");
        assert!(
            unknown.contains("`fastest`") && unknown.contains("`round-robin`"),
            "{unknown}"
        );
        let field = refused("balance = { sticky = { spil = \"5%\" } }");
        assert!(
            field.contains("`spil`") && field.contains("`spill`"),
            "{field}"
        );
        let mixed = refused("balance = { policy = \"random\", sticky = {} }");
        assert!(mixed.contains("`sticky`"), "{mixed}");
        let share = refused("balance = { skewed = { to = 0, share = \"120%\" } }");
        assert!(share.contains("share from 0 to 1"), "{share}");
        let weights = ["[]", "[0, 0]", "[1, -1]", "[inf]", "[nan, 1]"];
        for weights in weights {
            let refused = refused(&format!("balance = {{ weights = {weights} }}"));
            assert!(refused.contains("`balance.weights`"), "{refused}");
        }
        assert!(refused("balance = { client = { requests = 0 } }").contains("at least 1 request"));
        let moving = refused("balance = { moving = { every = \"0s\", share = \"50%\" } }");
        assert!(moving.contains("`balance.moving.every`"), "{moving}");
        let order = refused(
            "[balance]\nsteps = [{ at = \"2s\", policy = \"random\" }, \
             { at = \"2s\", policy = \"random\" }]",
        );
        assert!(order.contains("`balance.steps[1].at` is 2s"), "{order}");
    }

    #[test]
    fn requests_go_elsewhere_at_steps_and_moves() {
        let seconds = |text: &str| -> Vec<u64> {
            let points = read(text).change_points(Span::from_secs(40));
            points.iter().map(|at_ns| at_ns / 1_000_000_000).collect()
        };
        assert_eq!(seconds(""), [0; 0]);
        let moving = "{ moving = { every = \"10s\", share = \"50%\" } }";
        assert_eq!(seconds(&format!("balance = {moving}")), [10, 20, 30]);
        let between = format!(
            "[balance]\nsteps = [{{ at = \"15s\", policy = {moving} }}, \
             {{ at = \"25s\", policy = \"random\" }}, {{ at = \"40s\", policy = \"random\" }}]"
        );
        assert_eq!(seconds(&between), [15, 20, 25]);
    }
}
