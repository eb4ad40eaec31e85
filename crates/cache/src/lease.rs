//! The lease of one key: its tokens, in one cell or in several.
//!
//! # Invariant
//!
//! A lease starts as one cell, the stock. Where threads lose races for it often, its owner adds
//! [`Stripes`]: then a thread carries a block of the stock into its stripe and spends it there,
//! alone with its cache line. All cells are of one lease record: a deposit extends them all, a new
//! record empties them all, and tokens enter a cell only from one of the same generation. Tokens on
//! their way between two cells are held, so that no report counts them as spent ([`Holds`]).
//!
//! A block is one stripe's part of half the stock, and a small stock is spent where it is, so that
//! blocks shrink as tokens run out. Before a request is told that its key is short, and nobody
//! knows that it is denied, it [gathers](Lease::gather) what lies in the stripes of others.
//!
//! Any thread spends and gathers. What moves tokens in and out of the lease is reached through the
//! entry's one [`OwnedEntry`](crate::OwnedEntry).
//!
//! # Orderings
//!
//! Those of [`LeaseCell`] and [`Holds`]: each cell is one of theirs. A reader that sees a block
//! missing where it was, and not yet where it went, sees it pending.

use core::sync::atomic::Ordering::{self, Relaxed, Release};
use std::sync::OnceLock;

use leasehold_core::Instant;

use crate::atomic::AtomicU32;
use crate::denied::Denied;
use crate::holds::Holds;
use crate::lease_cell::{Generation, LeaseCell, LeaseView, Shortfall, Taken, Withdrawn};
use crate::stripes::Stripes;

/// The tokens one key holds on lease, shared by all threads of a replica. Starts empty.
// In this order, so that a key that is spent lies in few lines of a cache: see `Entry`.
#[derive(Debug)]
#[repr(C)]
pub struct Lease {
    stock: LeaseCell,
    stripes: OnceLock<Box<Stripes>>,
    denied: Denied,
    pub(crate) holds: Holds,
    /// For the stock and for the count of what is denied, since the last account.
    races_lost: AtomicU32,
    /// See [`OwnedEntry::set_cost_max`](crate::OwnedEntry::set_cost_max).
    cost_max: AtomicU32,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            stock: LeaseCell::default(),
            stripes: OnceLock::default(),
            denied: Denied::default(),
            holds: Holds::default(),
            races_lost: AtomicU32::new(0),
            cost_max: AtomicU32::new(u32::MAX),
        }
    }
}

impl Lease {
    /// The most tokens a lease can hold.
    pub const TOKENS_MAX: u32 = LeaseCell::TOKENS_MAX;

    /// Spends `cost` tokens, all or none.
    ///
    /// # Errors
    ///
    /// [`Shortfall`] if fewer than `cost` tokens are live at `now` where this thread takes them
    /// from. Nothing is spent then. [`gather`](Self::gather) may help.
    #[inline]
    pub fn spend(&self, cost: u32, now: Instant) -> Result<Spent, Shortfall> {
        if let Some(stripes) = self.stripes.get() {
            return self.spend_striped(stripes, cost, now);
        }
        let taken = self.stock.take(cost, now, Relaxed)?;
        Ok(Spent {
            live: taken.live,
            contended: taken.races_lost > 0 && self.count_races(taken.races_lost),
        })
    }

    /// Spends from the stripe of this thread, for which few others contend or none.
    #[inline(never)]
    fn spend_striped(
        &self,
        stripes: &Stripes,
        cost: u32,
        now: Instant,
    ) -> Result<Spent, Shortfall> {
        match stripes.mine().1.cell.take(cost, now, Relaxed) {
            Ok(taken) => Ok(Spent {
                live: taken.live + self.stock.view(now).live,
                contended: false,
            }),
            Err(_) => self.fill_and_spend(stripes, cost, now),
        }
    }

    /// Fills the short stripe of this thread from the stock and spends from it, or else from the
    /// stock.
    #[inline(never)]
    fn fill_and_spend(
        &self,
        stripes: &Stripes,
        cost: u32,
        now: Instant,
    ) -> Result<Spent, Shortfall> {
        let (_, _, live) = self.take_striped(stripes, cost, now, Relaxed)?;
        let contended = false;
        Ok(Spent { live, contended })
    }

