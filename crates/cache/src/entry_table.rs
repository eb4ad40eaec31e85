//! The entry table: an array of pointers to entries, which any thread searches while one changes
//! it.
//!
//! # Invariant
//!
//! An entry lies in one place from its insertion to its removal, and a search that lasts while it
//! lies there finds it. An array has room: at most half of its places have ever been used, so a
//! search ends soon, at the first that has not.
//!
//! An array that is half used is replaced by another, into which entries are moved a few at a time,
//! so that no insertion takes long. Meanwhile the new one says where the old one is, and a search
//! looks there first: an entry enters its new place before it leaves the old one. A thread that
//! finds nothing looks whether the arrays are still those it has searched.
//!
//! # Orderings
//!
//! Places, arrays and the way to them are stored with `Release` and loaded with `Acquire` at
//! least: who sees that an entry has left a place sees the place where it went, and who sees an
//! array sees what was put into it before.
//!
//! # Why code that is not checked
//!
//! A table in checked code (papaya's, which is unchecked inside) takes three steps to an entry of
//! ours: its byte of the hash, its pointer, its own box, and then the entry. Each is a cache miss
//! where there are many keys. Here a place is the pointer itself, with three bits of the hash in
//! it: that took a third off a decision among a million keys. All of it rests on two facts, which
//! no other file can break: a place holds nothing or what [`Arc::into_raw`] gave, and what is taken
//! out of its place is dropped by the collector, when nobody reads it any more.
#![expect(
    unsafe_code,
    reason = "see above: it takes a third off a decision among a million keys"
)]

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seize::{Collector, Guard, LocalGuard, reclaim};

use crate::entry::Entry;

/// The entries of a cache, each found by its hash and whatever tells it from others of the same
/// hash.
pub(crate) struct EntryTable {
    array: AtomicPtr<Array>,
    /// Keeps alive what a search may still read.
    collector: Collector,
    entries: AtomicUsize,
    writer: Mutex<Writer>,
}

struct Array {
    /// A power of two of them.
    places: Box<[AtomicPtr<Entry>]>,
    /// The array before this one, with the entries that have not been moved yet; null once all
    /// have.
    before: AtomicPtr<Array>,
}

/// The state that only a thread that changes the array needs.
#[derive(Default)]
struct Writer {
    /// Places of the newest array that are not empty.
    used: usize,
    /// Places of the array before it whose entries have been moved.
    moved: usize,
}

impl EntryTable {
    pub(crate) fn new() -> Self {
        Self {
            array: AtomicPtr::new(Array::new(PLACES_MIN, ptr::null_mut())),
            collector: Collector::new(),
            entries: AtomicUsize::new(0),
            writer: Mutex::default(),
        }
    }

