//! All keys of a replica, found without a lock or an allocation.
//!
//! # Invariant
//!
//! A key is there at most once, with one entry from its insertion to its removal. One owner inserts
//! and removes; any thread finds.
//!
//! The hash of a key is computed once a look-up, with seeds that a client cannot know, and kept
//! beside the entry, so that growing the table reads no key. papaya (the map) orders an insertion
//! before whatever finds it, and keeps what was removed alive while someone reads it.

use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use papaya::{Equivalent, HashSet, HashSetRef, LocalGuard};

use crate::entry::Entry;
use crate::key::KeyRef;

/// The keys of a replica and their entries.
pub(crate) struct Table {
    entries: HashSet<Hashed<Arc<Entry>>, TakeHash>,
    hasher: ahash::RandomState,
}

impl Table {
    /// An empty table whose hashes depend on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let [a, b, c, d] = expand(seed);
        Self {
            entries: HashSet::with_hasher(TakeHash::default()),
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
        }
    }

    /// The table as this thread reads it: what it finds stays alive for as long.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned {
            entries: self.entries.pin(),
            hasher: &self.hasher,
        }
    }

    /// The entry of `key`, to be kept.
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.pin().find(key).cloned()
    }

    /// Adds the entry of a key that is not there yet.
    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        let hash = self.hasher.hash_one(entry.key());
        let added = self.entries.pin().insert(Hashed { hash, item: entry });
        assert!(added, "one owner inserts, and looks first");
    }

    /// Removes this very entry; false if it is not there, even if another of its key is.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) -> bool {
        let table = self.pin();
        let found = table.find(entry.key());
        let here = found.is_some_and(|found| Arc::ptr_eq(found, entry));
        here && table.entries.remove(&table.hashed(entry.key()))
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A table while one thread reads it.
pub(crate) struct Pinned<'a> {
    entries: HashSetRef<'a, Hashed<Arc<Entry>>, TakeHash, LocalGuard<'a>>,
    hasher: &'a ahash::RandomState,
}

impl Pinned<'_> {
    /// The entry of `key`, for as long as the table is pinned.
    #[inline]
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        let found = self.entries.get(&self.hashed(key))?;
        Some(&found.item)
    }

    #[inline]
    fn hashed<'a>(&self, key: KeyRef<'a>) -> Hashed<KeyRef<'a>> {
        let hash = self.hasher.hash_one(key);
        Hashed { hash, item: key }
    }
}

/// An entry in the table, or a key to look up, with the hash of the key.
struct Hashed<T> {
    hash: u64,
    item: T,
}

impl<T> Hash for Hashed<T> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Hashed<Arc<Entry>>> for Hashed<KeyRef<'_>> {
    #[inline]
    fn equivalent(&self, other: &Hashed<Arc<Entry>>) -> bool {
        self.hash == other.hash && self.item == other.item.key()
    }
}

impl PartialEq for Hashed<Arc<Entry>> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.item.key() == other.item.key()
    }
}

impl Eq for Hashed<Arc<Entry>> {}

/// The hasher of the map: takes a hash that is already computed.
#[derive(Clone, Copy, Default)]
struct TakeHash(u64);

impl Hasher for TakeHash {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("`Hashed` writes one u64");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for TakeHash {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

/// Four seeds out of one, by `SplitMix64`: unrelated even where the seed is a small number.
fn expand(seed: u64) -> [u64; 4] {
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

    fn key(limit: u32, subject: &[u8]) -> KeyRef<'_> {
        let limit = LimitId(limit);
        KeyRef { limit, subject }
    }

    fn inserted(table: &Table, key: KeyRef<'_>) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(key));
        table.insert(Arc::clone(&entry));
        entry
    }

    #[test]
    fn a_key_is_its_limit_and_its_subject() {
        let table = Table::new(1);
        let entry = inserted(&table, key(1, b"a"));
        let found = table.get(key(1, b"a")).unwrap();
        assert!(Arc::ptr_eq(&found, &entry));
        assert!(table.get(key(2, b"a")).is_none());
        assert!(table.get(key(1, b"b")).is_none());
        assert!(table.get(key(1, b"")).is_none());
    }

    #[test]
    fn an_equal_hash_does_not_make_an_equal_key() {
        let hash = 1;
        let item = Arc::new(Entry::new(key(1, b"a")));
        let there = Hashed { hash, item };
        let asked = |item| Hashed { hash, item }.equivalent(&there);
        assert!(asked(key(1, b"a")));
        assert!(!asked(key(2, b"a")));
        assert!(!asked(key(1, b"b")));
    }

    #[test]
    fn keys_survive_growth() {
        let table = Table::new(1);
        let keys = if cfg!(miri) { 100 } else { 5000_u32 };
        let subjects: Vec<_> = (0..keys).map(u32::to_be_bytes).collect();
        for subject in &subjects {
            inserted(&table, key(0, subject));
        }
        assert_eq!(table.len(), subjects.len());
        for subject in &subjects {
            assert_eq!(table.get(key(0, subject)).unwrap().key(), key(0, subject));
        }
    }

    #[test]
    fn only_the_very_entry_is_removed() {
        let table = Table::new(1);
        let old = inserted(&table, key(0, b"a"));
        assert!(table.remove(&old));
        assert!(!table.remove(&old));
        let new = inserted(&table, key(0, b"a"));
        assert!(!table.remove(&old), "its key has another entry now");
        assert!(table.remove(&new));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_seed_decides_the_hash() {
        let hash = |seed| Table::new(seed).pin().hashed(key(0, b"a")).hash;
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    /// The first outputs that the authors of `SplitMix64` publish for seed 1234567.
    #[test]
    fn seeds_are_expanded_by_splitmix() {
        let [first, second, ..] = expand(1_234_567);
        assert_eq!(first, 6_457_827_717_110_365_317);
        assert_eq!(second, 3_203_168_211_198_807_973);
    }
}
