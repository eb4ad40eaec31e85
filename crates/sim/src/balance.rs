//! Which replica a request goes to.
//!
//! # Invariant
//!
//! A request goes to a replica that lives. Which one is a function of the policy, the seed and the
//! requests so far: of their times, keys, clients and order, and of who lived then.
//!
//! Positions in a policy (`to`, `weights`) count the living replicas, the oldest first. A replica
//! that was chosen to be kept is kept by its number: that others come and go does not move it.

mod policy;
mod seat;
mod sticky;

use rand::Rng;
use rand::distr::{Bernoulli, Distribution};

pub use self::policy::{BalanceConfig, Policy, StepConfig};
use self::seat::{Connections, Favourite};
use self::sticky::Sticky;
use crate::stream::{Stream, stream};

/// Sends requests to replicas.
#[derive(Debug)]
pub struct Balancer {
    way: Way,
    chance: Stream,
    seed: u64,
    /// When the policy changes, and to what; the next one last.
    steps: Vec<(u64, Policy)>,
    next_step_ns: u64,
}

/// A policy, and what it remembers.
#[derive(Debug)]
enum Way {
    Random,
    RoundRobin {
        next: usize,
    },
    Sticky(Sticky),
    LeastLoaded,
    TwoChoices,
    /// Some go to the favourite, the others to anybody else.
    Favoured {
        share: Bernoulli,
        favourite: Favourite,
    },
    /// Sums of the weights up to each position.
    Weights(Vec<f64>),
    Connected(Connections),
}

impl Balancer {
    /// A balancer before its first request. `config` has passed its
    /// [`check`](BalanceConfig::check).
    pub fn new(config: &BalanceConfig, seed: u64) -> Self {
        let steps = config.steps.iter().rev();
        let steps: Vec<_> = steps.map(|step| (step.at.0, step.policy.clone())).collect();
        Self {
            way: Way::new(&config.policy, seed),
            chance: stream(seed, "balance", 0),
            seed,
            next_step_ns: steps.last().map_or(u64::MAX, |step| step.0),
            steps,
        }
    }

    /// The replica, one of `living`, that a request goes to. Times never go back, `living` is
    /// ascending, and `client` is whoever keeps a connection; `busy` says how many requests wait
    /// at a replica.
    ///
    /// # Panics
    ///
    /// If nobody is living.
    #[inline]
    pub fn pick(
        &mut self,
        at_ns: u64,
        key: u32,
        client: u32,
        living: &[u32],
        busy: &dyn Fn(u32) -> u32,
    ) -> u32 {
        if at_ns >= self.next_step_ns {
            self.step(at_ns);
        }
        let chance = &mut self.chance;
        let position = match &mut self.way {
            Way::Random => below(living.len(), chance),
            Way::RoundRobin { next } => in_turn(next, living.len()),
            Way::Sticky(sticky) => sticky.pick(key, living, chance),
            Way::LeastLoaded => least_loaded(living, busy, chance),
            Way::TwoChoices => two_choices(living, busy, chance),
            Way::Favoured { share, favourite } => {
                let position = favourite.find(at_ns, living);
                if share.sample(chance) {
                    position
                } else {
                    below_except(living.len(), position, chance)
                }
            }
            Way::Weights(sums) => weighted(sums, living.len(), chance),
            Way::Connected(connections) => connections.pick(client, living, chance),
        };
        living[position]
    }

    #[cold]
    fn step(&mut self, at_ns: u64) {
        while let Some((_, policy)) = self.steps.pop_if(|step| step.0 <= at_ns) {
            self.way = Way::new(&policy, self.seed);
        }
        self.next_step_ns = self.steps.last().map_or(u64::MAX, |step| step.0);
    }
}

