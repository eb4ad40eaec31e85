//! Every interleaving of two or three threads in the smallest stories that can go wrong.
//!
//! `RUSTFLAGS="--cfg leasehold_loom" cargo test --release -p leasehold-cache --test loom`
//!
//! Each test names the bugs that were planted to see it fail. All of them take 30 s on two cores,
//! as long as no test has more than three threads that write.
//!
//! | protocol | stories |
//! |---|---|
//! | grant against spend | `each_deposited_token_leaves_once`, `tokens_and_their_deadline_arrive_together` |
//! | release against spend | `what_is_given_back_is_not_spent_too` |
//! | the end of a lease against spend | `nothing_dead_is_spent_while_a_lease_is_renewed` |
//! | hold and refund against release, report and a new generation | `a_refund_and_…`, `a_refund_never_…`, `no_report_…`, `a_hold_is_…`, `two_limits_…` (two) |
//! | stripes: a block carried against report, release and a new generation, and gathered against spend | `no_report_claims_a_block_…`, `a_block_on_its_way_…` (two), `what_is_gathered_…` |
//! | denial | `a_denial_is_believed_whole_or_not_at_all`, `tokens_that_arrive_end_a_denial` |
//! | signal | `no_signal_is_lost`, `a_signal_is_taken_or_counted_as_dropped` |
//! | falling back on oneself | `a_key_that_falls_back_counts_each_token_in_one_bucket` |
//! | count of denials | `each_denied_token_is_counted_once` |
//!
//! Not here: the mark of use. It is a plain store against a swap, which loom orders in a way that
//! no memory model allows, and so reports as lost; `tests/threads.rs` has it, for Miri.
//!
//! The main thread runs first, and whoever only reads is spawned. The other way round loom would
//! miss bugs: of each atomic it remembers the last access alone, so the load that opens a writer's
//! `fetch_update` makes it forget that somebody else had read before the write.
#![cfg(leasehold_loom)]

use std::sync::Arc;

use leasehold_cache::{Entry, KeyRef, LimitId, OwnedEntry, Signals};
use leasehold_core::Instant;
use loom::thread;

const NOW: Instant = Instant::ORIGIN;
const DEADLINE: Instant = Instant::from_millis(100);
/// Beyond the deadline by more than a tick of a lease.
const LATER: Instant = Instant::from_millis(200);

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
        let mut entry = leased(1);
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(1, NOW).is_ok()));
        let dead = entry.deposit(1, DEADLINE, NOW);
        let withdrawn = entry.withdraw(0, NOW);
        let spent = spender.join().unwrap();
        let left = entry.lease.view(NOW).live;
        assert_eq!(spent + dead + withdrawn.live + withdrawn.dead + left, 2);
    });
}

/// Caught: `LeaseCell::deposit` in two steps, the deadline first or the tokens first.
#[test]
fn tokens_and_their_deadline_arrive_together() {
    loom::model(|| {
        let mut entry = leased(1);
        let reader = spawn(&entry, |entry| {
            let view = entry.lease.view(NOW);
            (view.live, view.deadline > DEADLINE)
        });
        let late = spawn(&entry, |entry| entry.lease.spend(2, DEADLINE).is_ok());
        assert_eq!(entry.deposit(1, LATER, NOW), 0);
        let seen = reader.join().unwrap();
        let spent = late.join().unwrap();
        let before = seen == (1, false);
        let after = seen == (2, true) || (spent && seen == (0, true));
        assert!(before || after, "{seen:?}: half of a lease");
    });
}

/// Caught: `LeaseCell::withdraw` that says what it saw before it took; `LeaseCell::update` as a
/// load and a store.
#[test]
fn what_is_given_back_is_not_spent_too() {
    loom::model(|| {
        let mut entry = leased(3);
        let spend = |entry: &Arc<Entry>| u32::from(entry.lease.spend(1, NOW).is_ok());
        let [first, second] = [(); 2].map(|()| spawn(&entry, spend));
        let released = entry.withdraw(1, NOW).live;
        let spent = first.join().unwrap() + second.join().unwrap();
        let left = entry.lease.view(NOW).live;
        assert_eq!(released + spent + left, 3);
        assert!(released + spent >= 2, "at most one is kept");
    });
}