    /// Takes `cost` tokens as `spend` does, but for a request that may yet be undone.
    ///
    /// # Errors
    ///
    /// [`Shortfall`] if fewer than `cost` tokens are live at `now` in any one cell. Nothing is
    /// taken then.
    pub(crate) fn hold(&self, cost: u32, now: Instant) -> Result<Hold, Shortfall> {
        let taken = self.take(cost, now, Release);
        let taken = match taken {
            Err(_) if self.gather(now) => self.take(cost, now, Release),
            taken => taken,
        };
        let (place, taken, live) = taken?;
        let left = taken.left(now);
        Ok(Hold {
            cost,
            place,
            left: LeaseView { live, ..left },
        })
    }

    /// Puts a hold back and says whether it did. It does not if the lease record changed since (the
    /// store charged these tokens, or will) or if the cell would overflow.
    #[expect(clippy::needless_pass_by_value, reason = "a hold is refunded once")]
    pub(crate) fn refund(&self, hold: Hold) -> bool {
        let cell = match (hold.place, self.stripes.get()) {
            (Place::Stripe(index), Some(stripes)) => &stripes.at(index).cell,
            _ => &self.stock,
        };
        cell.refund(hold.cost, hold.left.generation)
    }

    /// Takes tokens, and tells from where, and the tokens left there and in the stock.
    fn take(
        &self,
        cost: u32,
        now: Instant,
        order: Ordering,
    ) -> Result<(Place, Taken, u32), Shortfall> {
        match self.stripes.get() {
            None => self.take_from_stock(cost, now, order),
            Some(stripes) => self.take_striped(stripes, cost, now, order),
        }
    }

    fn take_from_stock(
        &self,
        cost: u32,
        now: Instant,
        order: Ordering,
    ) -> Result<(Place, Taken, u32), Shortfall> {
        let taken = self.stock.take(cost, now, order)?;
        Ok((Place::Stock, taken, taken.live))
    }

    /// Takes from the stripe of this thread, which is filled if it lacks tokens and the stock is
    /// large, or else from the stock.
    #[inline]
    fn take_striped(
        &self,
        stripes: &Stripes,
        cost: u32,
        now: Instant,
        order: Ordering,
    ) -> Result<(Place, Taken, u32), Shortfall> {
        let (index, mine) = stripes.mine();
        let mut taken = mine.cell.take(cost, now, order);
        if taken.is_err() && self.fill(&mine.cell, cost, stripes.count(), now) {
            taken = mine.cell.take(cost, now, order);
        }
        match taken {
            Ok(taken) => {
                let live = taken.live + self.stock.view(now).live;
                Ok((Place::Stripe(index), taken, live))
            }
            Err(_) => self.take_from_stock(cost, now, order),
        }
    }

    /// Carries a block of the stock into a stripe.
    #[cold]
    fn fill(&self, stripe: &LeaseCell, cost: u32, stripes: u32, now: Instant) -> bool {
        let block = self.stock.view(now).live / (2 * stripes);
        block >= cost.max(BLOCK_MIN) && self.carry(block, &self.stock, stripe, now)
    }

    /// Carries what lies in stripes to the stock, where every thread can take it; false if there
    /// was nothing.
    #[cold]
    pub fn gather(&self, now: Instant) -> bool {
        let Some(stripes) = self.stripes.get() else {
            return false;
        };
        let mut gathered = false;
        for stripe in stripes.cells() {
            let tokens = stripe.view(now).live;
            gathered |= tokens > 0 && self.carry(tokens, stripe, &self.stock, now);
        }
        gathered
    }

    fn carry(&self, tokens: u32, from: &LeaseCell, to: &LeaseCell, now: Instant) -> bool {
        self.holds.begin(tokens);
        let carried = from.take(tokens, now, Release).is_ok_and(|taken| {
            let left = taken.left(now);
            let there = to.put(tokens, &left, now);
            // If neither takes them, the record is gone, and they with it.
            there || !from.refund(tokens, left.generation)
        });
        self.holds.end(tokens);
        carried
    }

