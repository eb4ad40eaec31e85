//! The entries that this thread asks for most: a key that is asked for again is not looked up
//! again.
//!
//! # Invariant
//!
//! A thread finds here only an entry that the table had of that very key, and that is not marked as
//! forgotten. So an answer is never wrong for longer than a look-up takes; it can only be missing.
//!
//! Each thread has a place for a key, by its hash. It puts an entry there when one key that is not
//! there came [`TIMES`] times in a row: a key that is one of many takes no place, and costs a
//! comparison. A thread keeps at most [`PLACES`] entries alive that their tables may have
//! forgotten, until other keys take their places or the thread ends.

use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use crate::entry::Entry;
use crate::key::KeyRef;

/// The fingerprint of a key: its table among all of this process, and a part of its hash there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint(u64);

/// The number of a table in this process: entries of two tables must not be confused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(u32);

impl Home {
    /// A number that no table had before, or [`NOWHERE`] after four thousand million tables.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = NEXT.fetch_update(Relaxed, Relaxed, |next| next.checked_add(1));
        Self(next.unwrap_or(NOWHERE))
    }

    /// Stands for a key of this table with this hash.
    #[inline]
    pub(crate) const fn fingerprint(self, hash: u64) -> Fingerprint {
        Fingerprint(hash >> HOME_BITS << HOME_BITS | self.0 as u64)
    }
}

const HOME_BITS: u32 = 32;

/// A table of this number has its keys looked up each time.
const NOWHERE: u32 = u32::MAX;

/// Calls `known` with the entry of `key`, if this thread keeps it and its table has not forgotten
/// it.
///
/// # Errors
///
/// True if the key is not kept, and came so often that it should be [kept](keep).
#[inline]
pub(crate) fn with_entry<T>(
    fingerprint: Fingerprint,
    hash: u64,
    key: KeyRef<'_>,
    known: impl FnOnce(&Arc<Entry>) -> T,
) -> Result<T, bool> {
    let look = |recent: &RefCell<ThreadCache>| {
        let Ok(recent) = recent.try_borrow() else {
            return Err(false);
        };
        let place = &recent.0[index(hash)];
        match place.entry(fingerprint, key) {
            Some(entry) => Ok(known(entry)),
            None => Err(place.asks(fingerprint)),
        }
    };
    // There is none while the thread ends.
    THREAD_CACHE.try_with(look).unwrap_or(Err(false))
}

/// Keeps the entry that the table had.
pub(crate) fn keep(fingerprint: Fingerprint, hash: u64, entry: &Arc<Entry>) {
    let keep = |recent: &RefCell<ThreadCache>| {
        if let Ok(mut recent) = recent.try_borrow_mut()
            && !fingerprint.is_nowhere()
        {
            recent.keep(fingerprint, hash, entry);
        }
    };
    let _ = THREAD_CACHE.try_with(keep);
}

thread_local! {
    static THREAD_CACHE: RefCell<ThreadCache> = const { RefCell::new(ThreadCache::new()) };
}

struct ThreadCache([Place; PLACES]);

struct Place {
    fingerprint: Fingerprint,
    entry: Option<Arc<Entry>>,
    /// The key that was last asked for and not found here, and how many times in a row.
    asked: Cell<Fingerprint>,
    times: Cell<u32>,
}

impl ThreadCache {
    const fn new() -> Self {
        Self([const { Place::empty() }; PLACES])
    }

    fn keep(&mut self, fingerprint: Fingerprint, hash: u64, entry: &Arc<Entry>) {
        self.0[index(hash)] = Place {
            fingerprint,
            entry: Some(Arc::clone(entry)),
            ..Place::empty()
        };
    }
}

impl Place {
    const fn empty() -> Self {
        Self {
            fingerprint: Fingerprint::NONE,
            entry: None,
            asked: Cell::new(Fingerprint::NONE),
            times: Cell::new(0),
        }
    }

    #[inline]
    fn entry(&self, fingerprint: Fingerprint, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        if self.fingerprint != fingerprint {
            return None;
        }
        let entry = self.entry.as_ref()?;
        (entry.is_of(key) && !entry.is_forgotten()).then_some(entry)
    }

    /// Counts a key that is not here; true if it came often enough.
    #[inline]
    fn asks(&self, fingerprint: Fingerprint) -> bool {
        let before = if self.asked.get() == fingerprint {
            self.times.get()
        } else {
            0
        };
        self.asked.set(fingerprint);
        self.times.set(before + 1);
        before + 1 >= TIMES
    }
}

