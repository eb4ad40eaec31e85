//! The requests' side of the quota cache: what a replica decides by itself, and when it has to ask
//! the store.
//!
//! # Invariant
//!
//! A request is allowed only out of tokens that a lease held at `now`, and under several limits
//! only if each of them held its cost at the same time; otherwise nothing is spent. An allowed
//! request computes one hash, reads the map once and writes one word. Where the stock is below the
//! watermark it also puts up a flag.
//!
//! Any thread may call every method here. What inserts or removes keys, takes signals or changes a
//! lease is not here: it takes the [`Owner`](crate::Owner), which exists once.

use std::sync::Arc;

use leasehold_core::Instant;
use smallvec::SmallVec;

use crate::advances::Advances;
use crate::entry::Entry;
use crate::entry_table::EntryGuard;
use crate::held::Held;
use crate::key::{KeyRef, LimitId};
use crate::lease::Spent;
use crate::lease_cell::Shortfall;
use crate::local_decision::{LocalDecision, LocalDenial, PackedDecision};
use crate::signals::Signals;
use crate::table::Table;

/// The keys of one replica, with their leases, as request threads use them: shared by all. An
/// [`Owner`](crate::Owner) makes it.
#[derive(Debug)]
pub struct Requests {
    pub(crate) table: Table,
    pub(crate) signals: Signals,
    pub(crate) advances: Advances,
    keys_max: usize,
}

