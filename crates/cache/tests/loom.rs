//! Every interleaving of two or three threads in the smallest stories that can go wrong.
//!
//! `RUSTFLAGS="--cfg leasehold_loom" cargo test --release -p leasehold-cache --test loom`
//!
//! Each test names the bugs that were planted to see it fail.
//!
//! The main thread runs first, and whoever only reads is spawned. The other way round loom would
//! miss bugs: of each atomic it remembers the last access alone, so the load that opens a writer's
//! `fetch_update` makes it forget that somebody else had read before the write.
#![cfg(leasehold_loom)]

use std::sync::Arc;

use leasehold_cache::{Entry, KeyRef, LimitId, Signals};
use leasehold_core::Instant;
use loom::thread;

const NOW: Instant = Instant::ORIGIN;
const DEADLINE: Instant = Instant::from_millis(100);

/// Caught: `LeaseCell::take` as a load and a store.
#[test]
fn one_token_is_spent_once() {
    loom::model(|| {
        let entry = leased(1);
        let other = spawn(&entry, |entry| entry.lease.spend(1, NOW).is_ok());
        let mine = entry.lease.spend(1, NOW).is_ok();
        assert_ne!(mine, other.join().unwrap(), "exactly one thread pays");
    });
}

/// Caught: `LeaseCell::update` as a load and a store.
#[test]
fn each_deposited_token_leaves_once() {
    loom::model(|| {
        let entry = leased(1);
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(1, NOW).is_ok()));
        let dead = entry.lease.deposit(1, DEADLINE, NOW);
        let withdrawn = entry.lease.withdraw(0, NOW);
        let spent = spender.join().unwrap();
        let left = entry.lease.view(NOW).live;
        assert_eq!(spent + dead + withdrawn.live + withdrawn.dead + left, 2);
    });
}

/// Caught: `LeaseCell::refund` as a load and a store.
#[test]
fn a_refund_and_a_withdrawal_lose_nothing_between_them() {
    loom::model(|| {
        let entry = leased(3);
        let holder = spawn(&entry, |entry| drop(entry.hold(1, NOW)));
        let withdrawn = entry.lease.withdraw(1, NOW).live;
        holder.join().unwrap();
        assert_eq!(withdrawn + entry.account(NOW).unspent(), 3);
        assert_eq!(entry.account(NOW).pending, 0);
    });
}

/// Caught: `LeaseCell::refund` without its look at the generation.
#[test]
fn a_refund_never_enters_another_lease_record() {
    loom::model(|| {
        let entry = leased(2);
        let holder = spawn(&entry, |entry| drop(entry.hold(1, NOW)));
        let lost = entry.lease.renew_generation();
        entry.lease.deposit(5, DEADLINE, NOW);
        holder.join().unwrap();
        let live = entry.lease.view(NOW).live;
        assert_eq!(live, 5, "{lost} of 2 were in the cell at the change");
    });
}

/// Caught: `Holds::around` in any other order; a holder that begins after it has taken the tokens.
#[test]
fn no_report_claims_a_token_that_comes_back() {
    loom::model(|| {
        let entry = leased(3);
        let reporter = spawn(&entry, |entry| reported(entry, 3));
        entry.hold(2, NOW).unwrap().refund();
        entry.hold(1, NOW).unwrap().commit();
        let reported = reporter.join().unwrap();
        assert!(reported <= 1, "{reported} reported, 1 spent");
        assert_eq!(entry.account(NOW).unspent(), 2, "in the end all is known");
    });
}

/// Caught: a holder that ends before it has refunded; each of the four orderings of the protocol
/// made `Relaxed`, which no run on hardware that orders more than it must (x86) would show.
#[test]
fn a_hold_is_known_to_whoever_misses_its_tokens() {
    loom::model(|| {
        let entry = leased(2);
        let reporter = spawn(&entry, |entry| reported(entry, 2));
        let spender = spawn(&entry, |entry| entry.lease.spend(1, NOW).is_ok());
        drop(entry.hold(1, NOW));
        let reported = reporter.join().unwrap();
        let spent = u32::from(spender.join().unwrap());
        assert!(reported <= spent, "{reported} reported, {spent} spent");
    });
}

/// Caught: `Signals::next` that never lowers the flag; `lower` as a plain store, or that does not
/// acquire; `raise` that does not release, or that trusts a mere load.
#[test]
fn no_signal_is_lost() {
    loom::model(|| {
        let entry = leased(2);
        let signals = Arc::new(Signals::new(2));
        let spend_and_raise = |entry: &Arc<Entry>, signals: &Signals| {
            entry.lease.spend(1, NOW).unwrap();
            signals.raise(entry);
        };
        let other = spawn(&entry, {
            let signals = Arc::clone(&signals);
            move |entry| spend_and_raise(entry, &signals)
        });
        spend_and_raise(&entry, &signals);
        let seen = look(&signals);
        other.join().unwrap();
        // Whatever is still queued is looked at later; nothing may be spent unseen.
        let seen = look(&signals).or(seen);
        assert_eq!(seen, Some(0));
    });
}

/// What a report would claim as spent of `deposited` tokens.
fn reported(entry: &Entry, deposited: u32) -> u32 {
    deposited.saturating_sub(entry.account(NOW).unspent())
}

/// The owner's side: takes all signals, and says what the last look at the lease showed.
fn look(signals: &Signals) -> Option<u32> {
    std::iter::from_fn(|| signals.next())
        .map(|entry| entry.lease.view(NOW).live)
        .last()
}

fn leased(tokens: u32) -> Arc<Entry> {
    let limit = LimitId(0);
    let entry = Entry::new(KeyRef {
        limit,
        subject: b"",
    });
    entry.lease.deposit(tokens, DEADLINE, NOW);
    Arc::new(entry)
}

fn spawn<T: 'static>(
    entry: &Arc<Entry>,
    work: impl FnOnce(&Arc<Entry>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let entry = Arc::clone(entry);
    thread::spawn(move || work(&entry))
}
