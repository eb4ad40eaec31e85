//! The hash of a key, which nobody can compute who does not know the seed.
//!
//! # Invariant
//!
//! Clients choose keys: if they knew which of them collide, they could make a table slow. So every
//! bit of a hash depends on seeds that are made of a secret one, and no hash leaves the process.

use core::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use crate::key::KeyRef;

/// The hash function of one table.
#[derive(Debug)]
pub(crate) struct KeyedHash {
    seed: u64,
    seeds: SharedSeed,
}

impl KeyedHash {
    /// One whose hashes depend on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let [first, second] = expand(seed);
        Self {
            seed: first,
            seeds: SharedSeed::from_u64(second),
        }
    }

    /// The hash of `key`.
    #[inline]
    pub(crate) fn of(&self, key: KeyRef<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.seeds);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// Two seeds out of one, by `SplitMix64`: unrelated even where the seed is a small number.
fn expand(seed: u64) -> [u64; 2] {
    let mut state = seed;
    core::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LimitId;

    fn hash(seed: u64, limit: u32, subject: &[u8]) -> u64 {
        let limit = LimitId(limit);
        KeyedHash::new(seed).of(KeyRef { limit, subject })
    }

    #[test]
    fn the_seed_decides_the_hash() {
        for subject in [
            &b""[..],
            b"a",
            b"user:00000000001",
            b"user:00000000000000001",
        ] {
            assert_eq!(hash(1, 0, subject), hash(1, 0, subject));
            assert_ne!(hash(1, 0, subject), hash(2, 0, subject));
        }
    }

    /// Of the bits that places and tags are made of: numbered names must not crowd.
    #[test]
    #[cfg(not(miri))]
    fn names_that_differ_little_spread_evenly() {
        let keyed = KeyedHash::new(1);
        for shift in [0, 16, 32, 56] {
            let mut counts = [0_u32; 256];
            for number in 0..25_600_u32 {
                let subject = format!("user:{number:011}");
                let hash = keyed.of(KeyRef::from(&subject));
                counts[usize::from((hash >> shift).to_le_bytes()[0])] += 1;
            }
            // A hundred each, give or take six times ten.
            let worst = counts.iter().map(|count| count.abs_diff(100)).max();
            assert!(worst.is_some_and(|worst| worst < 60), "{shift}: {worst:?}");
        }
    }

    /// The first outputs that the authors of `SplitMix64` publish for seed 1234567.
    #[test]
    fn seeds_are_expanded_by_splitmix() {
        let [first, second] = expand(1_234_567);
        assert_eq!(first, 6_457_827_717_110_365_317);
        assert_eq!(second, 3_203_168_211_198_807_973);
    }
}