impl Requests {
    /// An empty cache.
    ///
    /// # Panics
    ///
    /// If `config.signals` is 0.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            table: Table::new(config.seed),
            signals: Signals::new(config.signals),
            advances: Advances::new(config.keys_max),
            keys_max: config.keys_max,
        }
    }

    /// Spends `cost` tokens of `key` if the replica holds them, and says so or why not.
    ///
    /// A cost of 0 asks whether the key is known: it is allowed and spends nothing.
    #[inline]
    pub fn try_acquire(&self, key: KeyRef<'_>, cost: u32, now: Instant) -> LocalDecision {
        let hash = self.table.hash(key);
        let known = |entry: &Arc<Entry>| self.spend(entry, cost, now);
        let told = match self.table.with_recent(hash, key, known) {
            Ok(told) => told,
            Err(keep) => self.look_up(hash, key.limit, key.subject, keep, cost, now),
        };
        told.unpack()
    }

    /// Decides for a key that this thread does not keep. The key comes in parts, because they are
    /// passed in registers.
    #[inline(never)]
    fn look_up(
        &self,
        hash: u64,
        limit: LimitId,
        subject: &[u8],
        keep: bool,
        cost: u32,
        now: Instant,
    ) -> PackedDecision {
        let found = |entry: &Arc<Entry>| {
            if keep {
                self.table.keep(hash, entry);
            }
            self.spend(entry, cost, now)
        };
        let told = (self.table).with_entry(hash, KeyRef { limit, subject }, found);
        match told {
            Some(told) => told,
            None => self.look_up_again(limit, subject, cost, now),
        }
    }

    /// Decides for a key that was not found at once, because the table is moving entries.
    #[cold]
    #[inline(never)]
    fn look_up_again(
        &self,
        limit: LimitId,
        subject: &[u8],
        cost: u32,
        now: Instant,
    ) -> PackedDecision {
        let table = self.table.pin();
        match table.find(KeyRef { limit, subject }) {
            Some(entry) => self.spend(&entry, cost, now),
            None => PackedDecision::UNKNOWN,
        }
    }

    /// Decides for an entry that the caller has already looked up. If the cache has
    /// [forgotten](Entry::is_forgotten) it since, its tokens are being given back, and it gets no
    /// more.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is the decision: a call would cost a third of it"
    )]
    pub fn try_acquire_at(&self, entry: &Arc<Entry>, cost: u32, now: Instant) -> LocalDecision {
        self.spend(entry, cost, now).unpack()
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is the decision: a call would cost a third of it"
    )]
    fn spend(&self, entry: &Arc<Entry>, cost: u32, now: Instant) -> PackedDecision {
        entry.touch();
        match entry.lease.spend(cost, now) {
            Ok(spent) => self.allow(entry, spent),
            Err(short) => self.refuse(entry, cost, short, now),
        }
    }

    /// Spends the cost of every key in `requests`, or of none. A key may be named more than once.
    ///
    /// A denial that is known here decides before any token is touched. An empty `requests` is
    /// allowed. The time grows with the number of requests, and so does the memory: up to a few
    /// (eight) nothing is allocated.
    ///
    /// If all can pay, `rank` of each tells which is told of: the first with the lowest rank. It is
    /// given the limit, the tokens left and when the bucket is full.
    pub fn try_acquire_all(
        &self,
        requests: &[(KeyRef<'_>, u32)],
        rank: impl Fn(LimitId, u32, Instant) -> u64,
        now: Instant,
    ) -> AllLocal {
        let table = self.table.pin();
        let mut found: SmallVec<[Option<EntryGuard<'_>>; FEW]> = SmallVec::new();
        for (index, &(key, cost)) in requests.iter().enumerate() {
            let entry = table.find(key);
            if let Some(entry) = &entry {
                entry.touch();
                if let Some(until) = entry.denies(cost, now) {
                    let denial = self.denied(entry, cost, until);
                    return AllLocal::Deny { index, denial };
                }
            }
            found.push(entry);
        }
        self.take_all(requests, &found, rank, now)
    }

    /// Holds the tokens of all keys but the last, and spends those of the last: if it can pay, all
    /// can. Any other way out, a panic too, drops the holds and so refunds them.
    fn take_all(
        &self,
        requests: &[(KeyRef<'_>, u32)],
        found: &[Option<EntryGuard<'_>>],
        rank: impl Fn(LimitId, u32, Instant) -> u64,
        now: Instant,
    ) -> AllLocal {
        let Some((last, firsts)) = found.split_last() else {
            return AllLocal::EMPTY;
        };
        let mut holds: SmallVec<[Held<'_>; FEW]> = SmallVec::new();
        for (index, (entry, &(_, cost))) in firsts.iter().zip(requests).enumerate() {
            match self.hold(entry.as_ref(), cost, now) {
                Ok(held) => holds.push(held),
                Err(told) => return told.at(index),
            }
        }
        let (last_key, last_cost) = requests[firsts.len()];
        let told = match last {
            Some(entry) => self.spend(entry, last_cost, now).unpack(),
            None => LocalDecision::Unknown,
        };
        let LocalDecision::Allow {
            mut left,
            mut full_at,
            mut wake,
        } = told
        else {
            return told.at(firsts.len());
        };
        let mut index = firsts.len();
        let mut lowest = None;
        for (at, (held, entry)) in holds.iter_mut().zip(firsts.iter().flatten()).enumerate() {
            let live = held.spend().map_or(0, |lease| lease.live);
            wake |= self.raise_if_low(entry, live);
            let its = rank(requests[at].0.limit, live, entry.full_at());
            let lowest = lowest.get_or_insert_with(|| rank(last_key.limit, left, full_at));
            if its < *lowest || (its == *lowest && index == firsts.len()) {
                *lowest = its;
                (index, left, full_at) = (at, live, entry.full_at());
            }
        }
        AllLocal::Allow {
            index,
            left,
            full_at,
            wake,
        }
    }

    /// Holds tokens of a key that was looked up; says why not if they cannot be had.
    fn hold<'e>(
        &self,
        entry: Option<&'e EntryGuard<'_>>,
        cost: u32,
        now: Instant,
    ) -> Result<Held<'e>, LocalDecision> {
        let entry = entry.ok_or(LocalDecision::Unknown)?;
        entry.hold(cost, now).map_err(|short| {
            let denial = self.known_denial(entry, cost, now);
            denial.unwrap_or(LocalDecision::Short { tokens: short.live })
        })
    }

    #[inline]
    fn allow(&self, entry: &Arc<Entry>, spent: Spent) -> PackedDecision {
        let calls = spent.live < entry.watermark() || spent.contended;
        let wake = calls && self.signals.raise(entry);
        PackedDecision::allow(spent.live, entry.full_at(), wake)
    }

    /// Decides for a lease that this thread found short.
    #[inline(never)]
    fn refuse(
        &self,
        entry: &Arc<Entry>,
        cost: u32,
        short: Shortfall,
        now: Instant,
    ) -> PackedDecision {
        match entry.denies_short(cost, now) {
            Some(until) => {
                let told = PackedDecision::deny(&LocalDenial::of(entry, until));
                if entry.lease.count_denied(cost) {
                    told
                } else {
                    self.refuse_contended(entry, told)
                }
            }
            None => self.refuse_gathered(entry, cost, short, now),
        }
    }

    /// Counts the lost race and returns `told`. It takes that along so that `refuse` can end in
    /// this call, and saves no registers for it.
    #[cold]
    #[inline(never)]
    fn refuse_contended(&self, entry: &Arc<Entry>, told: PackedDecision) -> PackedDecision {
        self.count_contended(entry);
        told
    }

    /// Gathers the tokens of all stripes, and tries once more. While the key is denied this is not
    /// tried, because each request would search stripes that are all but empty.
    #[cold]
    #[inline(never)]
    fn refuse_gathered(
        &self,
        entry: &Arc<Entry>,
        cost: u32,
        short: Shortfall,
        now: Instant,
    ) -> PackedDecision {
        if !entry.lease.gather(now) {
            return PackedDecision::short(short.live);
        }
        match entry.lease.spend(cost, now) {
            Ok(spent) => self.allow(entry, spent),
            Err(short) => PackedDecision::short(short.live),
        }
    }

    #[inline]
    fn raise_if_low(&self, entry: &Arc<Entry>, left: u32) -> bool {
        left < entry.watermark() && self.signals.raise(entry)
    }

    #[inline]
    fn known_denial(&self, entry: &Arc<Entry>, cost: u32, now: Instant) -> Option<LocalDecision> {
        let until = entry.denies_short(cost, now)?;
        Some(LocalDecision::Deny(self.denied(entry, cost, until)))
    }

    #[inline]
    fn denied(&self, entry: &Arc<Entry>, cost: u32, until: Instant) -> LocalDenial {
        if !entry.lease.count_denied(cost) {
            self.count_contended(entry);
        }
        LocalDenial::of(entry, until)
    }

    /// Counts one race lost for the count of what is denied, and raises a signal once they are
    /// many. It wakes nobody: the owner takes it in its next turn, and the key has no tokens before
    /// one.
    #[cold]
    #[inline(never)]
    fn count_contended(&self, entry: &Arc<Entry>) {
        if entry.lease.count_races(1) {
            self.signals.raise(entry);
        }
    }

    /// Takes `cost` tokens of the replica's advance of `key`, of which it may have spent `most`,
    /// the cost among them. Returns how many are left.
    ///
    /// Whoever takes them tells the sync task, which reports them; or puts them back.
    pub fn take_advance(&self, key: KeyRef<'_>, cost: u32, most: u32) -> Option<u32> {
        self.advances.take(self.table.hash(key), cost, most)
    }

    /// Tokens of an advance were not spent after all.
    pub fn put_back_advance(&self, key: KeyRef<'_>, tokens: u32) {
        self.advances.put_back(self.table.hash(key), tokens.into());
    }

    /// The entry of `key`, if it is known.
    pub fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.table.get(key)
    }

    /// Whether fewer than `cost` tokens of `key` are live here at `now`.
    pub fn lacks(&self, key: KeyRef<'_>, cost: u32, now: Instant) -> bool {
        let table = self.table.pin();
        table
            .find(key)
            .is_none_or(|entry| entry.lease.view(now).live < cost)
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many signals found their queue full since the start.
    pub fn signals_dropped(&self) -> u64 {
        self.signals.dropped()
    }

    /// Forgets the denial of `key`, if it is known: the store may have tokens again. Any thread may
    /// do so, because a denial that ends early costs one call to the store.
    pub fn forget_denial(&self, key: KeyRef<'_>) {
        if let Some(entry) = self.get(key) {
            entry.denial.clear();
        }
    }

    /// The most keys that are known at a time, but for overflow entries.
    pub(crate) const fn keys_max(&self) -> usize {
        self.keys_max
    }

    /// The most keys that are ever known at a time, overflow entries among them: an eighth and 64
    /// more than the cache is to know for long.
    pub const fn keys_bound(&self) -> usize {
        let overflow = self.keys_max / 8 + 64;
        self.keys_max.saturating_add(overflow)
    }
}

impl LocalDenial {
    /// The denial of `entry` until this time.
    #[inline]
    fn of(entry: &Entry, until: Instant) -> Self {
        Self {
            until,
            full_at: entry.full_at(),
            is_in_fallback: entry.is_in_fallback(),
        }
    }
}

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The most keys it knows at a time, but for [overflow entries](crate::Owner::insert_overflow).
    pub keys_max: usize,
    /// Seeds the hash of keys. Clients choose keys, so it must be unknown to them.
    pub seed: u64,
    /// How many signals wait for their owner at a time, at least 1.
    pub signals: usize,
}

impl LocalDecision {
    /// This decision as one on the request at `index` of several.
    fn at(self, index: usize) -> AllLocal {
        match self {
            Self::Allow {
                left,
                full_at,
                wake,
            } => AllLocal::Allow {
                index,
                left,
                full_at,
                wake,
            },
            Self::Deny(denial) => AllLocal::Deny { index, denial },
            Self::Short { tokens } => AllLocal::Short { index, tokens },
            Self::Unknown => AllLocal::Unknown { index },
        }
    }
}

/// A replica's decision on a request under several limits without asking the store. Unless it
/// allows, nothing is spent, and `index` says which limit stood in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AllLocal {
    /// Allowed by all: their tokens are spent.
    Allow {
        /// Which request the rest tells of: that of the lowest rank; 0 if there is none.
        index: usize,
        /// Tokens left in its lease; 0 if no key was named, because there is no lease.
        left: u32,
        /// When its bucket is full again if nothing more is spent, as far as is known here.
        full_at: Instant,
        /// The sync task has a new signal and should be woken.
        wake: bool,
    },
    /// Denied by one: its lease is short, and so was the store.
    Deny {
        /// Which request.
        index: usize,
        /// The denial that is known of it.
        denial: LocalDenial,
    },
    /// One lease is short, and nothing says whether the store has more.
    Short {
        /// Which request.
        index: usize,
        /// Tokens that are there, without those this call held already.
        tokens: u32,
    },
    /// One key is not in the cache.
    Unknown {
        /// Which request.
        index: usize,
    },
}

impl AllLocal {
    /// The answer where no limit applies.
    const EMPTY: Self = Self::Allow {
        index: 0,
        left: 0,
        full_at: Instant::ORIGIN,
        wake: false,
    };
}

/// Requests under more limits at once than this are rare, and allocate.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned_entry::OwnedEntry;
    use crate::owner::Owner;
    use crate::owner::tests::cache_of;

    const NOW: Instant = Instant::ORIGIN;
    const DEADLINE: Instant = Instant::from_nanos(24 << 22);
    const FULL_AT: Instant = Instant::from_millis(7);
    const DENIAL: LocalDenial = LocalDenial {
        until: DEADLINE,
        full_at: FULL_AT,
        is_in_fallback: false,
    };
    const ALICE: KeyRef<'_> = key(b"alice");
    const BOB: KeyRef<'_> = key(b"bob");

    const fn key(subject: &[u8]) -> KeyRef<'_> {
        KeyRef {
            limit: LimitId(0),
            subject,
        }
    }

    fn cache() -> (Arc<Requests>, Owner) {
        cache_of(3)
    }

    fn lease(owner: &mut Owner, key: KeyRef<'_>, tokens: u32) -> OwnedEntry {
        let entry = owner.insert(key).unwrap();
        let mut entry = owner.claim(&entry).unwrap();
        entry.deposit(tokens, DEADLINE, NOW);
        entry.set_full_at(FULL_AT);
        entry
    }

    const fn allow(left: u32, wake: bool) -> LocalDecision {
        let full_at = FULL_AT;
        LocalDecision::Allow {
            left,
            full_at,
            wake,
        }
    }

    const fn allow_all(index: usize, left: u32, wake: bool) -> AllLocal {
        let full_at = FULL_AT;
        AllLocal::Allow {
            index,
            left,
            full_at,
            wake,
        }
    }

    /// Tells of the request that has the fewest tokens left.
    fn all(cache: &Requests, requests: &[(KeyRef<'_>, u32)]) -> AllLocal {
        cache.try_acquire_all(requests, |_, left, _| left.into(), NOW)
    }

    fn live(entry: &Entry) -> u32 {
        let account = entry.account(NOW);
        assert_eq!(account.pending, 0, "nothing stays held");
        account.lease.live
    }

    #[test]
    fn a_request_is_allowed_from_the_lease_of_its_key() {
        let (cache, mut owner) = cache();
        lease(&mut owner, ALICE, 3);
        assert_eq!(cache.try_acquire(BOB, 1, NOW), LocalDecision::Unknown);
        assert_eq!(cache.try_acquire(ALICE, 2, NOW), allow(1, false));
        assert_eq!(
            cache.try_acquire(ALICE, 2, NOW),
            LocalDecision::Short { tokens: 1 }
        );
    }

    #[test]
    fn a_denial_is_asked_for_only_when_the_lease_is_short() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 3);
        alice.deny(2, DEADLINE);
        assert_eq!(cache.try_acquire(ALICE, 2, NOW), allow(1, false));
        let denied = LocalDecision::Deny(DENIAL);
        assert_eq!(cache.try_acquire(ALICE, 2, NOW), denied);
        assert_eq!(cache.try_acquire(ALICE, 1, NOW), allow(0, false));
        assert_eq!(alice.take_denied(), 2);
    }

    #[test]
    fn who_keeps_an_entry_learns_that_it_is_forgotten() {
        let (cache, mut owner) = cache();
        let alice = lease(&mut owner, ALICE, 3);
        assert_eq!(cache.try_acquire_at(&alice, 1, NOW), allow(2, false));
        assert!(!alice.is_forgotten());
        assert!(owner.remove(&alice));
        assert!(alice.is_forgotten());
        let again = lease(&mut owner, ALICE, 3);
        assert!(!owner.remove(&alice), "it was forgotten before");
        assert!(!again.is_forgotten());
    }

    #[test]
    fn a_cost_of_nothing_is_allowed_where_the_key_is_known() {
        let (cache, mut owner) = cache();
        assert_eq!(cache.try_acquire(ALICE, 0, NOW), LocalDecision::Unknown);
        lease(&mut owner, ALICE, 1);
        assert_eq!(cache.try_acquire(ALICE, 0, NOW), allow(1, false));
        assert_eq!(cache.try_acquire(ALICE, 0, DEADLINE), allow(0, false));
    }

    #[test]
    fn the_owner_hears_once_that_the_stock_is_low() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 4);
        alice.set_watermark(3);
        assert_eq!(cache.try_acquire(ALICE, 1, NOW), allow(3, false));
        assert_eq!(cache.try_acquire(ALICE, 1, NOW), allow(2, true));
        assert_eq!(cache.try_acquire(ALICE, 1, NOW), allow(1, false));
        assert!(Arc::ptr_eq(&owner.next_signal(NOW).unwrap(), &alice));
        assert!(owner.next_signal(NOW).is_none());
        assert_eq!(cache.try_acquire(ALICE, 1, NOW), allow(0, true));
    }

    #[test]
    fn all_are_spent_or_none() {
        let (cache, mut owner) = cache();
        let alice = lease(&mut owner, ALICE, 5);
        let bob = lease(&mut owner, BOB, 3);
        let ask = |costs: [u32; 2]| all(&cache, &[(ALICE, costs[0]), (BOB, costs[1])]);
        assert_eq!(ask([2, 2]), allow_all(1, 1, false));
        let (index, tokens) = (1, 1);
        assert_eq!(ask([2, 2]), AllLocal::Short { index, tokens });
        let (index, tokens) = (0, 3);
        assert_eq!(ask([4, 1]), AllLocal::Short { index, tokens });
        assert_eq!((live(&alice), live(&bob)), (3, 1));
    }

    #[test]
    fn a_denial_anywhere_comes_before_a_key_that_must_be_asked_for() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 0);
        alice.deny(1, DEADLINE);
        let denied = AllLocal::Deny {
            index: 1,
            denial: DENIAL,
        };
        let requests = [(BOB, 1), (ALICE, 1)];
        assert_eq!(all(&cache, &requests), denied);
        assert_eq!(alice.take_denied(), 1);
        alice.clear_denial();
        alice.deposit(1, DEADLINE, NOW);
        let unknown = AllLocal::Unknown { index: 0 };
        assert_eq!(all(&cache, &requests), unknown);
        assert_eq!(live(&alice), 1);
    }

    /// Whoever asked for more than a limit ever allows was counted as demand for all of it, and
    /// took the share of others.
    #[test]
    fn a_cost_that_no_limit_allows_is_not_counted_as_denied() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 0);
        alice.set_cost_max(9);
        alice.deny(1, DEADLINE);
        let short = LocalDecision::Short { tokens: 0 };
        assert_eq!(cache.try_acquire(ALICE, 10, NOW), short);
        assert_eq!(alice.take_denied(), 0);
        assert_eq!(
            cache.try_acquire(ALICE, 9, NOW),
            LocalDecision::Deny(DENIAL)
        );
        assert_eq!(alice.take_denied(), 9);
    }

    #[test]
    fn a_key_named_twice_pays_twice() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 5);
        let twice = [(ALICE, 2), (ALICE, 2)];
        assert_eq!(all(&cache, &twice), allow_all(1, 1, false));
        assert!(matches!(
            all(&cache, &[(ALICE, 1), (ALICE, 1)]),
            AllLocal::Short { tokens: 0, .. }
        ));
        alice.deny(1, DEADLINE);
        assert!(matches!(
            all(&cache, &[(ALICE, 1), (ALICE, 1)]),
            AllLocal::Deny { denial: DENIAL, .. }
        ));
        assert_eq!(live(&alice), 1);
    }

    #[test]
    fn several_limits_wake_the_owner_for_each_low_stock() {
        let (cache, mut owner) = cache();
        lease(&mut owner, ALICE, 5).set_watermark(5);
        lease(&mut owner, BOB, 5).set_watermark(5);
        let requests = [(ALICE, 1), (BOB, 2)];
        assert_eq!(all(&cache, &requests), allow_all(1, 3, true));
        assert!(owner.next_signal(NOW).is_some());
        assert!(owner.next_signal(NOW).is_some());
        assert!(owner.next_signal(NOW).is_none());
    }

    #[test]
    fn no_limit_allows_everything_and_promises_nothing() {
        let told = all(&cache().0, &[]);
        assert_eq!(told, AllLocal::EMPTY);
        assert!(matches!(told, AllLocal::Allow { left: 0, .. }));
    }

    /// A stack frame was taken for each key, and 12 000 keys ended the process.
    #[test]
    #[cfg_attr(miri, ignore = "many keys take long")]
    fn as_many_keys_as_anybody_names_are_spent_or_none() {
        for keys in [FEW, FEW + 1, 12_000, 100_000] {
            let (cache, mut owner) = cache_of(keys);
            let subjects: Vec<_> = (0..keys).map(usize::to_be_bytes).collect();
            let mut requests: Vec<_> = subjects.iter().map(|it| (key(it), 2)).collect();
            let entries: Vec<_> = requests
                .iter()
                .map(|it| lease(&mut owner, it.0, 3))
                .collect();
            for short in [0, keys / 2, keys - 1] {
                requests[short].1 = 4;
                let (index, tokens) = (short, 3);
                let told = all(&cache, &requests);
                assert_eq!(told, AllLocal::Short { index, tokens });
                assert!(
                    entries.iter().all(|entry| live(entry) == 3),
                    "none is spent"
                );
                requests[short].1 = 2;
            }
            let told = all(&cache, &requests);
            assert_eq!(told, allow_all(0, 1, false));
            assert!(
                entries.iter().all(|entry| live(entry) == 1),
                "all are spent"
            );
        }
    }

    #[test]
    fn a_request_marks_its_key_as_used_whatever_the_answer() {
        let (cache, mut owner) = cache();
        let mut alice = lease(&mut owner, ALICE, 0);
        cache.try_acquire(ALICE, 1, NOW);
        assert!(alice.take_touched());
        all(&cache, &[(ALICE, 1)]);
        assert!(alice.take_touched());
    }
}
