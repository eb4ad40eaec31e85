//! The hash of a key, which nobody can compute who does not know the seed.
//!
//! # Invariant
//!
//! Clients choose keys: if they knew which of them collide, they could make a table slow. So every
//! bit of a hash depends on seeds that are made of a secret one, and no hash leaves the process.

use core::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use leasehold_core::SplitMix64;

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
        // Unrelated even where the seed is a small number.
        let mut seeds = SplitMix64::new(seed);
        Self {
            seed: seeds.draw(),
            seeds: SharedSeed::from_u64(seeds.draw()),
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
}
