//! A question to the tuner: a limit, the load it is to meet, and what must come of it.

use leasehold_core::Limit;

use crate::keys::KeysConfig;
use crate::load::{FlashConfig, LoadConfig};
use crate::network::Latency;
use crate::numbers::{float, per_second, whole};
use crate::rivals::RivalConfig;
use crate::rivals::central::CentralConfig;
use crate::scenario::Scenario;
use crate::tune::figures::{Aim, Bound, Measure};
use crate::units::{Count, PerSecond, Span};

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The limit; its budget for overshoot is what it has now.
    pub limit: Limit,
    /// How many replicas share it.
    pub replicas: u32,
    /// Requests per second, to all replicas together.
    pub offered: PerSecond,
    /// How many keys they are for, each under the limit.
    pub keys: Count,
    /// The exponent of Zipf's law by which keys are chosen.
    pub zipf: f64,
    /// Time of a round trip to the store.
    pub latency: Span,
    /// The bounds that must be kept.
    pub objectives: Objectives,
    /// The first seed.
    pub seed: u64,
}

/// The most that may come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objectives {
    /// Tokens beyond burst and rate.
    pub overshoot: u64,
    /// Share of requests denied although nothing was scarce.
    pub false_denials: f64,
    /// Share of the ideal that may be missing.
    pub deficit: f64,
    /// The bound with a lull in the load: it drops to a tenth, and comes back.
    pub lull_deficit: f64,
    /// Store calls per second, if they are bounded; the fewest are looked for in any case.
    pub store_calls: Option<f64>,
}

/// How the question is changed to see how the answer bears it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Times {
    pub(crate) load: u32,
    pub(crate) replicas: u32,
    pub(crate) latency: u32,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            overshoot: 0,
            false_denials: 0.001,
            deficit: 0.01,
            lull_deficit: 0.02,
            store_calls: None,
        }
    }
}

impl Times {
    /// As asked.
    pub(crate) const ONE: Self = Self {
        load: 1,
        replicas: 1,
        latency: 1,
    };
}

impl Objectives {
    /// Fewest store calls within these bounds.
    pub(crate) fn aim(&self, limit: &Limit) -> Aim {
        let share = |measure, most: f64, least: f64| Bound {
            measure,
            most,
            scale: most.max(least),
        };
        let (overshoot, burst) = (float(self.overshoot), float(limit.burst()));
        let mut bounds = vec![
            share(Measure::Overshoot, overshoot, (burst / 100.0).max(1.0)),
            share(Measure::FalseDenials, self.false_denials, 0.0001),
            share(Measure::Deficit, self.deficit, 0.001),
            share(Measure::LullDeficit, self.lull_deficit, 0.001),
        ];
        bounds.extend(
            self.store_calls
                .map(|most| share(Measure::StoreCalls, most, 1.0)),
        );
        Aim {
            minimise: Measure::StoreCalls,
            bounds,
        }
    }