    /// The places as this thread reads them: what it finds stays alive for as long.
    #[inline]
    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned {
            places: self,
            guard: self.collector.enter(),
        }
    }

    /// Calls `found` with the entry of this hash that `is` the one, if it is found at once: while
    /// entries move, [`pin`](Self::pin) and [`find`](Pinned::find) it.
    #[inline]
    pub(crate) fn with_entry<T>(
        &self,
        hash: u64,
        is: impl Fn(&Entry) -> bool,
        found: impl FnOnce(&Arc<Entry>) -> T,
    ) -> Option<T> {
        let guard = self.collector.enter();
        let newest = self.newest(&guard);
        if newest.before(&guard).is_some() {
            return None;
        }
        let (_, entry) = newest.search(hash, &guard, is)?;
        // SAFETY: it was found in a place while the guard was there, which is there still.
        let entry = unsafe { EntryGuard::new(entry) };
        Some(found(&entry))
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// All entries.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let _writer = self.writer();
        let guard = self.collector.enter();
        let newest = self.newest(&guard);
        let arrays = newest.before(&guard).into_iter().chain([newest]);
        let places = arrays.flat_map(|array| &array.places);
        let entries = places.filter_map(|place| Place::entry(guard.protect(place, Acquire)));
        // SAFETY: each was found in a place while the guard was there, which is there still.
        let kept = entries.map(|entry| unsafe { EntryGuard::new(entry) });
        kept.map(|entry| Arc::clone(&entry)).collect()
    }

    /// Adds an entry whose hash this is. `hash_of` tells that of others.
    pub(crate) fn insert(&self, hash: u64, entry: Arc<Entry>, hash_of: impl Fn(&Entry) -> u64) {
        let mut writer = self.writer();
        let guard = self.collector.enter();
        self.move_some(&mut writer, PLACES_MOVED, &guard, &hash_of);
        self.make_room(&mut writer, &guard, &hash_of);
        let place = Place::of(hash, entry);
        writer.used += self.newest(&guard).put(hash, place);
        self.entries.fetch_add(1, Relaxed);
    }

    /// Removes this very entry, whose hash this is; false if it is not there.
    pub(crate) fn remove(&self, hash: u64, entry: &Arc<Entry>) -> bool {
        let _writer = self.writer();
        let guard = self.collector.enter();
        let newest = self.newest(&guard);
        let is_here = |it: &Entry| ptr::eq(it, Arc::as_ptr(entry));
        let found = newest.search(hash, &guard, is_here).or_else(|| {
            let before = newest.before(&guard)?;
            before.search(hash, &guard, is_here)
        });
        let Some((place, it)) = found else {
            return false;
        };
        place.store(Place::GONE, Release);
        self.entries.fetch_sub(1, Relaxed);
        // SAFETY: `it` came from `Arc::into_raw`, lay in this one place, and lies there no more.
        // The writer's lock is held, so nobody else took it out.
        unsafe { guard.defer_retire(it.cast_mut(), drop_entry) };
        true
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // Whoever panicked did so before or after a change, each of which is one store.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn newest<'g>(&self, guard: &'g LocalGuard<'_>) -> &'g Array {
        let array = guard.protect(&self.array, Acquire);
        // SAFETY: it is never null, and came from `Box::into_raw`. It is retired after another has
        // taken its place, so it lives for as long as a guard that was there when it was loaded.
        unsafe { &*array }
    }

    /// Makes another array the newest if the one there is has no room.
    fn make_room(
        &self,
        writer: &mut Writer,
        guard: &LocalGuard<'_>,
        hash_of: &impl Fn(&Entry) -> u64,
    ) {
        let full = self.newest(guard).places.len();
        if 2 * (writer.used + 1) <= full {
            return;
        }
        // There is one array before the newest, never two. It has been emptied long ago, but for
        // the arithmetic of who changes this file.
        self.move_some(writer, usize::MAX, guard, hash_of);
        let mostly_gone = 3 * self.len() < full;
        let wanted = if mostly_gone { full } else { 2 * full };
        let before = self.array.load(Relaxed);
        self.array.store(Array::new(wanted, before), Release);
        *writer = Writer::default();
    }

    /// Moves the entries of the next so many places of the array before the newest.
    fn move_some(
        &self,
        writer: &mut Writer,
        places: usize,
        guard: &LocalGuard<'_>,
        hash_of: &impl Fn(&Entry) -> u64,
    ) {
        let newest = self.newest(guard);
        let Some(before) = newest.before(guard) else {
            return;
        };
        let next = &before.places[writer.moved..];
        for place in next.iter().take(places) {
            let pointer = guard.protect(place, Acquire);
            if let Some(entry) = Place::entry(pointer) {
                // SAFETY: it lies in a place, so it is alive.
                let hash = hash_of(unsafe { &*entry });
                writer.used += newest.put(hash, pointer);
                place.store(Place::GONE, Release);
            }
        }
        writer.moved += next.len().min(places);
        if writer.moved == before.places.len() {
            let before = newest.before.swap(ptr::null_mut(), Release);
            // SAFETY: it came from `Box::into_raw`, and no array leads to it any more. What lay in
            // it lies elsewhere: dropping it drops no entry.
            unsafe { guard.defer_retire(before, reclaim::boxed) };
            // Soon, for it may be large.
            guard.flush();
        }
    }
}

