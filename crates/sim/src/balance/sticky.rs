//! One replica for each key: rendezvous hashing.
//!
//! # Invariant
//!
//! A key belongs to the living replica with the highest score, and the score of a key and a
//! replica never changes: so a replica that leaves gives up its own keys only, and one that joins
//! takes only those that are now its own. Two replicas never score the same.

use leasehold_core::SplitMix64;
use rand::Rng;
use rand::distr::{Bernoulli, Distribution};

use super::{below, odds};
use crate::stream::{Stream, stream};
use crate::units::Share;

/// Sends keys to their replicas.
#[derive(Debug)]
pub(super) struct Sticky {
    spill: Bernoulli,
    salt: u64,
    /// The replicas that lived when `homes` was last forgotten.
    living: Vec<u32>,
    /// The position of each key's replica, or [`UNKNOWN`].
    homes: Vec<u32>,
}

impl Sticky {
    pub(super) fn new(spill: Share, seed: u64) -> Self {
        Self {
            spill: odds(spill.get()),
            salt: stream(seed, "balance keys", 0).next_u64(),
            living: Vec::new(),
            homes: Vec::new(),
        }
    }

    pub(super) fn pick(&mut self, key: u32, living: &[u32], chance: &mut Stream) -> usize {
        if self.spill.sample(chance) {
            return below(living.len(), chance);
        }
        if self.living != living {
            self.living.clear();
            self.living.extend_from_slice(living);
            self.homes.fill(UNKNOWN);
        }
        let place = key as usize;
        if place >= REMEMBERED_MAX {
            return self.home(key, living);
        }
        if place >= self.homes.len() {
            self.homes.resize(place + 1, UNKNOWN);
        }
        if self.homes[place] == UNKNOWN {
            let home = self.home(key, living);
            self.homes[place] = u32::try_from(home).expect("replicas are numbered in 32 bits");
        }
        self.homes[place] as usize
    }

    fn home(&self, key: u32, living: &[u32]) -> usize {
        let scores = living.iter().map(|replica| score(key, *replica, self.salt));
        let best = scores.enumerate().max_by_key(|(_, score)| *score);
        best.expect("somebody lives").0
    }
}

/// A number for the pair of a key and a replica, which no other pair has.
fn score(key: u32, replica: u32, salt: u64) -> u64 {
    let pair = (u64::from(key) << 32 | u64::from(replica)) ^ salt;
    SplitMix64::mix(pair)
}

const UNKNOWN: u32 = u32::MAX;

/// Four megabytes of positions. Keys are numbered by popularity, so those beyond come rarely, and
/// are scored anew each time.
const REMEMBERED_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(sticky: &mut Sticky, living: &[u32], keys: u32) -> Vec<u32> {
        let mut chance = stream(1, "test", 0);
        let picks = (0..keys).map(|key| living[sticky.pick(key, living, &mut chance)]);
        picks.collect()
    }

    #[test]
    fn only_the_keys_of_a_replica_that_leaves_move_and_they_go_to_all_others() {
        let mut sticky = Sticky::new(Share::NONE, 1);
        let before: Vec<u32> = (0..10).collect();
        let after: Vec<u32> = (0..10).filter(|replica| *replica != 3).collect();
        let first = homes(&mut sticky, &before, 20_000);
        let second = homes(&mut sticky, &after, 20_000);
        let mut taken = [0; 10];
        for (was, is) in first.iter().zip(&second) {
            assert!(was == is || *was == 3);
            taken[*is as usize] += i32::from(*was == 3);
        }
        // 2000 keys over nine: 222 each, standard deviation 14.
        taken[3] = 222;
        assert!(
            taken.iter().all(|taken| (160..=290).contains(taken)),
            "{taken:?}"
        );
        assert_eq!(homes(&mut sticky, &before, 20_000), first);
    }

    #[test]
    fn a_replica_that_joins_takes_its_part_and_moves_nothing_else() {
        let mut sticky = Sticky::new(Share::NONE, 1);
        let first = homes(&mut sticky, &[0, 1, 2], 20_000);
        let second = homes(&mut sticky, &[0, 1, 2, 7], 20_000);
        let moved = first.iter().zip(&second).filter(|(was, is)| was != is);
        let moved: Vec<_> = moved.collect();
        assert!(moved.iter().all(|(_, is)| **is == 7));
        assert!((4700..=5300).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn who_is_remembered_is_who_scores_best() {
        let mut sticky = Sticky::new(Share::NONE, 5);
        let living = [2, 3, 5, 8];
        let mut chance = stream(1, "test", 0);
        for key in [0, 9, 0, 9, (1 << 20) - 1, 1 << 20, u32::MAX] {
            let home = sticky.home(key, &living);
            assert_eq!(sticky.pick(key, &living, &mut chance), home);
        }
        assert!(sticky.homes.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_share_of_the_requests_spills_over_all() {
        let mut sticky = Sticky::new(Share::new(0.2).unwrap(), 1);
        let mut chance = stream(1, "test", 0);
        let living: Vec<u32> = (0..10).collect();
        let home = sticky.home(42, &living);
        let picks = (0..50_000).map(|_| sticky.pick(42, &living, &mut chance));
        let away = picks.filter(|position| *position != home).count();
        // 20 % spill, a tenth of that comes home: 9000 of 50000, standard deviation 86.
        assert!((8650..=9350).contains(&away), "{away}");
    }

    #[test]
    fn another_seed_spreads_keys_otherwise() {
        let living: Vec<u32> = (0..10).collect();
        let of = |seed| homes(&mut Sticky::new(Share::NONE, seed), &living, 1000);
        let same = of(1)
            .iter()
            .zip(&of(2))
            .filter(|(one, two)| one == two)
            .count();
        assert!((60..=145).contains(&same), "{same}");
    }
}