    /// See [`OwnedEntry::deposit`](crate::OwnedEntry::deposit).
    pub(crate) fn deposit(&self, tokens: u32, deadline: Instant, now: Instant) -> u32 {
        let dead = self.stock.deposit(tokens, deadline, now);
        dead + self.sum_of_stripes(|stripe| stripe.deposit(0, deadline, now))
    }

    /// See [`OwnedEntry::withdraw`](crate::OwnedEntry::withdraw).
    pub(crate) fn withdraw(&self, keep: u32, now: Instant) -> Withdrawn {
        let mut keep = keep;
        let mut out = Withdrawn::default();
        // What threads have at hand stays there, if anything does.
        for cell in self.stripe_cells().chain([&self.stock]) {
            let taken = cell.withdraw(keep, now);
            out.live += taken.live;
            out.dead += taken.dead;
            keep = keep.saturating_sub(cell.view(now).live);
        }
        out
    }

    /// See [`OwnedEntry::renew_generation`](crate::OwnedEntry::renew_generation).
    pub(crate) fn renew_generation(&self) -> u32 {
        let left = self.stock.renew_generation();
        left + self.sum_of_stripes(LeaseCell::renew_generation)
    }

    /// The whole lease at `now`. While threads carry tokens between its cells it may count some
    /// twice or miss some; [`account`](crate::Entry::account) says what a report needs.
    #[inline]
    pub fn view(&self, now: Instant) -> LeaseView {
        let mut view = self.stock.view(now);
        for stripe in self.stripe_cells() {
            let LeaseView { live, dead, .. } = stripe.view(now);
            view.live += live;
            view.dead += dead;
        }
        view
    }

    /// See [`Entry::account`](crate::Entry::account).
    pub(crate) fn account(&self, now: Instant) -> Account {
        let (lease, pending) = self.holds.around(|| self.view(now));
        Account { lease, pending }
    }

    /// See [`OwnedEntry::take_account`](crate::OwnedEntry::take_account).
    pub(crate) fn take_account(&self, now: Instant) -> Account {
        self.races_lost.store(0, Relaxed);
        self.account(now)
    }

    /// Counts a request of `cost` tokens as denied here. False if it lost a race for the count,
    /// which the cache counts too.
    #[inline]
    pub fn count_denied(&self, cost: u32) -> bool {
        match self.stripes.get() {
            None => self.denied.add(cost),
            Some(stripes) => {
                stripes.mine().1.denied.add(cost);
                true
            }
        }
    }

    /// See [`OwnedEntry::set_cost_max`](crate::OwnedEntry::set_cost_max).
    #[inline]
    pub(crate) fn cost_max(&self) -> u32 {
        self.cost_max.load(Relaxed)
    }

    /// See [`OwnedEntry::set_cost_max`](crate::OwnedEntry::set_cost_max).
    pub(crate) fn set_cost_max(&self, tokens: u32) {
        self.cost_max.store(tokens, Relaxed);
    }

    /// See [`OwnedEntry::take_denied`](crate::OwnedEntry::take_denied).
    pub(crate) fn take_denied(&self) -> u32 {
        let striped = self.stripes.get().into_iter().flat_map(|all| all.iter());
        let striped = striped.map(|stripe| stripe.denied.take());
        striped.fold(self.denied.take(), u32::saturating_add)
    }

    /// Counts races that threads lost for the stock or for the count of what is denied. True once,
    /// when they are many.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_races(&self, lost: u32) -> bool {
        let before = self.races_lost.fetch_add(lost, Relaxed);
        before < RACES_MANY && before.saturating_add(lost) >= RACES_MANY
    }

    /// Whether stripes would help, and there are none.
    #[cfg(not(leasehold_loom))]
    pub(crate) fn is_contended(&self) -> bool {
        self.races_lost.load(Relaxed) >= RACES_MANY && !self.is_striped()
    }

    /// Whether threads have stripes of their own.
    pub fn is_striped(&self) -> bool {
        self.stripes.get().is_some()
    }

    /// See [`OwnedEntry::stripe`](crate::OwnedEntry::stripe).
    pub(crate) fn stripe(&self, threads: usize) {
        let generation: Generation = self.stock.view(Instant::ORIGIN).generation;
        self.stripes
            .get_or_init(|| Box::new(Stripes::new(threads, generation)));
    }

    fn stripe_cells(&self) -> impl Iterator<Item = &LeaseCell> {
        self.stripes.get().into_iter().flat_map(|all| all.cells())
    }

    fn sum_of_stripes(&self, tokens: impl Fn(&LeaseCell) -> u32) -> u32 {
        self.stripe_cells().map(tokens).sum()
    }
}

