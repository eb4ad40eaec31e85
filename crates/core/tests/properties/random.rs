//! Chance with a seed, so that every run can be had again.

use std::ops::RangeInclusive;

use leasehold_core::SplitMix64;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number of the range; all are as likely, but for a bias too small to matter here.
    pub(crate) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (start, end) = range.into_inner();
        let numbers = u128::from(end - start) + 1;
        let offset = (u128::from(self.next()) * numbers) >> 64;
        start + u64::try_from(offset).expect("it is at most `end - start`")
    }

    /// A number of the range; all magnitudes are as likely. The range starts above 0.
    pub(crate) fn of_any_size(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (start, end) = range.into_inner();
        let bits = self.within(start.ilog2().into()..=end.ilog2().into());
        let (low, high) = (1 << bits, (1 << bits) - 1 + (1 << bits));
        self.within(start.max(low)..=end.min(high))
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.within(0..=99) < percent
    }

    /// One of these, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, all: &[(T, u64)]) -> T {
        let sum: u64 = all.iter().map(|(_, weight)| weight).sum();
        let mut place = self.within(0..=sum - 1);
        for &(one, weight) in all {
            if place < weight {
                return one;
            }
            place -= weight;
        }
        unreachable!("the place is below the sum of the weights")
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        let last = u64::try_from(length).expect("a length fits") - 1;
        usize::try_from(self.within(0..=last)).expect("it is below a length")
    }
}

/// Runs `schedule` with `count` seeds, or with the one that is asked for.
pub(crate) fn for_seeds(count: u64, schedule: impl Fn(&mut Random)) {
    let seeds = match number_from("LEASEHOLD_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=count * number_from("LEASEHOLD_SCHEDULES").unwrap_or(1),
    };
    for seed in seeds {
        let _told = Told { seed };
        schedule(&mut Random::seeded(seed));
    }
}

/// Whether one schedule is run again, to be looked at.
pub(crate) fn replaying() -> bool {
    number_from("LEASEHOLD_SEED").is_some()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Names the seed of a schedule that fails, wherever it does.
struct Told {
    seed: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with LEASEHOLD_SEED={}", self.seed);
        }
    }
}
