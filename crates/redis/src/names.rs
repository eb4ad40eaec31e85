//! The names of our keys, and in which slot of a cluster they lie.
//!
//! # Invariant
//!
//! A name depends on the prefix, the partition, the limit's name and the subject, and on nothing
//! else: all replicas, of any version, must find the same bucket, or each would have a limit of its
//! own. Different keys have different names.

use std::fmt::Write;
use std::sync::Arc;

use crate::slot::{SLOTS, slot_of};

/// The names of our keys in one store.
///
/// A store's buckets lie in partitions. The keys of a partition share a hash tag, and with it a
/// slot, so that one call can carry them. A store that is not a cluster has only partition 0; a
/// cluster has [`PARTITIONS`](Self::PARTITIONS), and the node that serves the slot of a partition
/// serves the partition.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
    /// The number in each partition's hash tag; none for a store that is not a cluster, whose tags
    /// have the number of the partition.
    spread: Option<Arc<[u32]>>,
}

impl Names {
    /// Partitions of a cluster. The number is fixed for ever: replicas that disagreed would each
    /// keep buckets of their own. A node with less than a sixty-fourth of the slots may get none of
    /// the load.
    pub const PARTITIONS: u16 = 64;

    /// Names that begin with `prefix`, for a store that is not a cluster.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: escaped(prefix, &['{', '}', '%']),
            spread: None,
        }
    }

    /// Names that begin with `prefix`, for a cluster: the slot of each partition lies in another
    /// sixty-fourth of the slots, the first partition's in the first.
    pub fn spread(prefix: &str) -> Self {
        let plain = Self::new(prefix);
        let mut spread = [None; Self::PARTITIONS as usize];
        // Among the numbers below a thousand there is one for each partition, whatever the prefix:
        // another prefix changes the checksums of all numbers by one and the same difference, which
        // only permutes the partitions.
        for number in 0..1000 {
            let partition = plain.slot(number) / (SLOTS / Self::PARTITIONS);
            spread[usize::from(partition)].get_or_insert(number);
        }
        let found =
            spread.map(|number| number.expect("a thousand numbers fall into every partition"));
        Self {
            spread: Some(found.into()),
            ..plain
        }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.spread
            .as_ref()
            .map_or(1, |_| u32::from(Self::PARTITIONS))
    }

    /// The birth marker of a partition. It holds no colon after the tag, so it is no bucket's name.
    pub fn marker(&self, partition: u32) -> Vec<u8> {
        format!("{{{}}}birth", self.tag(partition)).into_bytes()
    }

    /// The bucket that the limit named `limit` keeps for `subject`, which may be any bytes.
    pub fn bucket(&self, partition: u32, limit: &str, subject: &[u8]) -> Vec<u8> {
        self.buckets(partition, limit).of(subject)
    }

    /// The names of the buckets of the limit named `limit` in one partition, for a caller that
    /// names many.
    pub fn buckets(&self, partition: u32, limit: &str) -> BucketNames {
        let limit = escaped(limit, &[':', '%']);
        BucketNames {
            stem: format!("{{{}}}{limit}:", self.tag(partition)).into_bytes(),
        }
    }

    /// The slot of a cluster in which all keys of a partition lie.
    pub fn slot(&self, partition: u32) -> u16 {
        slot_of(self.tag(partition).as_bytes())
    }

    /// The prefix of all keys.
    pub(crate) fn stem(&self) -> String {
        format!("{{{}:", self.prefix)
    }

    /// The hash tag of a partition. A partition that the store does not have gets a tag as well; it
    /// is never sent.
    fn tag(&self, partition: u32) -> String {
        let numbers = self.spread.as_deref().unwrap_or_default();
        let number = numbers.get(partition as usize).unwrap_or(&partition);
        format!("{}:{number}", self.prefix)
    }
}

/// The names of the buckets of one limit in one partition.
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
            write!(escaped, "%{:02X}", u32::from(character)).expect("a string takes any text");
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
    fn all_names_of_a_partition_have_its_hash_tag() {
        let names = Names::new("a}{b");
        let bucket = names.bucket(3, "{x}", b"{y}\0\xff");
        let tag = b"{a%7D%7Bb:3}";
        assert_eq!(names.marker(3), [tag.as_slice(), b"birth"].concat());
        assert_eq!(bucket, [tag.as_slice(), b"{x}:{y}\0\xff"].concat());
    }

    #[test]
    fn the_partitions_of_a_cluster_lie_evenly_over_its_slots_whatever_the_prefix() {
        for prefix in ["leasehold", "", "{}", "x", "über", &"long".repeat(100)] {
            let names = Names::spread(prefix);
            assert_eq!(names.partitions(), 64);
            for partition in 0..names.partitions() {
                assert_eq!(
                    u32::from(names.slot(partition)) / 256,
                    partition,
                    "{prefix:?}"
                );
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