/// The rest of a lease after tokens were spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spent {
    /// Tokens left where this thread takes them from: at most as many as the lease has.
    pub live: u32,
    /// Threads contend for the lease: its owner should look at it. True once until it did.
    pub contended: bool,
}

/// The state of a key as a report to the store may count it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    /// The lease.
    pub lease: LeaseView,
    /// Tokens missing from the lease that may yet be refunded: an upper bound. Holds of an earlier
    /// generation count here too, so what seems spent can shrink; report the largest seen.
    pub pending: u32,
}

impl Account {
    /// The tokens a report must not claim as spent: live, dead and pending. What was deposited and
    /// neither withdrawn nor returned as dead, less these, is spent for good.
    pub fn unspent(&self) -> u32 {
        let held = self.lease.live.saturating_add(self.lease.dead);
        held.saturating_add(self.pending)
    }
}

/// Tokens taken from a lease that may yet be put back.
#[derive(Debug)]
#[must_use = "tokens that are neither spent nor refunded are lost"]
pub(crate) struct Hold {
    cost: u32,
    place: Place,
    /// The lease without these tokens.
    pub(crate) left: LeaseView,
}

/// Which cell tokens were taken from.
#[derive(Clone, Copy, Debug)]
enum Place {
    Stock,
    Stripe(usize),
}

/// Fewer tokens are spent one by one from the stock: a block is worth carrying from some ten
/// requests on.
const BLOCK_MIN: u32 = 16;

