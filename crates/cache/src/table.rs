//! All keys of a replica, found without a lock or an allocation.
//!
//! # Invariant
//!
//! A key is there at most once, with one entry from its insertion to its removal. One owner inserts
//! and removes; any thread finds.
//!
//! The hash of a key is computed once a look-up. First this thread looks among those it found
//! lately ([`thread_cache`]), then in the places that all threads share ([`EntryTable`]), which
//! order an insertion before whatever finds it, and keep what was removed alive while someone reads
//! it.

use core::fmt;
use std::sync::Arc;

use crate::entry::Entry;
use crate::entry_table::{self, EntryGuard, EntryTable};
use crate::key::KeyRef;
use crate::keyed_hash::KeyedHash;
use crate::thread_cache::{self, Home};

/// The keys of a replica and their entries.
pub(crate) struct Table {
    places: EntryTable,
    hasher: KeyedHash,
    home: Home,
}

impl Table {
    /// An empty table whose hashes depend on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            places: EntryTable::new(),
            hasher: KeyedHash::new(seed),
            home: Home::new(),
        }
    }

    /// The hash of `key`, by which it is found.
    #[inline]
    pub(crate) fn hash(&self, key: KeyRef<'_>) -> u64 {
        self.hasher.of(key)
    }

    /// Calls `known` with the entry of `key`, whose hash this is, if this thread keeps it.
    ///
    /// # Errors
    ///
    /// Whether it is to be kept from now on, if it did not.
    #[inline]
    pub(crate) fn with_recent<T>(
        &self,
        hash: u64,
        key: KeyRef<'_>,
        known: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Result<T, bool> {
        thread_cache::with_entry(self.home.fingerprint(hash), hash, key, known)
    }

    /// Calls `found` with the entry of `key`, whose hash this is, if it is found at once: if not,
    /// [`pin`](Self::pin) and [`find`](Pinned::find) it.
    #[inline]
    pub(crate) fn with_entry<T>(
        &self,
        hash: u64,
        key: KeyRef<'_>,
        found: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        self.places
            .with_entry(hash, |entry| entry.is_of(key), found)
    }

    /// From now on this thread knows the entry, whose hash this is.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep(&self, hash: u64, entry: &Arc<Entry>) {
        thread_cache::keep(self.home.fingerprint(hash), hash, entry);
    }

    /// The table as this thread reads it: what it finds stays alive for as long.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned {
            places: self.places.pin(),
            hasher: &self.hasher,
        }
    }

    /// The entry of `key`, to be kept.
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.pin().find(key).map(|entry| Arc::clone(&entry))
    }

    /// The entries of all keys, to be kept.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.places.all()
    }

    /// Adds the entry of a key that is not there yet.
    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        let hash_of = |entry: &Entry| self.hasher.of(entry.key());
        self.places.insert(hash_of(&entry), entry, hash_of);
    }

    /// Removes this very entry; false if it is not there, even if another of its key is.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) -> bool {
        self.places.remove(self.hasher.of(entry.key()), entry)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
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
    places: entry_table::Pinned<'a>,
    hasher: &'a KeyedHash,
}

impl Pinned<'_> {
    /// The entry of `key`, for as long as the table is pinned.
    #[inline]
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Option<EntryGuard<'_>> {
        let hash = self.hasher.of(key);
        self.places.find(hash, |entry| entry.is_of(key))
    }
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
}