impl Drop for EntryTable {
    fn drop(&mut self) {
        let mut next = *self.array.get_mut();
        while !next.is_null() {
            // SAFETY: it came from `Box::into_raw`, and nobody else is left to read it.
            let mut array = unsafe { Box::from_raw(next) };
            for place in &mut array.places {
                if let Some(entry) = Place::entry(*place.get_mut()) {
                    // SAFETY: it came from `Arc::into_raw` and lies in this one place.
                    drop(unsafe { Arc::from_raw(entry) });
                }
            }
            next = *array.before.get_mut();
        }
    }
}

/// # Safety
///
/// `entry` came from [`Arc::into_raw`], and is in no place any more.
unsafe fn drop_entry(entry: *mut Entry, _: &Collector) {
    // SAFETY: so says the caller.
    drop(unsafe { Arc::from_raw(entry.cast_const()) });
}

/// The table while one thread reads them.
pub(crate) struct Pinned<'a> {
    places: &'a EntryTable,
    guard: LocalGuard<'a>,
}

impl Pinned<'_> {
    /// The entry of this hash that `is` the one, for as long as the places are pinned.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&Entry) -> bool) -> Option<EntryGuard<'_>> {
        let mut newest = self.places.newest(&self.guard);
        loop {
            let before = newest.before(&self.guard);
            let found = before.and_then(|before| before.search(hash, &self.guard, &is));
            let found = found.or_else(|| newest.search(hash, &self.guard, &is));
            if let Some((_, entry)) = found {
                // SAFETY: it was found in a place while the guard was there.
                return Some(unsafe { EntryGuard::new(entry) });
            }
            let searched = newest;
            newest = self.places.newest(&self.guard);
            if ptr::eq(newest, searched) {
                return None;
            }
        }
    }
}

/// An entry that stays alive because its place is pinned.
pub(crate) struct EntryGuard<'a>(ManuallyDrop<Arc<Entry>>, PhantomData<&'a ()>);

impl EntryGuard<'_> {
    /// # Safety
    ///
    /// `entry` came from [`Arc::into_raw`], and was loaded from a place under a guard that lives
    /// for as long as this.
    #[inline]
    unsafe fn new(entry: *const Entry) -> Self {
        // SAFETY: so says the caller. `ManuallyDrop` leaves the count as it is.
        Self(
            ManuallyDrop::new(unsafe { Arc::from_raw(entry) }),
            PhantomData,
        )
    }
}

