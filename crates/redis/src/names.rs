//! The names of our keys, and in which slot of a cluster they lie.
//!
//! # Invariant
//!
//! A function of the prefix, the bin, the limit's name and the subject, and of nothing else: all
//! replicas, of any version, must find the same bucket, or each would have a limit of its own.
//! Different keys have different names.

use std::fmt::Write;
use std::sync::Arc;

use crate::slot::{SLOTS, slot_of};

/// The names of our keys in one store.
///
/// A store's buckets lie in bins. The keys of a bin share a hash tag, and with it a slot, so that
/// one call can carry them. A store that is not a cluster needs only bin 0; a cluster has
/// [`BINS`](Self::BINS), which its nodes share as they share the slots.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
    /// The text of each bin's hash tag; for a store that is not a cluster, the number of the bin.
    spread: Option<Arc<[u32]>>,
}

impl Names {
    /// Bins of a cluster. Fixed for ever: replicas that disagreed would each keep buckets of their
    /// own. A node with less than a sixty-fourth of the slots may get none of the load.
    pub const BINS: u16 = 64;

    /// Names that begin with `prefix`, for a store that is not a cluster.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: escaped(prefix, &['{', '}', '%']),
            spread: None,
        }
    }

    /// Names that begin with `prefix`, for a cluster: the slot of each bin lies in another
    /// sixty-fourth of the slots, the first bin's in the first.
    pub fn spread(prefix: &str) -> Self {
        let plain = Self::new(prefix);
        let mut spread = [None; Self::BINS as usize];
        // Among numbers of three digits there is one for each bin, whatever the prefix: it changes
        // the checksum of what follows by one and the same difference, which swaps bins for bins.
        for number in 0..1000 {
            let bin = plain.slot(number) / (SLOTS / Self::BINS);
            spread[usize::from(bin)].get_or_insert(number);
        }
        let found = spread.map(|number| number.expect("a thousand numbers fall into every bin"));
        Self {
            spread: Some(found.into()),
            ..plain
        }
    }

    /// How many bins there are.
    pub fn bins(&self) -> u32 {
        self.spread.as_ref().map_or(1, |_| u32::from(Self::BINS))
    }

    /// The birth marker of a bin. It holds no colon after the tag, so it is no bucket's name.
    pub fn marker(&self, bin: u32) -> Vec<u8> {
        format!("{{{}}}birth", self.tag(bin)).into_bytes()
    }

    /// The bucket that the limit named `limit` keeps for `subject`, which may be any bytes.
    pub fn bucket(&self, bin: u32, limit: &str, subject: &[u8]) -> Vec<u8> {
        self.buckets(bin, limit).of(subject)
    }

    /// The buckets of the limit named `limit` in one bin, for whoever names many.
    pub fn buckets(&self, bin: u32, limit: &str) -> BucketNames {
        let limit = escaped(limit, &[':', '%']);
        BucketNames {
            stem: format!("{{{}}}{limit}:", self.tag(bin)).into_bytes(),
        }
    }

    /// The slot of a cluster in which all keys of a bin lie.
    pub fn slot(&self, bin: u32) -> u16 {
        slot_of(self.tag(bin).as_bytes())
    }

    /// The prefix of all keys.
    pub(crate) fn stem(&self) -> String {
        format!("{{{}:", self.prefix)
    }

    /// A bin that there is none of has a tag like any other, and nobody asks for it.
    fn tag(&self, bin: u32) -> String {
        let numbers = self.spread.as_deref().unwrap_or_default();
        let number = numbers.get(bin as usize).unwrap_or(&bin);
        format!("{}:{number}", self.prefix)
    }
}

/// The names of the buckets of one limit in one bin.
#[derive(Clone, Debug)]
pub struct BucketNames {
    /// The prefix.
    stem: Vec<u8>,
}

impl BucketNames {
    /// The bucket of `subject`, which may be any bytes.
    pub fn of(&self, subject: &[u8]) -> Vec<u8> {
        [self.stem.as_slice(), subject].concat()
    }
}

/// `text` with these characters percent-encoded, so that different texts stay different.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            write!(escaped, "%{:02X}", u32::from(character)).expect("a string takes all");
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_where_what_they_name_differs() {
        let names = Names::new("pre}fix");
        let other = Names::new("pre%7Dfix");
        let all = [
            names.marker(0),
            names.marker(1),
            names.bucket(0, "birth", b""),
            names.bucket(0, "", b"birth"),
            names.bucket(0, "a:b", b"c"),
            names.bucket(0, "a", b"b:c"),
            names.bucket(0, "a%3Ab", b"c"),
            names.bucket(1, "a", b"b:c"),
            other.marker(0),
        ];
        for (place, name) in all.iter().enumerate() {
            assert!(!all[..place].contains(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn all_names_of_a_bin_have_its_hash_tag() {
        let names = Names::new("a}{b");
        let bucket = names.bucket(3, "{x}", b"{y}\0\xff");
        let tag = b"{a%7D%7Bb:3}";
        assert_eq!(names.marker(3), [tag.as_slice(), b"birth"].concat());
        assert_eq!(bucket, [tag.as_slice(), b"{x}:{y}\0\xff"].concat());
    }

    #[test]
    fn the_bins_of_a_cluster_lie_evenly_over_its_slots_whatever_the_prefix() {
        for prefix in ["leasehold", "", "{}", "x", "über", &"long".repeat(100)] {
            let names = Names::spread(prefix);
            assert_eq!(names.bins(), 64);
            for bin in 0..names.bins() {
                assert_eq!(u32::from(names.slot(bin)) / 256, bin, "{prefix:?}");
            }
        }
    }

    /// Replicas of other versions must find the same buckets.
    #[test]
    fn the_names_of_a_cluster_are_for_ever() {
        let names = Names::spread("leasehold");
        assert_eq!(names.marker(0), b"{leasehold:51}birth");
        assert_eq!(names.marker(63), b"{leasehold:373}birth");
        let sum: u32 = names.spread.unwrap().iter().sum();
        assert_eq!(sum, 4692);
    }
}
