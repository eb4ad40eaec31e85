//! The owner's side of the quota cache: which keys it knows, and which of them want attention.
//!
//! # Invariant
//!
//! A cache has one [`Owner`], which is made with it and is no `Clone`. What changes the cache takes
//! `&mut self`, and what changes an entry takes the [`OwnedEntry`] that only the owner gives. So a
//! thread that has no more than the [`Requests`] can spend, and can neither fill a lease nor forget
//! a key.

use core::error::Error;
use core::fmt;
use core::num::NonZero;
use std::sync::Arc;

use leasehold_core::Instant;

use crate::entry::Entry;
use crate::key::KeyRef;
use crate::owned_entry::OwnedEntry;
use crate::requests::{Config, Requests};

/// The owner of a quota cache: the sync task.
///
/// ```
/// use leasehold_cache::{Config, KeyRef, LimitId, LocalDecision, Owner};
/// use leasehold_core::Instant;
///
/// let (now, deadline) = (Instant::ORIGIN, Instant::from_millis(100));
/// let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// let mut owner = Owner::new(Config { keys_max: 10, seed: 1, signals: 4 });
/// let requests = std::sync::Arc::clone(owner.requests());
/// assert_eq!(requests.try_acquire(key, 1, now), LocalDecision::Unknown);
///
/// let entry = owner.insert(key)?;
/// let mut owned = owner.claim(&entry).expect("nobody has claimed it");
/// owned.deposit(5, deadline, now);
/// assert!(matches!(requests.try_acquire(key, 1, now), LocalDecision::Allow { left: 4, .. }));
/// # Ok::<(), leasehold_cache::Full>(())
/// ```
///
/// Request threads share the [`Requests`], which cannot insert or claim a key:
///
/// ```compile_fail,E0599
/// # use leasehold_cache::{Config, KeyRef, LimitId, Owner};
/// # let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// # let mut owner = Owner::new(Config { keys_max: 10, seed: 1, signals: 4 });
/// let requests = std::sync::Arc::clone(owner.requests());
/// requests.insert(key);
/// ```
///
/// ```compile_fail,E0599
/// # use leasehold_cache::{Config, Owner};
/// # let mut owner = Owner::new(Config { keys_max: 10, seed: 1, signals: 4 });
/// let second: Owner = owner.clone();
/// ```
#[derive(Debug)]
pub struct Owner {
    requests: Arc<Requests>,
    /// How many the machine runs at a time.
    threads: usize,
    /// Keys whose lease has stripes.
    striped: usize,
}

/// Keys with stripes, of 8 KiB at most each: 8 MiB. Keys that threads contend for are few.
const STRIPED_MAX: usize = 1024;

impl Owner {
    /// The owner of a new, empty cache.
    ///
    /// # Panics
    ///
    /// If `config.signals` is 0.
    pub fn new(config: Config) -> Self {
        Self {
            requests: Arc::new(Requests::new(config)),
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            striped: 0,
        }
    }

    /// The side of the cache that request threads share.
    pub const fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// The store has restored so many tokens of the replica's advance of `key`.
    pub fn restore_advance(&mut self, key: KeyRef<'_>, tokens: u64) {
        let requests = &*self.requests;
        requests.advances.put_back(requests.table.hash(key), tokens);
    }

    /// Forgets what was spent of advances, because the replica goes by another name from now on.
    pub fn forget_advances(&mut self) {
        self.requests.advances.clear();
    }

    /// The entry of `key`, added if it is not known yet.
    ///
    /// # Errors
    ///
    /// [`Full`] if the key is not known and the cache holds as many as it may.
    pub fn insert(&mut self, key: KeyRef<'_>) -> Result<Arc<Entry>, Full> {
        self.insert_up_to(self.requests.keys_max(), key)
    }

    /// Adds an entry to a full cache, if threads must find it for a while. The owner removes it as
    /// soon as no request needs it.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no room for such entries either: see
    /// [`keys_bound`](Requests::keys_bound).
    pub fn insert_overflow(&mut self, key: KeyRef<'_>) -> Result<Arc<Entry>, Full> {
        self.insert_up_to(self.requests.keys_bound(), key)
    }

    fn insert_up_to(&mut self, keys_max: usize, key: KeyRef<'_>) -> Result<Arc<Entry>, Full> {
        if let Some(entry) = self.requests.get(key) {
            return Ok(entry);
        }
        if self.requests.len() >= keys_max {
            return Err(Full);
        }
        let entry = Arc::new(Entry::new(key));
        self.requests.table.insert(Arc::clone(&entry));
        Ok(entry)
    }

    /// The owner's side of `entry`, until that is dropped; `None` if it has been given out and was
    /// not dropped yet.
    pub fn claim(&mut self, entry: &Arc<Entry>) -> Option<OwnedEntry> {
        OwnedEntry::claim(entry)
    }

    /// Forgets `entry`; false if it was forgotten before.
    ///
    /// A thread that found the entry earlier may still spend from it, or refund to it, so withdraw
    /// its tokens afterwards; what is refunded later still is lost until the lease expires.
    pub fn remove(&mut self, entry: &Arc<Entry>) -> bool {
        entry.forget();
        let removed = self.requests.table.remove(entry);
        if removed && entry.lease.is_striped() {
            // Those that were striped by hand were not counted.
            self.striped = self.striped.saturating_sub(1);
        }
        removed
    }

    /// Forgets every key and drops what is leased of it: the sync task begins anew after a panic,
    /// or ends. A refund that comes later is lost until the lease expires. Entries that are claimed
    /// stay so: drop them.
    pub fn forget_all(&mut self) {
        for entry in self.requests.table.all() {
            self.remove(&entry);
            entry.lease.renew_generation();
        }
        while self.requests.signals.next().is_some() {}
    }