/// A request whose clock says that the lease is over, one whose clock says that it is not, and the
/// owner, who brings a longer lease.
///
/// Caught: `LeaseCell::deposit` that keeps dead tokens, or that brings the deadline before the
/// tokens; `LeaseCell::update` as a load and a store; `take` that does not look at the deadline.
#[test]
fn nothing_dead_is_spent_while_a_lease_is_renewed() {
    loom::model(|| {
        let mut entry = leased(2);
        let late = spawn(&entry, |entry| {
            u32::from(entry.lease.spend(1, DEADLINE).is_ok())
                + u32::from(entry.lease.spend(1, DEADLINE).is_ok())
        });
        let early = spawn(&entry, |entry| entry.lease.spend(1, NOW).is_ok());
        let dead = entry.deposit(1, LATER, DEADLINE);
        let (late, early) = (late.join().unwrap(), u32::from(early.join().unwrap()));
        assert!(late <= 1, "one token lives beyond the first deadline");
        let left = entry.lease.view(DEADLINE).live;
        assert_eq!(late + early + dead + left, 3);
    });
}

/// Caught: `LeaseCell::refund` as a load and a store.
#[test]
fn a_refund_and_a_withdrawal_lose_nothing_between_them() {
    loom::model(|| {
        let mut entry = leased(3);
        let holder = spawn(&entry, |entry| drop(entry.hold(1, NOW)));
        let withdrawn = entry.withdraw(1, NOW).live;
        holder.join().unwrap();
        assert_eq!(withdrawn + entry.account(NOW).unspent(), 3);
        assert_eq!(entry.account(NOW).pending, 0);
    });
}

/// Caught: `LeaseCell::refund` without its look at the generation.
#[test]
fn a_refund_never_enters_another_lease_record() {
    loom::model(|| {
        let mut entry = leased(2);
        let holder = spawn(&entry, |entry| drop(entry.hold(1, NOW)));
        let lost = entry.renew_generation();
        entry.deposit(5, DEADLINE, NOW);
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

/// Caught: `Held` that does not refund what is dropped; `LeaseCell::update` as a load and a store.
#[test]
fn two_limits_are_paid_both_or_neither_while_one_is_given_back() {
    loom::model(|| {
        let (first, mut second) = (leased(1), leased(1));
        let request = request_under(&first, &second);
        let released = second.withdraw(0, NOW).live;
        let allowed = request.join().unwrap();
        assert_eq!(allowed, released == 0, "one token, one taker");
        let paid = u32::from(allowed);
        assert_eq!(first.account(NOW).unspent(), 1 - paid);
        assert_eq!(second.account(NOW).unspent(), 0);
    });
}

/// Caught: `LeaseCell::refund` without its look at the generation; `renew_generation` that keeps
/// the tokens; `LeaseCell::update` as a load and a store.
#[test]
fn two_limits_are_paid_both_or_neither_while_one_begins_a_new_lease() {
    loom::model(|| {
        let (mut first, second) = (leased(1), leased(0));
        let request = request_under(&first, &second);
        let rival = spawn(&first, |first| first.lease.spend(1, NOW).is_ok());
        let left = first.renew_generation();
        assert_eq!(first.deposit(3, DEADLINE, NOW), 0);
        assert!(!request.join().unwrap(), "the second limit has nothing");
        let rival = u32::from(rival.join().unwrap());
        let live = first.lease.view(NOW).live;
        // The rival paid from either lease. A hold of the old one that came too late is gone.
        assert!(
            live == 3 || (live == 2 && rival == 1),
            "{live} of 3, {left}"
        );
        assert!(left + rival <= 1 || live == 2, "{left} left, {rival} spent");
        assert_eq!(first.account(NOW).pending, 0);
    });
}

/// The store is away: what was spent of its lease is told apart from what this replica then grants
/// itself, and the mark says so once all is done.
///
/// Caught: `LeaseCell::update` as a load and a store; `Entry::set_in_fallback` that only ever sets.
#[test]
fn a_key_that_falls_back_counts_each_token_in_one_bucket() {
    loom::model(|| {
        let mut entry = leased(2);
        let spender = spawn(&entry, |entry| {
            let paid = [(); 2].map(|()| u32::from(entry.lease.spend(1, NOW).is_ok()));
            paid.iter().sum::<u32>()
        });
        let of_store = 2 - entry.renew_generation();
        entry.set_in_fallback(true);
        entry.deposit(2, DEADLINE, NOW);
        let spent = spender.join().unwrap();
        assert!(entry.is_in_fallback());
        let of_own = 2 - entry.renew_generation();
        entry.set_in_fallback(false);
        assert_eq!(spent, of_store + of_own, "each in one bucket");
        assert!(!entry.is_in_fallback());
    });
}

/// Caught: `Lease::carry` that does not begin a hold, or ends it before the block has arrived; one
/// that takes the block `Relaxed`.
#[test]
fn no_report_claims_a_block_that_is_on_its_way() {
    loom::model(|| {
        let entry = striped();
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(1, NOW).is_ok()));
        let claimed = reported(&entry, STOCK);
        let again = reported(&entry, STOCK);
        assert_eq!(spender.join().unwrap(), 1);
        assert!(
            claimed <= 1 && again <= 1,
            "{claimed}, {again} reported, 1 spent"
        );
        assert_eq!(entry.account(NOW).unspent(), STOCK - 1);
    });
}

/// Caught: `LeaseCell::put` without its look at the generation; `Lease::renew_generation` that
/// leaves the stripes as they are.
#[test]
fn a_block_on_its_way_never_enters_another_lease_record() {
    loom::model(|| {
        let mut entry = striped();
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(1, NOW).is_ok()));
        let left = entry.renew_generation();
        entry.deposit(STOCK, DEADLINE, NOW);
        let spent = spender.join().unwrap();
        let live = entry.lease.view(NOW).live;
        assert!(live <= STOCK, "{live} of {STOCK}");
        assert!(live >= STOCK - spent, "nothing of the new record is lost");
        assert!(live + left + spent <= 2 * STOCK);
    });
}