impl Way {
    fn new(policy: &Policy, seed: u64) -> Self {
        match policy {
            Policy::Random => Self::Random,
            Policy::RoundRobin => Self::RoundRobin { next: 0 },
            Policy::Sticky { spill } => Self::Sticky(Sticky::new(*spill, seed)),
            Policy::LeastLoaded => Self::LeastLoaded,
            Policy::TwoChoices => Self::TwoChoices,
            Policy::Skewed { to, share } => Self::Favoured {
                share: odds(share.get()),
                favourite: Favourite::at(*to),
            },
            Policy::Weights(weights) => Self::Weights(sums(weights)),
            Policy::Client { requests } => Self::Connected(Connections::new(*requests)),
            Policy::Moving { every, share } => Self::Favoured {
                share: odds(share.get()),
                favourite: Favourite::moving(*every, seed),
            },
        }
    }
}

/// A number below `end`, each as likely to within 2⁻⁶⁴ of `end`.
#[inline]
fn below(end: usize, chance: &mut Stream) -> usize {
    let wide = u128::from(chance.next_u64()) * end as u128;
    usize::try_from(wide >> 64).expect("less than `end`")
}

/// A number below `end` other than `taken`; that one only if there is no other.
fn below_except(end: usize, taken: usize, chance: &mut Stream) -> usize {
    if end == 1 {
        return taken;
    }
    let other = below(end - 1, chance);
    other + usize::from(other >= taken)
}

fn in_turn(next: &mut usize, end: usize) -> usize {
    let position = if *next < end { *next } else { 0 };
    *next = position + 1;
    position
}

/// The position with the fewest who wait; of several, each as likely.
fn least_loaded(living: &[u32], busy: &dyn Fn(u32) -> u32, chance: &mut Stream) -> usize {
    let (mut least, mut found, mut ties) = (u32::MAX, 0, 0);
    for (position, replica) in living.iter().enumerate() {
        let waiting = busy(*replica);
        if waiting < least || ties == 0 {
            (least, found, ties) = (waiting, position, 1);
        } else if waiting == least {
            ties += 1;
            if below(ties, chance) == 0 {
                found = position;
            }
        }
    }
    found
}

/// The less busy of two; they come in any order, so a tie needs no further chance.
fn two_choices(living: &[u32], busy: &dyn Fn(u32) -> u32, chance: &mut Stream) -> usize {
    let first = below(living.len(), chance);
    let second = below_except(living.len(), first, chance);
    if busy(living[second]) < busy(living[first]) {
        second
    } else {
        first
    }
}

/// A position by weight; by chance alone if all that live weigh nothing.
fn weighted(sums: &[f64], end: usize, chance: &mut Stream) -> usize {
    let sums = &sums[..sums.len().min(end)];
    let sum = sums.last().copied().unwrap_or_default();
    if sum <= 0.0 {
        return below(end, chance);
    }
    let point = rand::RngExt::random::<f64>(chance) * sum;
    // Rounding may put the point on the sum itself: that is the last one that weighs anything.
    let past = sums.partition_point(|sum| *sum <= point);
    let last = sums.partition_point(|part| *part < sum);
    past.min(last)
}

/// The sums of all weights up to each.
fn sums(weights: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |weight: &f64| {
        sum += weight;
        sum
    };
    weights.iter().map(add).collect()
}