    /// The next entry that wants the owner's attention. The owner looks at the entry afterwards:
    /// what happens from here on raises a new signal.
    ///
    /// If threads contend for the entry, its lease gets [stripes](OwnedEntry::stripe) first. If it
    /// is not below its watermark at `now` besides, it is not returned: the owner would call the
    /// store, and such a call may release tokens that threads are spending.
    pub fn next_signal(&mut self, now: Instant) -> Option<Arc<Entry>> {
        loop {
            let entry = self.requests.signals.next()?;
            if entry.is_forgotten() || !entry.lease.is_contended() {
                return Some(entry);
            }
            // Read before the stripes exist: a view while a block is carried may count it twice.
            let is_low = entry.lease.view(now).live < entry.watermark();
            if self.striped < STRIPED_MAX {
                entry.lease.stripe(self.threads);
                self.striped += 1;
            }
            if is_low {
                return Some(entry);
            }
        }
    }
}

/// The cache knows as many keys as it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the quota cache is full")
    }
}

impl Error for Full {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::LimitId;
    use crate::local_decision::LocalDecision;

    const NOW: Instant = Instant::ORIGIN;
    const DEADLINE: Instant = Instant::from_nanos(24 << 22);
    const ALICE: KeyRef<'_> = key(b"alice");

    const fn key(subject: &[u8]) -> KeyRef<'_> {
        KeyRef {
            limit: LimitId(0),
            subject,
        }
    }

    /// An empty cache with room for so many keys and four signals: both its sides.
    pub(crate) fn cache_of(keys_max: usize) -> (Arc<Requests>, Owner) {
        let owner = Owner::new(Config {
            keys_max,
            seed: 1,
            signals: 4,
        });
        (Arc::clone(owner.requests()), owner)
    }

    #[test]
    fn an_overflow_entry_finds_room_in_a_full_cache_and_their_number_is_bounded() {
        let (cache, mut owner) = cache_of(3);
        for number in 0..3_u32 {
            owner.insert(key(&number.to_be_bytes())).unwrap();
        }
        assert_eq!(owner.insert(ALICE).unwrap_err(), Full);
        let alice = owner.insert_overflow(ALICE).unwrap();
        assert_eq!(
            cache.try_acquire(ALICE, 0, NOW),
            LocalDecision::Allow {
                left: 0,
                full_at: NOW,
                wake: false
            }
        );
        assert!(Arc::ptr_eq(&owner.insert(ALICE).unwrap(), &alice));
        let mut number = 3_u32;
        while owner.insert_overflow(key(&number.to_be_bytes())).is_ok() {
            number += 1;
        }
        assert_eq!(cache.len(), 3 + 64);
        assert_eq!(cache.len(), cache.keys_bound());
        assert!(owner.remove(&alice));
        assert_eq!(
            owner.insert(ALICE).unwrap_err(),
            Full,
            "overflow entries take room too"
        );
        assert!(owner.insert_overflow(ALICE).is_ok());
    }

    #[test]
    fn a_full_cache_knows_its_keys_and_takes_no_more() {
        let (cache, mut owner) = cache_of(3);
        let first = owner.insert(key(b"1")).unwrap();
        owner.insert(key(b"2")).unwrap();
        owner.insert(key(b"3")).unwrap();
        assert_eq!(owner.insert(key(b"4")).unwrap_err(), Full);
        assert!(Arc::ptr_eq(&owner.insert(key(b"1")).unwrap(), &first));
        assert!(owner.remove(&first));
        assert!(owner.insert(key(b"4")).is_ok());
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn what_is_forgotten_at_once_is_neither_found_nor_spent() {
        let (cache, mut owner) = cache_of(5000);
        // So many that their array has grown, and entries lie in two of them.
        let keys = if cfg!(miri) { 100 } else { 3000_u32 };
        let subjects: Vec<_> = (0..keys).map(u32::to_be_bytes).collect();
        let mut insert = |subject| {
            let entry = owner.insert(key(subject)).unwrap();
            owner.claim(&entry).unwrap()
        };
        let mut entries: Vec<_> = subjects.iter().map(|it| insert(it)).collect();
        for entry in &mut entries {
            entry.deposit(5, DEADLINE, NOW);
            entry.set_slot(1);
            cache.signals.raise(entry);
        }
        owner.forget_all();
        assert_eq!(cache.len(), 0);
        assert!(owner.next_signal(NOW).is_none());
        for (entry, subject) in entries.iter().zip(&subjects) {
            assert!(entry.is_forgotten());
            assert_eq!(
                cache.try_acquire(key(subject), 1, NOW),
                LocalDecision::Unknown
            );
            let short = LocalDecision::Short { tokens: 0 };
            assert_eq!(cache.try_acquire_at(entry, 1, NOW), short);
        }
        let again = owner.insert(key(&subjects[0])).unwrap();
        assert!(!Arc::ptr_eq(&again, &entries[0]));
    }

    /// The signal once led to a call that released four million tokens in use.
    #[test]
    fn a_lease_that_threads_contend_for_gets_stripes_and_is_otherwise_left_alone() {
        let (_, mut owner) = cache_of(2);
        let mut contended = |live, watermark| {
            let entry = owner.insert(key(&[live])).unwrap();
            let mut entry = owner.claim(&entry).unwrap();
            entry.deposit(u32::from(live), DEADLINE, NOW);
            entry.set_watermark(watermark);
            entry.lease.count_races(1000);
            owner.requests().signals.raise(&entry);
            let told = owner.next_signal(NOW).is_some();
            (told, entry.lease.is_striped())
        };
        assert_eq!(contended(10, 10), (false, true));
        assert_eq!(contended(9, 10), (true, true), "it is low besides");
    }
}