impl Fingerprint {
    /// The fingerprint of no key: no table is number 0.
    const NONE: Self = Self(0);

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is wanted"
    )]
    const fn is_nowhere(self) -> bool {
        self.0 as u32 == NOWHERE
    }
}

/// By bits of the hash that are not in the fingerprint.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "masked to few bits")]
const fn index(hash: u64) -> usize {
    hash as usize & (PLACES - 1)
}

/// 2 KiB a thread that decides. Keys that are asked for so often that a look-up counts are few;
/// with more places, keys that come now and then would be found here now and then, and no processor
/// could foresee when.
const PLACES: usize = 64;

/// To take a place costs as much as a few look-ups: it has to pay.
const TIMES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LimitId;

    const HASH: u64 = 7 << 40;

    fn entry(subject: &[u8]) -> Arc<Entry> {
        Arc::new(Entry::new(key(subject)))
    }

    const fn key(subject: &[u8]) -> KeyRef<'_> {
        let limit = LimitId::FIRST;
        KeyRef { limit, subject }
    }

    fn found(home: Home, hash: u64, subject: &[u8]) -> Option<Arc<Entry>> {
        with_entry(home.fingerprint(hash), hash, key(subject), Arc::clone).ok()
    }

    fn put(home: Home, hash: u64, entry: &Arc<Entry>) {
        keep(home.fingerprint(hash), hash, entry);
    }

    /// Whether it is to be kept, of those asked for in this order.
    fn asked(home: Home, hashes: &[u64]) -> Vec<bool> {
        let ask = |&hash| with_entry(home.fingerprint(hash), hash, key(b"?"), |_| ()).unwrap_err();
        hashes.iter().map(ask).collect()
    }

    fn is(found: Option<Arc<Entry>>, entry: &Arc<Entry>) -> bool {
        found.is_some_and(|found| Arc::ptr_eq(&found, entry))
    }

    #[test]
    fn what_was_found_is_known_by_its_table_its_hash_and_its_key() {
        let (home, other, alice) = (Home::new(), Home::new(), entry(b"alice"));
        assert!(found(home, HASH, b"alice").is_none());
        put(home, HASH, &alice);
        assert!(is(found(home, HASH, b"alice"), &alice));
        assert!(found(other, HASH, b"alice").is_none(), "another table");
        assert!(found(home, HASH << 1, b"alice").is_none(), "another hash");
        assert!(found(home, HASH, b"bob").is_none(), "by chance of one hash");
        let limit = LimitId(1);
        let subject = b"alice";
        let elsewhere = KeyRef { limit, subject };
        assert!(with_entry(home.fingerprint(HASH), HASH, elsewhere, |_| ()).is_err());
    }

    #[test]
    fn what_its_table_has_forgotten_is_looked_up() {
        let (home, alice) = (Home::new(), entry(b"alice"));
        put(home, HASH, &alice);
        alice.forget();
        assert!(found(home, HASH, b"alice").is_none());
        let again = entry(b"alice");
        put(home, HASH, &again);
        assert!(is(found(home, HASH, b"alice"), &again));
        assert_eq!(Arc::strong_count(&alice), 1);
    }

    #[test]
    fn a_place_is_for_who_comes_many_times_in_a_row() {
        let (home, alice) = (Home::new(), entry(b"alice"));
        let [a, b, c] = [1, 2, 3].map(|high| high << HOME_BITS);
        put(home, a, &alice);
        assert_eq!(asked(home, &[b, b, b, c, b]), [false; 5], "c came between");
        assert_eq!(asked(home, &[b, b, b, b]), [false, false, true, true]);
        assert_eq!(asked(home, &[a]), [false], "nobody's name by chance");
        assert!(is(found(home, a, b"alice"), &alice));
        put(home, b, &entry(b"bob"));
        assert!(found(home, a, b"alice").is_none());
        assert_eq!(Arc::strong_count(&alice), 1);
    }

    #[test]
    fn a_thread_that_ends_keeps_nothing() {
        let (home, alice) = (Home::new(), entry(b"alice"));
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                put(home, HASH, &alice);
                is(found(home, HASH, b"alice"), &alice)
            });
            assert!(there.join().unwrap());
        });
        assert!(found(home, HASH, b"alice").is_none(), "nor tells others");
    }

    #[test]
    fn a_table_too_many_is_known_nowhere() {
        let home = Home(NOWHERE);
        put(home, HASH, &entry(b"alice"));
        assert!(found(home, HASH, b"alice").is_none());
    }
}
