//! The keys that requests name, in the order in which they come.
//!
//! # Invariant
//!
//! The same numbers give the same keys in the same order on every machine. Keys lie in memory in
//! the order of the requests, one fresh `String` each, as a service has just read them: a key is
//! warm, what a limiter keeps for it is not.

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_distr::Zipf;
use rand_xoshiro::Xoshiro256PlusPlus;

/// So many different keys of so many bytes.
///
/// # Panics
///
/// If the bytes have no room for the number.
pub fn names(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|number| name(number, bytes)).collect()
}

/// Requests for `keys` different keys, each as likely as any other.
pub fn uniform(keys: usize, requests: usize) -> Vec<String> {
    let any = Uniform::new(0, keys).expect("there are keys");
    let mut random = random();
    (0..requests)
        .map(|_| name(any.sample(&mut random), KEY_BYTES))
        .collect()
}

/// Requests of which few keys get most: the n-th in proportion to 1/n^0.99.
pub fn zipf(keys: usize, requests: usize) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "keys are far below 2^52")]
    let rank = Zipf::new(keys as f64, 0.99).expect("there are keys");
    let mut random = random();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank from 1 to keys"
    )]
    let mut number = || rank.sample(&mut random) as usize - 1;
    (0..requests)
        .map(|_| name(scattered(number(), keys), KEY_BYTES))
        .collect()
}

/// Neighbours in rank are none in memory: the keys were made in order.
fn scattered(rank: usize, keys: usize) -> usize {
    rank.wrapping_mul(7_368_787) % keys
}

fn name(number: usize, bytes: usize) -> String {
    let width = bytes - PREFIX.len();
    let name = format!("{PREFIX}{number:0width$}");
    assert_eq!(name.len(), bytes, "{number} has no room");
    name
}

fn random() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(1)
}

const PREFIX: &str = "user:";

/// Of a key whose time is taken.
pub const KEY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_keys_are_asked_for_and_no_others() {
        let known: HashSet<_> = names(100, KEY_BYTES).into_iter().collect();
        assert_eq!(known.len(), 100);
        for requests in [uniform(100, 10_000), zipf(100, 100_000)] {
            let asked: HashSet<_> = requests.into_iter().collect();
            assert_eq!(asked, known);
        }
        assert_eq!(names(2, 22)[1], "user:00000000000000001");
    }

    #[test]
    fn the_first_by_zipf_gets_its_part() {
        let requests = zipf(1000, 100_000);
        let first = requests
            .iter()
            .filter(|key| **key == name(0, KEY_BYTES))
            .count();
        // 1 / the sum of 1/n^0.99 over 1000, which is 7.73.
        assert!((12_000..14_000).contains(&first), "{first}");
    }
}