/// So many lost races between two reports are no accident. Two threads at full speed lose them in
/// microseconds.
const RACES_MANY: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;
    const DEADLINE: Instant = Instant::from_nanos(24 << 22);
    const LATER: Instant = Instant::from_nanos(48 << 22);

    fn striped(tokens: u32) -> Lease {
        let lease = Lease::default();
        lease.stripe(2);
        lease.deposit(tokens, DEADLINE, NOW);
        lease
    }

    /// In the stripe of this thread and in the stock.
    fn places(lease: &Lease) -> (u32, u32) {
        let all = lease.view(NOW).live;
        let stock = lease.stock.view(NOW).live;
        (all - stock, stock)
    }

    #[test]
    fn a_block_of_a_large_stock_is_spent_in_a_stripe() {
        let lease = striped(400);
        assert_eq!(lease.spend(1, NOW).unwrap().live, 399);
        assert_eq!(places(&lease), (99, 300));
        assert_eq!(lease.spend(9, NOW).unwrap().live, 390);
        assert_eq!(places(&lease), (90, 300));
        assert_eq!(lease.account(NOW).unspent(), 390);
    }

    #[test]
    fn a_small_stock_and_a_large_cost_stay_out_of_stripes() {
        let lease = striped(4 * BLOCK_MIN - 1);
        assert!(lease.spend(1, NOW).is_ok());
        assert_eq!(places(&lease), (0, 4 * BLOCK_MIN - 2));
        let lease = striped(400);
        assert!(lease.spend(101, NOW).is_ok());
        assert_eq!(places(&lease), (0, 299));
    }

    #[test]
    fn every_token_can_be_had_and_none_twice() {
        let lease = striped(1000);
        // Of another thread.
        let stripes = lease.stripes.get().unwrap();
        let other = stripes.at(1 - stripes.mine().0);
        assert!(lease.carry(100, &lease.stock, &other.cell, NOW));
        let mut spent = 0;
        loop {
            match lease.spend(1, NOW) {
                Ok(_) => spent += 1,
                Err(_) if lease.gather(NOW) => {}
                Err(_) => break,
            }
            assert_eq!(spent + lease.account(NOW).unspent(), 1000);
        }
        assert_eq!(spent, 1000);
    }

    #[test]
    fn what_lies_in_a_stripe_can_be_gathered_held_and_given_back() {
        let lease = striped(400);
        let _ = lease.spend(1, NOW);
        assert_eq!(places(&lease), (99, 300));
        assert_eq!(lease.spend(350, NOW), Err(Shortfall { live: 300 }));
        let hold = lease.hold(350, NOW).unwrap();
        assert_eq!(places(&lease), (0, 49), "gathered");
        assert!(lease.refund(hold));

        let _ = lease.spend(1, NOW);
        assert!(places(&lease).0 > 0);
        let hold = lease.hold(2, NOW).unwrap();
        assert!(matches!(hold.place, Place::Stripe(_)));
        assert!(lease.refund(hold));
        let live = lease.view(NOW).live;
        let out = lease.withdraw(0, NOW);
        assert_eq!((out.live, out.dead), (live, 0));
        assert_eq!(lease.view(NOW).live, 0);
        assert!(!lease.gather(NOW));
    }

    #[test]
    fn what_is_kept_stays_with_the_threads() {
        let lease = striped(400);
        let _ = lease.spend(1, NOW);
        assert_eq!(lease.withdraw(150, NOW).live, 249);
        assert_eq!(places(&lease), (99, 51));
        assert_eq!(lease.withdraw(20, NOW).live, 130);
        assert_eq!(places(&lease), (20, 0));
    }

    #[test]
    fn a_deposit_extends_what_lies_in_stripes() {
        let lease = striped(400);
        let _ = lease.spend(1, NOW);
        assert_eq!(lease.deposit(0, LATER, NOW), 0);
        assert_eq!(lease.view(DEADLINE).live, 399);
        assert!(lease.spend(99, DEADLINE).is_ok());
        assert_eq!(lease.view(LATER).dead, 300);
    }

    #[test]
    fn dead_tokens_in_stripes_are_neither_spent_nor_lost_to_the_books() {
        let lease = striped(400);
        let _ = lease.spend(1, NOW);
        assert!(lease.spend(1, DEADLINE).is_err());
        assert_eq!(lease.deposit(200, LATER, DEADLINE), 399);
        assert_eq!(lease.account(DEADLINE).unspent(), 200);
        let _ = lease.spend(1, DEADLINE);
        let out = lease.withdraw(0, LATER);
        assert_eq!((out.live, out.dead), (0, 199));
    }

    #[test]
    fn a_new_record_empties_every_cell() {
        let lease = striped(400);
        let hold = lease.hold(1, NOW).unwrap();
        assert_eq!(lease.renew_generation(), 399);
        assert!(!lease.refund(hold), "the store charges it");
        lease.deposit(80, DEADLINE, NOW);
        assert!(lease.spend(1, NOW).is_ok());
        assert_eq!(places(&lease), (19, 60), "stripes are of the new record");
    }

    #[test]
    fn who_adds_stripes_late_adds_them_to_the_record_that_is() {
        let lease = Lease::default();
        lease.renew_generation();
        lease.deposit(80, DEADLINE, NOW);
        lease.stripe(2);
        assert!(lease.spend(1, NOW).is_ok());
        assert_eq!(places(&lease), (19, 60));
    }

    #[test]
    fn denials_are_counted_once_wherever_they_are_counted() {
        let lease = Lease::default();
        assert!(lease.count_denied(2));
        lease.stripe(2);
        assert!(lease.count_denied(3));
        assert_eq!(lease.take_denied(), 5);
        assert_eq!(lease.take_denied(), 0);
    }

    #[test]
    fn races_that_many_threads_lose_are_told_once() {
        let lease = Lease::default();
        assert!(!lease.count_races(RACES_MANY - 1));
        assert!(!lease.is_contended());
        assert!(lease.count_races(2));
        assert!(lease.is_contended());
        assert!(!lease.count_races(1));
        lease.account(NOW);
        assert!(lease.is_contended(), "a look from outside changes nothing");
        lease.take_account(NOW);
        assert!(!lease.is_contended(), "it was a moment ago");
        lease.count_races(RACES_MANY);
        lease.stripe(2);
        assert!(!lease.is_contended(), "it has stripes");
    }
}
