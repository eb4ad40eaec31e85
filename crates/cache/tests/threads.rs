//! Real threads on a real cache, so that Miri sees what `tests/loom.rs` leaves out: the table and
//! the queue as they are shipped, entries that are dropped while they are read, and stores that
//! become visible late.
//!
//! `scripts/test --only miri` runs them under a few seeds, each with another interleaving and other
//! late stores. Without Miri they are a smoke test: hardware shows few of the interleavings.
#![cfg(not(leasehold_loom))]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;

use leasehold_cache::{
    AllLocal, Config, KeyRef, LimitId, LocalDecision, OwnedEntry, Owner, Requests,
};
use leasehold_core::Instant;

const NOW: Instant = Instant::ORIGIN;
const DEADLINE: Instant = Instant::from_millis(100);
/// Rounds of each thread: enough for Miri to let them meet, and few enough for it to be done.
const ROUNDS: u32 = if cfg!(miri) { 12 } else { 2000 };
/// Rounds of stories that are over at once.
const STORIES: u32 = if cfg!(miri) { 15 } else { 2000 };

/// Caught: `Held` that does not refund what is dropped; by Miri, `LeaseCell::update` as a load and
/// a store.
#[test]
fn what_is_spent_held_and_given_back_adds_up() {
    let (cache, mut owner) = cache();
    let entries = [b"first", b"other"].map(|subject| leased(&mut owner, subject, 0));
    check_that_all_adds_up(&cache, entries, 2);
}

/// Caught: `Lease::carry` that loses what finds no place; `Lease::withdraw` that forgets the
/// stripes.
#[test]
fn what_is_carried_between_stripes_adds_up() {
    let (cache, mut owner) = cache();
    let entries = [b"first", b"other"].map(|subject| {
        let mut entry = leased(&mut owner, subject, 0);
        entry.stripe(2);
        entry
    });
    check_that_all_adds_up(&cache, entries, 150);
}

/// Two threads spend, one of both keys at once; the owner deposits so many tokens each round, and
/// keeps half as many again.
fn check_that_all_adds_up(cache: &Requests, mut entries: [OwnedEntry; 2], tokens: u32) {
    let [first, second] = entries.each_ref().map(|entry| Arc::clone(entry));
    let requests = [(first.key(), 1), (second.key(), 2)];
    let mut granted = [0, 0];
    let (mut released, mut spent) = ([0, 0], [0, 0]);
    thread::scope(|scope| {
        let both = scope.spawn(|| {
            let allowed = |_: &u32| {
                let all = cache.try_acquire_all(&requests, |_, left, _| left.into(), NOW);
                matches!(all, AllLocal::Allow { .. })
            };
            (0..ROUNDS).filter(allowed).count() as u64
        });
        let one = scope.spawn(|| {
            let allowed = |_: &u32| is_allowed(cache.try_acquire(first.key(), 1, NOW));
            (0..ROUNDS).filter(allowed).count() as u64
        });
        for _ in 0..ROUNDS {
            for (place, entry) in entries.iter_mut().enumerate() {
                assert_eq!(entry.deposit(tokens, DEADLINE, NOW), 0);
                granted[place] += u64::from(tokens);
                let out = entry.withdraw(tokens * 3 / 2, NOW);
                released[place] += u64::from(out.live);
            }
        }
        let both = both.join().expect("it does not panic");
        spent[0] = both + one.join().expect("it does not panic");
        spent[1] = 2 * both;
    });
    for (place, entry) in [&first, &second].into_iter().enumerate() {
        let account = entry.account(NOW);
        assert_eq!(account.pending, 0, "every hold is settled");
        let accounted = spent[place] + released[place] + u64::from(account.lease.live);
        assert_eq!(accounted, granted[place]);
    }
}

/// On one processor threads hardly ever meet, and stripes are not needed. On a busy machine they
/// meet late: it is over as soon as they have met.
#[test]
#[cfg(not(miri))]
fn threads_that_fight_over_a_key_get_stripes() {
    let (cache, mut owner) = cache();
    let mut entry = leased(&mut owner, b"hot", 0);
    let (spent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        while !over.load(Relaxed) {
            let allowed = |_: &u32| is_allowed(cache.try_acquire(key(b"hot"), 1, NOW));
            let allowed = (0..1000).filter(allowed).count() as u64;
            spent.fetch_add(allowed, Relaxed);
        }
    };
    let mut granted = 0;
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
        while spent.load(Relaxed) < 400_000_000 && !entry.lease.is_striped() {
            let tokens = 5_000_000 - entry.lease.view(NOW).live.min(5_000_000);
            entry.deposit(tokens, DEADLINE, NOW);
            granted += u64::from(tokens);
            let _ = owner.next_signal(NOW);
        }
        over.store(true, Relaxed);
    });
    if thread::available_parallelism().is_ok_and(|threads| threads.get() > 1) {
        assert!(entry.lease.is_striped(), "{spent:?} spent");
    }
    let unspent = u64::from(entry.account(NOW).unspent());
    assert_eq!(unspent + spent.into_inner(), granted);
}