impl Deref for EntryGuard<'_> {
    type Target = Arc<Entry>;

    #[inline]
    fn deref(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Array {
    fn new(places: usize, before: *mut Self) -> *mut Self {
        let empty = || AtomicPtr::new(ptr::null_mut());
        Box::into_raw(Box::new(Self {
            places: core::iter::repeat_with(empty).take(places).collect(),
            before: AtomicPtr::new(before),
        }))
    }

    #[inline]
    fn before<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<&'g Self> {
        let before = guard.protect(&self.before, Acquire);
        // SAFETY: null, or from `Box::into_raw`, and retired after no array leads to it any more.
        unsafe { before.as_ref() }
    }

    /// The place and the entry of this hash that `is` the one.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is most of a look-up, and a call would spill all registers of a look-up"
    )]
    fn search<'g>(
        &'g self,
        hash: u64,
        guard: &'g LocalGuard<'_>,
        is: impl Fn(&Entry) -> bool,
    ) -> Option<(&'g AtomicPtr<Entry>, *const Entry)> {
        let places = &*self.places;
        let mut at = self.first(hash);
        loop {
            let place = &places[at];
            let pointer = guard.protect(place, Acquire);
            if pointer.is_null() {
                return None;
            }
            if Place::mark(pointer) == mark(hash)
                && let Some(entry) = Place::entry(pointer)
                // SAFETY: it lay in a place while the guard was there.
                && is(unsafe { &*entry })
            {
                return Some((place, entry));
            }
            at = (at + 1) & (places.len() - 1);
        }
    }

    /// Puts an entry into the first place that has none; 1 if that was never used. For who holds
    /// the writer's lock.
    fn put(&self, hash: u64, pointer: *mut Entry) -> usize {
        let mut at = self.first(hash);
        loop {
            let there = self.places[at].load(Relaxed);
            if Place::entry(there).is_none() {
                self.places[at].store(pointer, Release);
                return there.is_null().into();
            }
            at = self.after(at);
        }
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the places there are"
    )]
    fn first(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

/// The content of a place: nothing, a mark that an entry lay there, or the address of an entry with
/// some of its hash in the bits that are 0 in any such address.
struct Place;

impl Place {
    const GONE: *mut Entry = ptr::without_provenance_mut(1);

    fn of(hash: u64, entry: Arc<Entry>) -> *mut Entry {
        Arc::into_raw(entry)
            .cast_mut()
            .map_addr(|address| address | mark(hash))
    }

    #[inline]
    fn mark(pointer: *mut Entry) -> usize {
        pointer.addr() & MARK_MASK
    }

    #[inline]
    fn entry(pointer: *mut Entry) -> Option<*const Entry> {
        let entry = pointer.map_addr(|address| address & !MARK_MASK);
        (!entry.is_null()).then_some(entry.cast_const())
    }
}

/// By bits of the hash that no array is large enough to be indexed by.
#[inline]
const fn mark(hash: u64) -> usize {
    (hash >> (u64::BITS - MARK_BITS)) as usize
}

const MARK_BITS: u32 = align_of::<Entry>().trailing_zeros();
const MARK_MASK: usize = align_of::<Entry>() - 1;

/// Two lines of a cache.
const PLACES_MIN: usize = 16;

/// An array is emptied before the next is half used: of `n` places, at most half hold an entry, and
/// `n / 8` insertions later none does; by then the next one, of `n` or `2 n`, has room for more.
const PLACES_MOVED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyRef, LimitId};

    fn entry(number: u64) -> Arc<Entry> {
        let (limit, subject) = (LimitId::FIRST, &number.to_le_bytes()[..]);
        Arc::new(Entry::new(KeyRef { limit, subject }))
    }

    fn number(entry: &Entry) -> u64 {
        let subject = entry.key().subject.try_into();
        u64::from_le_bytes(subject.expect("eight bytes"))
    }

    /// Two and two have the same.
    fn hash(entry: &Entry) -> u64 {
        (number(entry) / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn insert(places: &EntryTable, numbered: u64) -> Arc<Entry> {
        let entry = entry(numbered);
        places.insert(hash(&entry), Arc::clone(&entry), hash);
        entry
    }

    fn has(places: &EntryTable, entry: &Arc<Entry>) -> bool {
        let pinned = places.pin();
        let found = pinned.find(hash(entry), |it| number(it) == number(entry));
        found.is_some_and(|found| Arc::ptr_eq(&found, entry))
    }

    fn array(places: &EntryTable) -> (usize, bool) {
        let guard = places.collector.enter();
        let newest = places.newest(&guard);
        (newest.places.len(), newest.before(&guard).is_some())
    }

    const MANY: u64 = if cfg!(miri) { 70 } else { 3000 };
    /// Some of them, looked for again each time.
    const SOME: usize = if cfg!(miri) { 6 } else { 40 };
    const ROUNDS: u64 = if cfg!(miri) { 100 } else { 60_000 };

    #[test]
    fn what_lies_there_is_found_before_and_while_and_after_it_moves() {
        let places = EntryTable::new();
        let mut entries = Vec::new();
        let mut seen_moving = 0;
        for numbered in 0..MANY {
            let new = entry(numbered);
            assert!(!has(&places, &new));
            entries.push(insert(&places, numbered));
            seen_moving += u64::from(array(&places).1);
            assert!(entries.iter().rev().take(SOME).all(|it| has(&places, it)));
            assert!(entries.iter().take(SOME).all(|it| has(&places, it)));
        }
        assert!(seen_moving > MANY / 10, "{seen_moving}");
        assert!(entries.iter().all(|it| has(&places, it)));
        assert_eq!(places.len() as u64, MANY);
        assert!(array(&places).0 as u64 >= 2 * MANY, "half of it is empty");
    }

    #[test]
    fn where_entries_come_and_go_the_array_stays_small() {
        let places = EntryTable::new();
        let mut there = std::collections::VecDeque::new();
        for numbered in 0..ROUNDS {
            there.push_back(insert(&places, numbered));
            if there.len() > 5 {
                let oldest = there.pop_front().unwrap();
                assert!(places.remove(hash(&oldest), &oldest));
                assert!(!places.remove(hash(&oldest), &oldest));
                assert!(!has(&places, &oldest));
            }
            assert!(there.iter().all(|it| has(&places, it)));
        }
        assert_eq!(places.len(), 5);
        assert!(array(&places).0 <= 32);
    }

    #[test]
    fn what_is_removed_while_it_waits_to_be_moved_does_not_come_back() {
        let places = EntryTable::new();
        let mut entries: Vec<_> = (0..9).map(|it| insert(&places, it)).collect();
        assert!(array(&places).1, "eight lie in the array before");
        for entry in entries.drain(..) {
            assert!(places.remove(hash(&entry), &entry));
        }
        for numbered in 10..14 {
            insert(&places, numbered);
        }
        assert_eq!(places.len(), 4);
        assert!(!array(&places).1, "all is moved");
    }

    /// The search is slow: it has not come to its entry yet when that is moved to another array.
    #[test]
    fn what_moves_on_while_it_is_searched_for_is_found() {
        let places = EntryTable::new();
        let [_, second] = [0, 1].map(|it| insert(&places, it));
        let mut others = 2..30;
        let grow = || others.by_ref().for_each(|it| drop(insert(&places, it)));
        let grow = core::cell::RefCell::new(grow);
        let pinned = places.pin();
        let found = pinned.find(hash(&second), |it| {
            grow.borrow_mut()();
            number(it) == number(&second)
        });
        assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &second)));
        assert!(array(&places).0 > PLACES_MIN);
    }

    #[test]
    fn entries_are_dropped_with_their_places_and_when_they_are_removed() {
        let places = EntryTable::new();
        let mut entries: Vec<_> = (0..MANY).map(|it| insert(&places, it)).collect();
        while !array(&places).1 {
            entries.push(insert(&places, entries.len() as u64));
        }
        let (some, others) = entries.split_at(entries.len() / 2);
        for entry in some {
            assert!(places.remove(hash(entry), entry));
        }
        let dropped = |it: &&Arc<Entry>| Arc::strong_count(it) == 1;
        assert!(some.iter().filter(dropped).count() > 0, "nobody reads them");
        assert_eq!(others.iter().filter(dropped).count(), 0);
        drop(places);
        assert_eq!(entries.iter().filter(dropped).count(), entries.len());
    }

    #[test]
    fn what_was_found_outlives_its_removal_for_as_long_as_places_are_pinned() {
        let places = EntryTable::new();
        let first = insert(&places, 0);
        let pinned = places.pin();
        let found = pinned.find(hash(&first), |_| true).unwrap();
        let hash_of_first = hash(&first);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(places.remove(hash_of_first, &first));
                drop(first);
                // Enough for the collector to look what can be dropped.
                for numbered in 1..100 {
                    let other = insert(&places, numbered);
                    assert!(places.remove(hash(&other), &other));
                }
            });
        });
        assert_eq!(number(&found), 0);
    }
}
