//! Names of limits, and subjects of any bytes.
//!
//! # Invariant
//!
//! Keys that differ are different keys, in the cache, at the store and in the choice of its part;
//! and all keys of a partition have one hash tag, whatever braces are in them.

use std::sync::Arc;

use leasehold_cache::{Config, KeyRef, LimitId, LocalDecision, Owner};
use leasehold_core::Instant;
use leasehold_redis::codec::Names;
use leasehold_sync::partition_of;

use crate::reader::Reader;

/// Takes two keys from the input, and compares what becomes of them.
pub fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    let prefix = String::from_utf8_lossy(reader.bytes()).into_owned();
    let keys = [(); 2].map(|()| Key {
        partition: u32::from(reader.byte()),
        limit: String::from_utf8_lossy(reader.bytes()).into_owned(),
        subject: reader.bytes().to_vec(),
    });
    are_named_apart(&prefix, &keys);
    are_cached_apart(&keys);
    for Key {
        partition,
        limit,
        subject,
    } in &keys
    {
        let parts = partition + 1;
        assert!(partition_of(limit, subject, parts) < parts);
    }
}

#[derive(Debug, PartialEq)]
struct Key {
    partition: u32,
    limit: String,
    subject: Vec<u8>,
}

fn are_named_apart(prefix: &str, keys: &[Key; 2]) {
    let names = Names::new(prefix);
    let both = keys.each_ref().map(|key| {
        let (bucket, marker) = (
            names.bucket(key.partition, &key.limit, &key.subject),
            names.marker(key.partition),
        );
        let (tag, of_marker) = (hash_tag(&bucket), hash_tag(&marker));
        assert_eq!(tag, of_marker, "{} and its marker", bucket.escape_ascii());
        assert_ne!(bucket, marker);
        let tag = tag.to_vec();
        (bucket, tag)
    });
    let [(first, first_tag), (second, second_tag)] = both;
    assert_eq!(first == second, keys[0] == keys[1]);
    assert_eq!(
        first_tag == second_tag,
        keys[0].partition == keys[1].partition
    );
}

/// The part of a key that a cluster hashes: the text between the first brace and the next closing
/// one, unless that is nothing.
fn hash_tag(key: &[u8]) -> &[u8] {
    let open = key.iter().position(|byte| *byte == b'{');
    let tag = open.and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        Some(&rest[..close])
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn are_cached_apart(keys: &[Key; 2]) {
    let mut owner = Owner::new(Config {
        keys_max: 2,
        seed: 7,
        signals: 2,
    });
    let cache = Arc::clone(owner.requests());
    let [first, second] = keys.each_ref().map(|key| KeyRef {
        limit: LimitId(key.partition),
        subject: &key.subject,
    });
    assert_eq!(cache.try_acquire(first, 1, NOW), LocalDecision::Unknown);
    let entry = owner.insert(first).expect("there is room");
    assert_eq!(entry.key(), first);
    let mut entry = owner.claim(&entry).expect("nobody has claimed it");
    entry.deposit(1, DEADLINE, NOW);
    let same = first == second;
    assert_eq!(cache.get(second).is_some(), same);
    assert_eq!(cache.lacks(second, 1, NOW), !same);
    let other = owner.insert(second).expect("there is room");
    assert_eq!(other.key(), second);
    assert_eq!(cache.len(), if same { 1 } else { 2 });
    assert!(owner.remove(&other));
    assert_eq!(cache.get(first).is_some(), !same);
}

const NOW: Instant = Instant::ORIGIN;
const DEADLINE: Instant = Instant::from_millis(100);