/// Caught: `Lease::withdraw` that takes what it saw in a stripe; `LeaseCell::put` as a load and a
/// store.
#[test]
fn a_block_on_its_way_is_given_back_or_stays() {
    loom::model(|| {
        let mut entry = striped();
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(1, NOW).is_ok()));
        let out = entry.withdraw(0, NOW);
        let spent = spender.join().unwrap();
        let live = entry.lease.view(NOW).live;
        assert_eq!(out.live + live + spent, STOCK);
    });
}

/// Caught: `Lease::gather` that puts before it takes.
#[test]
fn what_is_gathered_is_not_spent_too() {
    loom::model(|| {
        let entry = striped();
        assert!(entry.lease.spend(1, NOW).is_ok());
        let spender = spawn(&entry, |entry| u32::from(entry.lease.spend(2, NOW).is_ok()));
        entry.lease.gather(NOW);
        let claimed = reported(&entry, STOCK);
        let spent = 1 + 2 * spender.join().unwrap();
        assert!(claimed <= spent);
        assert_eq!(entry.lease.view(NOW).live, STOCK - spent);
    });
}

/// Caught: `DenialCell` with its cost in a word of its own, written before or after the time.
#[test]
fn a_denial_is_believed_whole_or_not_at_all() {
    loom::model(|| {
        let mut entry = unleased();
        entry.deny(2, DEADLINE);
        let (soon, late) = (entry.denial.denies(2, NOW), Some(cell_time(LATER)));
        let reader = spawn(&entry, |entry| {
            [3, 9].map(|cost| entry.denial.denies(cost, NOW))
        });
        entry.deny(5, LATER);
        entry.clear_denial();
        let [small, large] = reader.join().unwrap();
        assert!(small.is_none() || small == soon, "5 were denied, not 3");
        assert!(large.is_none() || large == soon || large == late);
        assert_eq!(entry.denial.denies(9, NOW), None);
    });
}

