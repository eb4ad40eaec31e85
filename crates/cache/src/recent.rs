//! The entries that this thread found last: a key that is asked for again is not looked up again.
//!
//! # Invariant
//!
//! What is told is the entry that a table had of that very key, and has not said to be forgotten: what
//! one who keeps an [`Entry`] knows of it, and no more. So nothing here can be wrong for longer than a
//! look-up takes; it can only be missing.
//!
//! Each thread has a place for a key, by its hash, and puts an entry there when the same key came
//! [`TIMES`] times in a row that was not there: a key that is one of many takes nobody's place, and costs
//! a comparison. What lies in places keeps at most [`PLACES`] entries alive that their caches may have
//! forgotten; each goes when others come, or the thread ends.

use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use crate::entry::Entry;
use crate::key::KeyRef;

/// A table among all of this process, and a part of a key's hash in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(u64);

/// Which table of this process: their entries must not be taken for each other's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(u32);

impl Home {
    /// One that no table had before; none of all tables after the first four thousand millions.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = NEXT.fetch_update(Relaxed, Relaxed, |next| next.checked_add(1));
        Self(next.unwrap_or(NOWHERE))
    }

    /// Stands for a key of this table with this hash.
    #[inline]
    pub(crate) const fn mark(self, hash: u64) -> Mark {
        Mark(hash >> HOME_BITS << HOME_BITS | self.0 as u64)
    }
}

const HOME_BITS: u32 = 32;

/// Its keys are looked up each time.
const NOWHERE: u32 = u32::MAX;

/// What `known` makes of the entry of `key`, if this thread keeps it and its table has not forgotten
/// it.
///
/// # Errors
///
/// Whether it came so often that it should be [kept](keep), if it is not.
#[inline]
pub(crate) fn with_entry<T>(
    mark: Mark,
    hash: u64,
    key: KeyRef<'_>,
    known: impl FnOnce(&Arc<Entry>) -> T,
) -> Result<T, bool> {
    let look = |recent: &RefCell<Recent>| {
        let Ok(recent) = recent.try_borrow() else {
            return Err(false);
        };
        let place = &recent.0[index(hash)];
        match place.entry(mark, key) {
            Some(entry) => Ok(known(entry)),
            None => Err(place.asks(mark)),
        }
    };
    // There is none while the thread ends.
    RECENT.try_with(look).unwrap_or(Err(false))
}

/// Keeps the entry that the table had.
pub(crate) fn keep(mark: Mark, hash: u64, entry: &Arc<Entry>) {
    let keep = |recent: &RefCell<Recent>| {
        if let Ok(mut recent) = recent.try_borrow_mut()
            && !mark.is_nowhere()
        {
            recent.keep(mark, hash, entry);
        }
    };
    let _ = RECENT.try_with(keep);
}

thread_local!(static RECENT: RefCell<Recent> = const { RefCell::new(Recent::new()) });

struct Recent([Place; PLACES]);

struct Place {
    mark: Mark,
    entry: Option<Arc<Entry>>,
    /// Who came last and was not here, and how many times in a row.
    asked: Cell<Mark>,
    times: Cell<u32>,
}

impl Recent {
    const fn new() -> Self {
        Self([const { Place::empty() }; PLACES])
    }

    fn keep(&mut self, mark: Mark, hash: u64, entry: &Arc<Entry>) {
        self.0[index(hash)] = Place {
            mark,
            entry: Some(Arc::clone(entry)),
            ..Place::empty()
        };
    }
}

impl Place {
    const fn empty() -> Self {
        Self {
            mark: Mark::NONE,
            entry: None,
            asked: Cell::new(Mark::NONE),
            times: Cell::new(0),
        }
    }

    #[inline]
    fn entry(&self, mark: Mark, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        if self.mark != mark {
            return None;
        }
        let entry = self.entry.as_ref()?;
        (entry.is_of(key) && !entry.is_forgotten()).then_some(entry)
    }

    /// Counts who is not here; true if it came often enough.
    #[inline]
    fn asks(&self, mark: Mark) -> bool {
        let before = if self.asked.get() == mark {
            self.times.get()
        } else {
            0
        };
        self.asked.set(mark);
        self.times.set(before + 1);
        before + 1 >= TIMES
    }
}

impl Mark {
    /// Of no key: no table is number 0.
    const NONE: Self = Self(0);

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is wanted"
    )]
    const fn is_nowhere(self) -> bool {
        self.0 as u32 == NOWHERE
    }
}

/// By bits of the hash that are not in the mark.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "masked to few bits")]
const fn index(hash: u64) -> usize {
    hash as usize & (PLACES - 1)
}

/// 2 KiB a thread that decides. Keys that are asked for so often that a look-up counts are few; with more
/// places, keys that come now and then would be found here now and then, and no processor could foresee
/// when.
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
        with_entry(home.mark(hash), hash, key(subject), Arc::clone).ok()
    }

    fn put(home: Home, hash: u64, entry: &Arc<Entry>) {
        keep(home.mark(hash), hash, entry);
    }

    /// Whether it is to be kept, of those asked for in this order.
    fn asked(home: Home, hashes: &[u64]) -> Vec<bool> {
        let ask = |&hash| with_entry(home.mark(hash), hash, key(b"?"), |_| ()).unwrap_err();
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
        assert!(with_entry(home.mark(HASH), HASH, elsewhere, |_| ()).is_err());
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
