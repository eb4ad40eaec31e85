//! Random numbers: one stream per component, so that a change to one leaves all others as they
//! were.
//!
//! That is also what makes comparisons sharp: two settings under the same seed meet the same
//! arrivals, losses and delays as far as they do the same.

use rand::SeedableRng;
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The random numbers of one component. Fast, and the same on every machine.
pub type Stream = Xoshiro256PlusPlus;

/// The stream of the `index`th component of a kind, in a run with a seed.
pub fn stream(seed: u64, component: &str, index: u64) -> Stream {
    // FNV-1a: a name is a number that no other version of anything changes.
    let name = component.bytes().fold(FNV_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    let mixed = SplitMix64::seed_from_u64(seed.rotate_left(32) ^ name);
    let mut mixed = SplitMix64::seed_from_u64(rand::Rng::next_u64(&mut { mixed }) ^ index);
    Stream::from_rng(&mut mixed)
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_differ_by_seed_component_and_index_and_never_change() {
        let first = |seed, component, index| stream(seed, component, index).next_u64();
        let all = [
            first(1, "load", 0),
            first(2, "load", 0),
            first(1, "network", 0),
            first(1, "load", 1),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
        assert_eq!(first(1, "load", 0), all[0]);
    }
}