/// Caught: a search that looks into the newest array before the one that is being left.
#[test]
fn a_key_that_is_there_is_found_while_others_come_and_go() {
    let subjects: Vec<[u8; 2]> = (0..4).map(|number| [b'=', number]).collect();
    for _ in 0..if cfg!(miri) { 2 } else { 100 } {
        let (cache, mut owner) = cache_of(Config {
            keys_max: 4000,
            ..CONFIG
        });
        for subject in &subjects {
            leased(&mut owner, subject, 1);
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Relaxed) {
                        let there = |subject: &[u8; 2]| cache.get(key(subject)).is_some();
                        assert!(subjects.iter().all(there));
                    }
                });
            }
            for number in 0..if cfg!(miri) { 40 } else { 4000_u32 } {
                let entry = leased(&mut owner, &number.to_be_bytes(), 1);
                assert!(number % 3 > 0 || owner.remove(&entry));
            }
            over.store(true, Relaxed);
        });
    }
}

/// Caught by Miri: an entry that is dropped when it is taken out of its place.
#[test]
fn keys_come_and_go_while_they_are_looked_up() {
    let (cache, mut owner) = cache();
    let subjects: Vec<[u8; 1]> = (0..4).map(|number| [number]).collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ROUNDS as usize {
                    let key = key(&subjects[round % subjects.len()]);
                    if let Some(entry) = cache.get(key) {
                        assert_eq!(entry.key(), key, "an entry is of the key that found it");
                    }
                    cache.try_acquire(key, 1, NOW);
                }
            });
        }
        for round in 0..ROUNDS as usize {
            let entry = leased(&mut owner, &subjects[round % subjects.len()], 1);
            if round % 3 != 0 {
                assert!(owner.remove(&entry));
            }
        }
    });
    assert!(cache.len() <= subjects.len());
}

/// Over the queue as it is shipped, for which loom has a stand-in. A `SignalFlag::raise` that looks
/// before it swaps is too rare here, and loom's to find.
#[test]
fn the_owner_hears_of_what_was_spent_last() {
    let (cache, mut owner) = cache();
    for _ in 0..STORIES {
        let mut entry = leased(&mut owner, b"low", 2);
        entry.set_watermark(u32::MAX);
        let mut seen = None;
        let mut look = || {
            while let Some(low) = owner.next_signal(NOW) {
                seen = Some(low.lease.view(NOW).live);
            }
        };
        let together = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    together.wait();
                    assert!(is_allowed(cache.try_acquire(entry.key(), 1, NOW)));
                });
            }
            together.wait();
            (0..4).for_each(|_| look());
        });
        look();
        assert_eq!(seen, Some(0), "nothing is spent unheard");
        assert!(owner.remove(&entry));
    }
}

/// Caught by Miri: `OwnedEntry::take_touched` as a load and a store.
#[test]
fn a_use_is_seen_by_this_sweep_or_the_next() {
    for _ in 0..STORIES {
        let mut entry = OwnedEntry::new(key(b"used"));
        let used = Arc::clone(&entry);
        let together = Barrier::new(2);
        let now = thread::scope(|scope| {
            scope.spawn(|| {
                together.wait();
                used.touch();
            });
            together.wait();
            (0..4).any(|_| entry.take_touched())
        });
        assert_ne!(now, entry.take_touched(), "seen once");
    }
}

fn is_allowed(said: LocalDecision) -> bool {
    matches!(said, LocalDecision::Allow { .. })
}

fn cache() -> (Arc<Requests>, Owner) {
    cache_of(CONFIG)
}

fn cache_of(config: Config) -> (Arc<Requests>, Owner) {
    let owner = Owner::new(config);
    (Arc::clone(owner.requests()), owner)
}

const CONFIG: Config = Config {
    keys_max: 16,
    seed: 7,
    signals: 16,
};

fn leased(owner: &mut Owner, subject: &[u8], tokens: u32) -> OwnedEntry {
    let entry = owner.insert(key(subject)).expect("there is room");
    let mut entry = owner.claim(&entry).expect("nobody has claimed it");
    entry.deposit(tokens, DEADLINE, NOW);
    entry
}

fn key(subject: &[u8]) -> KeyRef<'_> {
    let limit = LimitId(0);
    KeyRef { limit, subject }
}