fn odds(share: f64) -> Bernoulli {
    Bernoulli::new(share).expect("a share is from 0 to 1")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Count, Share, Span};

    const IDLE: &dyn Fn(u32) -> u32 = &|_| 0;

    fn balancer(policy: Policy, seed: u64) -> Balancer {
        let config = BalanceConfig {
            policy,
            steps: Vec::new(),
        };
        config.check().unwrap();
        Balancer::new(&config, seed)
    }

    fn share(part: f64) -> Share {
        Share::new(part).unwrap()
    }

    /// How many of `requests` each of `replicas` gets; one a microsecond, keys and clients in turn.
    fn counts(policy: Policy, replicas: u32, requests: u32) -> Vec<u32> {
        let mut balancer = balancer(policy, 1);
        let living: Vec<u32> = (0..replicas).collect();
        let mut counts = vec![0; replicas as usize];
        for request in 0..requests {
            let at_ns = u64::from(request) * 1000;
            let replica = balancer.pick(at_ns, request % 5000, request % 700, &living, IDLE);
            counts[replica as usize] += 1;
        }
        counts
    }

    /// Whether counts fit shares, by chi-square at some 1 in 10000 for up to 10 replicas.
    fn fit(counts: &[u32], shares: &[f64]) -> bool {
        let all = f64::from(counts.iter().sum::<u32>());
        let parts = counts.iter().zip(shares).map(|(count, share)| {
            let expected = all * share;
            (f64::from(*count) - expected).powi(2) / expected
        });
        parts.sum::<f64>() < 34.0
    }

    #[test]
    fn random_is_even_and_differs_by_seed() {
        assert!(fit(&counts(Policy::Random, 10, 100_000), &[0.1; 10]));
        let first = |seed| {
            let mut balancer = balancer(Policy::Random, seed);
            let picks = (0..8).map(|_| balancer.pick(0, 0, 0, &[0, 1, 2, 3], IDLE));
            picks.collect::<Vec<_>>()
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn round_robin_takes_turns_also_when_somebody_leaves() {
        let mut balancer = balancer(Policy::RoundRobin, 1);
        let mut pick = |living: &[u32]| balancer.pick(0, 0, 0, living, IDLE);
        let all = [4, 5, 6];
        assert_eq!(
            [pick(&all), pick(&all), pick(&all), pick(&all)],
            [4, 5, 6, 4]
        );
        assert_eq!([pick(&[4]), pick(&[4])], [4, 4]);
        assert_eq!([pick(&all), pick(&all)], [5, 6]);
    }

    #[test]
    fn the_least_loaded_is_taken_and_ties_are_even() {
        let waiting = [3, 1, 2, 1, 1];
        let busy = |replica: u32| waiting[replica as usize];
        let mut balancer = balancer(Policy::LeastLoaded, 1);
        let mut counts = [0; 5];
        for _ in 0..30_000 {
            counts[balancer.pick(0, 0, 0, &[0, 1, 2, 3, 4], &busy) as usize] += 1;
        }
        assert_eq!((counts[0], counts[2]), (0, 0));
        let least = [counts[1], counts[3], counts[4]];
        assert!(fit(&least, &[1.0 / 3.0; 3]), "{counts:?}");
    }

    #[test]
    fn the_busiest_is_taken_by_two_choices_only_if_there_is_no_other() {
        let busy = |replica: u32| replica;
        let mut balancer = balancer(Policy::TwoChoices, 1);
        let mut counts = [0; 4];
        for _ in 0..60_000 {
            counts[balancer.pick(0, 0, 0, &[0, 1, 2, 3], &busy) as usize] += 1;
        }
        // Of 6 pairs, 3 hold the least busy one, 2 the next as the better, 1 the third.
        assert!(
            fit(&counts[..3], &[0.5, 1.0 / 3.0, 1.0 / 6.0]),
            "{counts:?}"
        );
        assert_eq!(counts[3], 0);
        assert_eq!(balancer.pick(0, 0, 0, &[3], &busy), 3);
        assert!(fit(
            &super::tests::counts(Policy::TwoChoices, 4, 60_000),
            &[0.25; 4]
        ));
    }

    #[test]
    fn a_skew_sends_its_share_to_one_and_keeps_it_while_it_lives() {
        let policy = Policy::Skewed {
            to: 1,
            share: share(0.6),
        };
        let counts = counts(policy.clone(), 5, 100_000);
        assert!(fit(&counts, &[0.1, 0.6, 0.1, 0.1, 0.1]), "{counts:?}");

        let all = Policy::Skewed {
            to: 1,
            share: Share::ALL,
        };
        let mut balancer = balancer(all, 1);
        let mut pick = |living: &[u32]| balancer.pick(0, 0, 0, living, IDLE);
        assert_eq!(pick(&[0, 1, 2]), 1);
        assert_eq!(pick(&[1, 2, 3]), 1);
        assert_eq!(pick(&[2, 3, 4]), 3);
        assert_eq!(pick(&[3]), 3);
    }

    #[test]
    fn weights_count_by_position_and_nobody_beyond_them_is_picked() {
        let weights = |weights: &[f64]| Policy::Weights(weights.to_vec());
        let counts = |policy| counts(policy, 4, 100_000);
        let three = counts(weights(&[1.0, 0.0, 3.0]));
        assert_eq!((three[1], three[3]), (0, 0));
        assert!(fit(&[three[0], three[2]], &[0.25, 0.75]), "{three:?}");
        // More weights than replicas: those who live share what there is.
        let more = counts(weights(&[1.0, 1.0, 1.0, 1.0, 96.0]));
        assert!(fit(&more, &[0.25; 4]), "{more:?}");
        let nothing = counts(weights(&[0.0, 0.0, 0.0, 0.0, 1.0]));
        assert!(fit(&nothing, &[0.25; 4]), "{nothing:?}");
    }

    #[test]
    fn policies_change_at_their_times() {
        let config: BalanceConfig = toml::from_str(
            r#"
            policy = { weights = [1, 0, 0] }
            steps = [
                { at = "20s", policy = { skewed = { to = 2, share = "100%" } } },
                { at = "30s", policy = { weights = [0, 1, 0] } },
            ]
            "#,
        )
        .unwrap();
        config.check().unwrap();
        let mut balancer = Balancer::new(&config, 1);
        let second = 1_000_000_000;
        let mut pick = |at_ns| balancer.pick(at_ns, 0, 0, &[0, 1, 2], IDLE);
        assert_eq!(pick(20 * second - 1), 0);
        assert_eq!(pick(20 * second), 2);
        assert_eq!(pick(30 * second - 1), 2);
        assert_eq!(pick(99 * second), 1);
        // Two changes between two requests: the later one counts.
        let mut late = Balancer::new(&config, 1);
        assert_eq!(late.pick(40 * second, 0, 0, &[0, 1, 2], IDLE), 1);
    }

    fn any_policy() -> impl Strategy<Value = Policy> {
        let part = || (0.0..=1.0_f64).prop_map(share);
        prop_oneof![
            Just(Policy::Random),
            Just(Policy::RoundRobin),
            Just(Policy::LeastLoaded),
            Just(Policy::TwoChoices),
            part().prop_map(|spill| Policy::Sticky { spill }),
            (0..9_u32, part()).prop_map(|(to, share)| Policy::Skewed { to, share }),
            proptest::collection::vec(0.1..9.0_f64, 1..6).prop_map(Policy::Weights),
            (1..9_u64).prop_map(|number| Policy::Client {
                requests: Count(number)
            }),
            (1..9_u64, part()).prop_map(|(millis, share)| Policy::Moving {
                every: Span::from_millis(millis),
                share
            }),
        ]
    }

    proptest! {
        #[test]
        fn whoever_is_picked_is_living(
            policy in any_policy(),
            fleets in proptest::collection::vec(
                proptest::collection::btree_set(0..12_u32, 1..8),
                1..20,
            ),
            seed: u64,
        ) {
            let mut balancer = balancer(policy, seed);
            let mut again = 0;
            for living in fleets {
                let living: Vec<u32> = living.into_iter().collect();
                for request in 0..20 {
                    again += 1;
                    let busy = |replica: u32| replica % 3;
                    let replica =
                        balancer.pick(again * 500_000, request % 7, request % 5, &living, &busy);
                    prop_assert!(living.contains(&replica));
                }
            }
        }
    }
}