/// Caught: `Entry::denies` that does not look at the lease.
#[test]
fn tokens_that_arrive_end_a_denial() {
    loom::model(|| {
        let mut entry = leased(0);
        entry.deny(1, DEADLINE);
        let other = spawn(&entry, |entry| entry.denies(1, NOW).is_some());
        // The word of the denial is left: the tokens alone must do.
        entry.deposit(1, DEADLINE, NOW);
        assert_eq!(entry.denies(1, NOW), None);
        other.join().unwrap();
        assert_eq!(entry.lease.view(NOW).live, 1);
    });
}

/// Caught: `Denied::add` or `take` as a load and a store.
#[test]
fn each_denied_token_is_counted_once() {
    loom::model(|| {
        let mut entry = unleased();
        let other = spawn(&entry, |entry| {
            entry.lease.count_denied(2);
        });
        entry.lease.count_denied(1);
        let taken = entry.take_denied();
        other.join().unwrap();
        assert_eq!(taken + entry.take_denied(), 3);
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

/// Caught: `Signals::raise` that leaves the flag up, or counts nothing, where the queue is full.
#[test]
fn a_signal_is_taken_or_counted_as_dropped() {
    loom::model(|| {
        let (mine, theirs) = (leased(1), leased(1));
        let signals = Arc::new(Signals::new(1));
        let other = spawn(&theirs, {
            let signals = Arc::clone(&signals);
            move |entry| u64::from(signals.raise(entry))
        });
        let raised = u64::from(signals.raise(&mine));
        let taken = std::iter::from_fn(|| signals.next()).count() as u64;
        let raised = raised + other.join().unwrap();
        assert_eq!(raised + signals.dropped(), 2);
        let taken = taken + std::iter::from_fn(|| signals.next()).count() as u64;
        assert_eq!(taken, raised, "what was queued is taken, once");
        for entry in [&mine, &theirs] {
            assert!(signals.raise(entry), "a new signal is heard");
            assert!(signals.next().is_some());
        }
    });
}

/// One request under two limits, on a thread of its own: whether it was allowed.
fn request_under(first: &Arc<Entry>, second: &Arc<Entry>) -> thread::JoinHandle<bool> {
    let second = Arc::clone(second);
    spawn(first, move |first| {
        // As `Requests::try_acquire_all` does: all are held before any is spent.
        let Ok(one) = first.hold(1, NOW) else {
            return false;
        };
        let Ok(other) = second.hold(1, NOW) else {
            return false;
        };
        one.commit();
        other.commit();
        true
    })
}

/// `until` as a denial tells it.
fn cell_time(until: Instant) -> Instant {
    let mut entry = unleased();
    entry.deny(1, until);
    let denied = entry.denial.denies(1, NOW);
    denied.expect("it is later than now")
}

/// The tokens that a report would claim as spent of `deposited`.
fn reported(entry: &Entry, deposited: u32) -> u32 {
    deposited.saturating_sub(entry.account(NOW).unspent())
}

/// The owner's side: takes all signals, and says what the last look at the lease showed.
fn look(signals: &Signals) -> Option<u32> {
    std::iter::from_fn(|| signals.next())
        .map(|entry| entry.lease.view(NOW).live)
        .last()
}

fn leased(tokens: u32) -> OwnedEntry {
    let mut entry = unleased();
    entry.deposit(tokens, DEADLINE, NOW);
    entry
}

fn unleased() -> OwnedEntry {
    let limit = LimitId(0);
    OwnedEntry::new(KeyRef {
        limit,
        subject: b"",
    })
}

/// Large enough for a block of it to be worth carrying.
const STOCK: u32 = 64;

/// A lease with stripes, all of it in the stock.
fn striped() -> OwnedEntry {
    let mut entry = leased(0);
    entry.stripe(2);
    entry.deposit(STOCK, DEADLINE, NOW);
    entry
}

fn spawn<T: 'static>(
    entry: &Arc<Entry>,
    work: impl FnOnce(&Arc<Entry>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let entry = Arc::clone(entry);
    thread::spawn(move || work(&entry))
}