    fn check(&self) -> Result<(), String> {
        let shares = [
            ("false denials", self.false_denials),
            ("the deficit", self.deficit),
            ("the deficit with a lull", self.lull_deficit),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} must be a share from 0 to 1, such as 1%"));
            }
        }
        match self.store_calls {
            Some(calls) if !(calls.is_finite() && calls > 0.0) => {
                Err("store calls must be above 0 a second, such as 100".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Question {
    /// The scenario that answers it, changed by so much. With a `lull`, a tenth is offered in the
    /// meantime, until the bucket has filled twice.
    ///
    /// # Errors
    ///
    /// What of the question cannot be, and the mend.
    pub(crate) fn scenario(&self, times: Times, lull: bool) -> Result<Scenario, String> {
        self.objectives.check()?;
        let offered = self.offered.0 * f64::from(times.load);
        if offered <= 0.0 {
            return Err("nothing is offered: say a rate above 0, such as 3000/s".to_owned());
        }
        let warmup = self.warmup();
        let measured = self.measured();
        let duration = Span(warmup.0 + measured.0);
        let flash = lull.then(|| {
            let fill: Span = self.limit.time_for(self.limit.burst()).into();
            FlashConfig {
                at: Span(warmup.0 + measured.0 / 3),
                times: 0.1,
                rise: Span::ZERO,
                hold: Span(fill.0.saturating_mul(2).min(measured.0 / 3)),
                fall: Span::ZERO,
            }
        });
        let mut scenario = Scenario::new("tune", self.limit, duration);
        scenario.warmup = warmup;
        scenario.slice = duration;
        scenario.loads.push(LoadConfig {
            offered: Some(PerSecond(offered)),
            flash,
            keys: KeysConfig {
                count: self.keys,
                zipf: self.zipf,
                ..KeysConfig::default()
            },
            ..LoadConfig::default()
        });
        scenario.fleet.replicas = self.replicas.saturating_mul(times.replicas);
        let latency = self.latency.0.saturating_mul(times.latency.into());
        scenario.network.latency = Latency::Constant(Span(latency));
        let central = RivalConfig::Central(CentralConfig::default());
        scenario.rivals.insert(CENTRAL.to_owned(), central);
        scenario.check()?;
        Ok(scenario)
    }

    /// Until the bucket of the average key is drained, if it ever is, and demand is known.
    fn warmup(&self) -> Span {
        let beyond = self.offered.0 / float(self.keys.0.max(1)) - per_second(self.limit.rate());
        let drained = 1.5 * float(self.limit.burst()) / beyond;
        let seconds = if beyond > 0.0 { drained } else { 0.0 };
        rounded(seconds.clamp(2.0, 60.0))
    }

    /// Long enough for as many requests as tell a thousandth, and for a few tens of the longest
    /// intervals.
    fn measured(&self) -> Span {
        let fill = self.limit.time_for(self.limit.burst()).as_secs_f64();
        let shortest = (4.0 * fill).clamp(2.0, 60.0);
        rounded((REQUESTS / self.offered.0).clamp(shortest, 600.0))
    }
}

/// To whole tenths of a second.
fn rounded(seconds: f64) -> Span {
    let tenths = whole((seconds * 10.0).ceil());
    Span::from_millis(tenths * 100)
}

/// The limiter that asks the store about every request, among the rivals.
pub(crate) const CENTRAL: &str = "central";

/// Requests of a run.
const REQUESTS: f64 = 30_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn question(limit: &str, offered: f64) -> Question {
        Question {
            limit: limit.parse().unwrap(),
            replicas: 10,
            offered: PerSecond(offered),
            keys: Count(1),
            zipf: 0.0,
            latency: Span::from_millis(1),
            objectives: Objectives::default(),
            seed: 1,
        }
    }

    #[test]
    fn a_question_is_a_scenario() {
        let times = Times {
            load: 2,
            replicas: 3,
            latency: 4,
        };
        let scenario = question("1000/s burst 500", 3000.0)
            .scenario(times, false)
            .unwrap();
        assert_eq!(scenario.fleet.replicas, 30);
        assert_eq!(scenario.loads[0].offered, Some(PerSecond(6000.0)));
        assert_eq!(scenario.limits[0].limit.burst(), 500);
        assert_eq!(scenario.warmup, Span::from_secs(2));
        assert_eq!(scenario.duration, Span::from_secs(12));
    }

    #[test]
    fn runs_are_long_enough_and_no_longer_than_anybody_waits_for() {
        let seconds = |limit, offered| {
            let scenario = question(limit, offered).scenario(Times::ONE, true).unwrap();
            scenario.duration.as_secs_f64() - scenario.warmup.as_secs_f64()
        };
        assert!((seconds("100/min", 100.0) - 300.0).abs() < 0.1);
        assert!((seconds("10/day", 0.001) - 600.0).abs() < 0.1);
        assert!((seconds("1000000/s burst 1000", 3e6) - 2.0).abs() < 0.1);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_mend() {
        let refused = |change: fn(&mut Question)| {
            let mut question = question("1000/s", 100.0);
            change(&mut question);
            question.scenario(Times::ONE, false).unwrap_err()
        };
        assert!(refused(|it| it.replicas = 0).contains("at least 1"));
        assert!(refused(|it| it.offered = PerSecond(0.0)).contains("3000/s"));
        assert!(refused(|it| it.keys = Count(0)).contains("at least 1"));
        assert!(refused(|it| it.zipf = -1.0).contains("zipf"));
        assert!(refused(|it| it.objectives.deficit = 1.5).contains("share"));
        assert!(refused(|it| it.objectives.store_calls = Some(0.0)).contains("above 0"));
    }
}
