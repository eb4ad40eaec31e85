//! When requests come, and for which keys: an open-loop Poisson stream fixed by a seed.

use std::time::Duration;

use leasehold_sim::stream::{Stream, stream};
use rand_distr::{Distribution, Exp, Zipf};

use crate::demo::plan::Plan;

/// The requests of one replica, in order. The same plan and replica give the same requests for
/// ever, whatever the limiter does with them.
pub(crate) struct Arrivals {
    random: Stream,
    gap: Option<Exp<f64>>,
    key: Zipf<f64>,
    at: f64,
    end: f64,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// Since the start of the run.
    pub(crate) after: Duration,
    pub(crate) key: u32,
}

impl Arrivals {
    pub(crate) fn new(plan: &Plan, replica: u32) -> Self {
        Self {
            random: stream(plan.seed, "demo", u64::from(replica)),
            // A replica without load has no arrivals at all.
            gap: Exp::new(plan.offered_to(replica))
                .ok()
                .filter(|_| plan.offered_to(replica) > 0.0),
            key: Zipf::new(f64::from(plan.keys), plan.zipf).expect("checked with the arguments"),
            at: 0.0,
            end: plan.duration.as_secs_f64(),
        }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.at += self.gap?.sample(&mut self.random);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to keys"
        )]
        let rank = self.key.sample(&mut self.random) as u32;
        let arrival = Arrival {
            after: Duration::from_secs_f64(self.at),
            key: rank - 1,
        };
        (self.at < self.end).then_some(arrival)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::demo::terms::Policy;

    pub(crate) fn plan() -> Plan {
        Plan {
            replicas: 4,
            limit: "1000/s".parse().unwrap(),
            offered: 3000.0,
            skew: 0.8,
            keys: 10,
            zipf: 0.99,
            duration: Duration::from_secs(10),
            store_latency: Duration::ZERO,
            seed: 1,
            redis: None,
            processes: false,
            central: false,
            timed: false,
            prefix: "test".to_owned(),
            policy: Policy::Closed,
            terms: None,
        }
    }

    #[test]
    fn a_seed_fixes_the_load() {
        let plan = plan();
        let load = |seed| {
            let plan = Plan {
                seed,
                ..plan.clone()
            };
            Arrivals::new(&plan, 1).take(100).collect::<Vec<_>>()
        };
        assert_eq!(load(1), load(1));
        assert_ne!(load(1), load(2));
        let other: Vec<_> = Arrivals::new(&plan, 2).take(100).collect();
        assert_ne!(load(1), other, "each replica has a stream of its own");
    }

    #[test]
    fn the_load_is_as_much_as_was_asked_for_and_where() {
        let plan = plan();
        let count = |replica| Arrivals::new(&plan, replica).count();
        assert!((23_000..25_000).contains(&count(0)), "{}", count(0));
        assert!((1_800..2_200).contains(&count(3)), "{}", count(3));
        let keys: Vec<u32> = Arrivals::new(&plan, 0).map(|arrival| arrival.key).collect();
        assert!(keys.iter().all(|key| *key < 10));
        let first = keys.iter().filter(|key| **key == 0).count();
        assert!(first * 4 > keys.len(), "the first key gets about a third");
    }

    #[test]
    fn no_load_is_no_arrivals() {
        let plan = Plan {
            skew: 1.0,
            ..plan()
        };
        assert_eq!(Arrivals::new(&plan, 1).count(), 0);
    }
}
