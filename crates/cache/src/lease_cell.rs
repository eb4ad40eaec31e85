//! The tokens one key holds on lease, spent by many threads without a lock.
//!
//! # Invariant
//!
//! Whatever the interleaving, each deposited token leaves the cell once: spent, held, withdrawn,
//! or returned as dead. Nobody takes a token at a `now` at or past its deadline, and no hold is
//! refunded into another lease record than it was taken from. Tokens, deadline and generation
//! share one word, so no thread can pair the tokens of one lease with the deadline of another.
//!
//! # Orderings
//!
//! The word itself needs none: read-modify-writes of one word are totally ordered at any strength.
//! Two accesses are stronger for the sake of [`Holds`](crate::holds): holds are taken with
//! `Release` and `view` acquires, so whoever sees tokens missing sees the hold that may bring them
//! back. The `Relaxed` writers in between are read-modify-writes too and carry that release on.

use core::sync::atomic::Ordering::{self, Acquire, Relaxed};

use leasehold_core::Instant;

use crate::atomic::AtomicU64;

/// The lease of one key, shared by all threads of a replica. Starts empty.
#[derive(Debug, Default)]
pub(crate) struct LeaseCell(AtomicU64);

impl LeaseCell {
    /// The most tokens a cell can hold.
    pub(crate) const TOKENS_MAX: u32 = (1 << TOKEN_BITS) - 1;

    /// An empty cell of this generation.
    pub(crate) fn of(generation: Generation) -> Self {
        let empty = Content {
            deadline_ticks: 0,
            generation,
            tokens: 0,
        };
        Self(AtomicU64::new(empty.pack()))
    }

    /// Takes `cost` tokens, all or none, and says what is left. Those that may come back are taken
    /// with `Release`.
    ///
    /// # Errors
    ///
    /// [`Shortfall`] if fewer than `cost` tokens are live at `now`. Nothing is taken then.
    #[inline]
    pub(crate) fn take(
        &self,
        cost: u32,
        now: Instant,
        order: Ordering,
    ) -> Result<Taken, Shortfall> {
        let mut races_lost = 0;
        let mut word = self.0.load(Relaxed);
        loop {
            let lease = Content::unpack(word);
            let live = lease.live(now);
            let Some(live) = live.checked_sub(cost) else {
                return Err(Shortfall { live });
            };
            let left = lease.less(cost).pack();
            // The strong exchange fails for other threads only, never by itself.
            match self.0.compare_exchange(word, left, order, Relaxed) {
                Ok(_) => {
                    return Ok(Taken {
                        live,
                        left,
                        races_lost,
                    });
                }
                Err(seen) => {
                    word = seen;
                    races_lost += 1;
                }
            }
        }
    }

    /// Puts tokens back where they were taken from and says whether it did. It does not if the
    /// lease record changed since (the store charged these tokens, or will) or if the cell would
    /// overflow.
    pub(crate) fn refund(&self, tokens: u32, generation: Generation) -> bool {
        let put_back = |word| {
            let mut lease = Content::unpack(word);
            lease.tokens += tokens;
            let fits = lease.tokens <= Self::TOKENS_MAX;
            (fits && lease.generation == generation).then(|| lease.pack())
        };
        self.0.fetch_update(Relaxed, Relaxed, put_back).is_ok()
    }

    /// Adds tokens of another cell of the same lease, with their deadline, and says whether it did.
    /// It does not if the record is another by now, or if what lies here is dead at `now`: it must
    /// not live again.
    pub(crate) fn put(&self, tokens: u32, from: &LeaseView, now: Instant) -> bool {
        let add = |word| {
            let mut lease = Content::unpack(word);
            let same = lease.generation == from.generation && lease.dead(now) == 0;
            lease.tokens += tokens;
            lease.deadline_ticks = lease.deadline_ticks.max(ticks(from.deadline));
            (same && lease.tokens <= Self::TOKENS_MAX).then(|| lease.pack())
        };
        self.0.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    /// Adds `tokens` and extends the whole lease to `deadline`, never shortening it. Tokens dead
    /// at `now` are dropped first; their number is returned.
    ///
    /// # Panics
    ///
    /// If the lease would exceed [`TOKENS_MAX`](Self::TOKENS_MAX). Replies are checked on arrival,
    /// and pending holds count there: a refund may come before the deposit.
    pub(crate) fn deposit(&self, tokens: u32, deadline: Instant, now: Instant) -> u32 {
        let before = self.update(|mut lease| {
            lease.tokens = lease.live(now).saturating_add(tokens);
            assert!(lease.tokens <= Self::TOKENS_MAX, "lease overflows its cell");
            lease.deadline_ticks = lease.deadline_ticks.max(ticks(deadline));
            lease
        });
        before.dead(now)
    }

    /// Takes out the live tokens above `keep`, to be released, and all tokens dead at `now`.
    pub(crate) fn withdraw(&self, keep: u32, now: Instant) -> Withdrawn {
        let before = self.update(|mut lease| {
            lease.tokens = lease.live(now).min(keep);
            lease
        });
        Withdrawn {
            live: before.live(now).saturating_sub(keep),
            dead: before.dead(now),
        }
    }

    /// Starts over, empty, in the next generation: the store has a new lease record for the key.
    /// Returns the tokens that were in the cell, live or dead. Holds of the old record can no
    /// longer be refunded.
    pub(crate) fn renew_generation(&self) -> u32 {
        let before = self.update(|lease| Content {
            deadline_ticks: 0,
            generation: lease.generation.next(),
            tokens: 0,
        });
        before.tokens
    }

    /// The lease in this cell at `now`.
    #[inline]
    pub(crate) fn view(&self, now: Instant) -> LeaseView {
        Content::unpack(self.0.load(Acquire)).view(now)
    }

    /// Applies `change` and returns the lease as it was before.
    fn update(&self, change: impl Fn(Content) -> Content) -> Content {
        let apply = |word| Some(change(Content::unpack(word)).pack());
        let before = self.0.fetch_update(Relaxed, Relaxed, apply);
        Content::unpack(before.expect("`apply` never declines"))
    }
}

/// A lease at some moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseView {
    /// Tokens that can be spent.
    pub live: u32,
    /// Tokens past their deadline, of interest to the books only. Either this or `live` is 0.
    pub dead: u32,
    /// When the tokens die: up to 4.2 ms before the deadline that was asked for, never after it.
    pub deadline: Instant,
    /// Which lease record of the store the tokens belong to.
    pub generation: Generation,
}

/// The tokens that [`OwnedEntry::withdraw`](crate::OwnedEntry::withdraw) took out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Withdrawn {
    /// Tokens that can still be released.
    pub live: u32,
    /// Tokens past their deadline: charged at the store, or soon to be.
    pub dead: u32,
}

/// Fewer live tokens than a request costs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shortfall {
    /// How many there were.
    pub live: u32,
}

/// The rest that [`LeaseCell::take`] left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Taken {
    /// Tokens left, live as those that were taken with them.
    pub(crate) live: u32,
    /// The word without these tokens.
    left: u64,
    /// How often another thread was faster.
    pub(crate) races_lost: u32,
}

impl Taken {
    /// The lease without these tokens.
    pub(crate) fn left(self, now: Instant) -> LeaseView {
        Content::unpack(self.left).view(now)
    }
}

/// The lease records of a key at the store, counted modulo 16 by its cell. A hold lasts
/// microseconds and a lease record longer, so no hold sees its number come round again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Generation(u8);

impl Generation {
    #[inline]
    const fn new(number: u8) -> Self {
        Self(number % (1 << GENERATION_BITS))
    }

    const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }
}

/// The content of one word: deadline in the high bits, generation, tokens in the low ones.
struct Content {
    deadline_ticks: u64,
    generation: Generation,
    tokens: u32,
}

impl Content {
    #[inline]
    fn pack(self) -> u64 {
        (self.deadline_ticks << GENERATION_BITS | u64::from(self.generation.0)) << TOKEN_BITS
            | u64::from(self.tokens)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the field")]
    fn unpack(word: u64) -> Self {
        Self {
            deadline_ticks: word >> (GENERATION_BITS + TOKEN_BITS),
            generation: Generation::new((word >> TOKEN_BITS) as u8),
            tokens: word as u32 & LeaseCell::TOKENS_MAX,
        }
    }

    #[inline]
    fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline_ticks << TICK_BITS)
    }

    #[inline]
    fn live(&self, now: Instant) -> u32 {
        if now < self.deadline() {
            self.tokens
        } else {
            0
        }
    }

    #[inline]
    fn dead(&self, now: Instant) -> u32 {
        self.tokens - self.live(now)
    }

    /// The lease without `cost` tokens, of which there are that many.
    #[inline]
    fn less(&self, cost: u32) -> Self {
        let tokens = self.tokens - cost;
        Self { tokens, ..*self }
    }

    #[inline]
    fn view(&self, now: Instant) -> LeaseView {
        LeaseView {
            live: self.live(now),
            dead: self.dead(now),
            deadline: self.deadline(),
            generation: self.generation,
        }
    }
}

/// `deadline` in ticks, rounded down: a lease ends early, never late.
fn ticks(deadline: Instant) -> u64 {
    (deadline.as_nanos() >> TICK_BITS).min(DEADLINE_TICKS_MAX)
}

/// 16.7 million tokens on one replica.
const TOKEN_BITS: u32 = 24;

/// Enough that a hold outlives no 16 lease records.
const GENERATION_BITS: u32 = 4;

/// A tick is 2^22 ns = 4.2 ms: short against any lease, and found by a shift.
const TICK_BITS: u32 = 22;

/// The 36 bits that are left: 9 years of uptime.
const DEADLINE_TICKS_MAX: u64 = u64::MAX >> (GENERATION_BITS + TOKEN_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;
    const DEADLINE: Instant = Instant::from_nanos(24 << TICK_BITS);
    const BEFORE_DEADLINE: Instant = Instant::from_nanos(DEADLINE.as_nanos() - 1);
    const LATER: Instant = Instant::from_nanos(48 << TICK_BITS);

    fn leased(tokens: u32) -> LeaseCell {
        let cell = LeaseCell::default();
        assert_eq!(cell.deposit(tokens, DEADLINE, NOW), 0);
        cell
    }

    fn spend(cell: &LeaseCell, cost: u32, now: Instant) -> Result<LeaseView, Shortfall> {
        cell.take(cost, now, Relaxed).map(|taken| taken.left(now))
    }

    fn live(cell: &LeaseCell, now: Instant) -> u32 {
        cell.view(now).live
    }

    #[test]
    fn a_cost_is_paid_whole_or_not_at_all() {
        let cell = leased(3);
        assert_eq!(spend(&cell, 4, NOW), Err(Shortfall { live: 3 }));
        assert_eq!(spend(&cell, 2, NOW).map(|left| left.live), Ok(1));
        assert_eq!(spend(&cell, u32::MAX, NOW), Err(Shortfall { live: 1 }));
        assert_eq!(live(&cell, NOW), 1);
    }

    #[test]
    fn nothing_is_spent_from_the_deadline_on() {
        let cell = leased(3);
        assert!(spend(&cell, 1, BEFORE_DEADLINE).is_ok());
        assert_eq!(spend(&cell, 1, DEADLINE), Err(Shortfall { live: 0 }));
        assert_eq!(cell.view(DEADLINE).dead, 2);
    }

    #[test]
    fn a_lease_ends_early_rather_than_late() {
        let cell = LeaseCell::default();
        let asked = Instant::from_nanos(DEADLINE.as_nanos() + (1 << TICK_BITS) - 1);
        cell.deposit(1, asked, NOW);
        assert_eq!(cell.view(NOW).deadline, DEADLINE);
    }

    #[test]
    fn a_deadline_beyond_the_word_is_cut_to_it() {
        let latest = Instant::from_nanos(DEADLINE_TICKS_MAX << TICK_BITS);
        let beyond = Instant::from_nanos((DEADLINE_TICKS_MAX + 1) << TICK_BITS);
        for deadline in [latest, beyond, Instant::FAR_FUTURE] {
            let cell = LeaseCell::default();
            cell.deposit(LeaseCell::TOKENS_MAX, deadline, NOW);
            let expected = LeaseView {
                live: LeaseCell::TOKENS_MAX,
                dead: 0,
                deadline: latest,
                generation: Generation::default(),
            };
            assert_eq!(cell.view(NOW), expected);
        }
    }

    #[test]
    fn spending_nothing_changes_nothing() {
        let cell = leased(2);
        assert_eq!(spend(&cell, 0, NOW).map(|left| left.live), Ok(2));
        assert_eq!(spend(&cell, 0, DEADLINE).map(|left| left.live), Ok(0));
        assert_eq!(cell.view(DEADLINE).dead, 2, "kept for the books");
    }

    #[test]
    fn a_deposit_neither_shortens_a_lease_nor_revives_one() {
        let cell = leased(2);
        assert_eq!(cell.deposit(0, NOW, NOW), 0);
        assert_eq!(live(&cell, BEFORE_DEADLINE), 2, "a late reply is harmless");
        assert_eq!(cell.deposit(1, LATER, DEADLINE), 2, "the dead are returned");
        assert_eq!(live(&cell, DEADLINE), 1);
    }

    #[test]
    #[should_panic(expected = "lease overflows its cell")]
    fn a_cell_does_not_overflow_into_its_neighbours() {
        leased(LeaseCell::TOKENS_MAX).deposit(1, DEADLINE, NOW);
    }

    #[test]
    fn a_withdrawal_leaves_what_is_to_be_kept() {
        let cell = leased(5);
        assert_eq!(cell.withdraw(9, NOW), Withdrawn { live: 0, dead: 0 });
        assert_eq!(cell.withdraw(2, NOW), Withdrawn { live: 3, dead: 0 });
        assert_eq!(live(&cell, NOW), 2);
    }

    #[test]
    fn a_withdrawal_keeps_no_dead_tokens() {
        let cell = leased(5);
        assert_eq!(cell.withdraw(2, DEADLINE), Withdrawn { live: 0, dead: 5 });
        assert_eq!(cell.withdraw(2, DEADLINE), Withdrawn { live: 0, dead: 0 });
    }

    #[test]
    fn a_hold_is_refunded_to_its_own_lease_record() {
        let cell = leased(3);
        let held = spend(&cell, 2, NOW).unwrap();
        assert_eq!(held.live, 1);
        assert!(cell.refund(2, held.generation));
        assert_eq!(live(&cell, NOW), 3);
    }

    #[test]
    fn a_hold_is_not_refunded_to_another_lease_record() {
        let cell = leased(3);
        let held = spend(&cell, 2, NOW).unwrap();
        assert_eq!(cell.renew_generation(), 1);
        cell.deposit(4, DEADLINE, NOW);
        assert!(!cell.refund(2, held.generation));
        assert_eq!(live(&cell, NOW), 4);
    }

    #[test]
    fn a_hold_that_outlived_its_deadline_comes_back_dead() {
        let cell = leased(3);
        let held = spend(&cell, 2, BEFORE_DEADLINE).unwrap();
        assert!(cell.refund(2, held.generation));
        assert_eq!(cell.withdraw(0, DEADLINE), Withdrawn { live: 0, dead: 3 });
    }

    #[test]
    fn a_refund_does_not_overflow_the_cell() {
        let cell = leased(2);
        let held = spend(&cell, 2, NOW).unwrap();
        cell.deposit(LeaseCell::TOKENS_MAX - 1, DEADLINE, NOW);
        assert!(!cell.refund(2, held.generation));
        assert_eq!(live(&cell, NOW), LeaseCell::TOKENS_MAX - 1);
    }

    #[test]
    fn tokens_of_another_cell_of_the_record_bring_their_deadline() {
        let from = leased(3).view(NOW);
        let cell = LeaseCell::of(from.generation);
        assert!(cell.put(2, &from, NOW));
        assert_eq!(live(&cell, BEFORE_DEADLINE), 2);
        assert_eq!(cell.deposit(0, LATER, NOW), 0);
        assert!(
            cell.put(1, &from, NOW),
            "one lease has one deadline, the later"
        );
        assert_eq!(live(&cell, DEADLINE), 3);
        assert!(!cell.put(LeaseCell::TOKENS_MAX, &from, NOW), "no room");
    }

    #[test]
    fn tokens_of_another_record_and_tokens_beside_dead_ones_are_not_put() {
        let from = leased(3).view(NOW);
        let cell = LeaseCell::of(from.generation.next());
        assert!(!cell.put(2, &from, NOW));
        let longer = LeaseCell::default();
        longer.deposit(2, LATER, NOW);
        let cell = leased(1);
        assert!(!cell.put(2, &longer.view(NOW), DEADLINE));
        assert_eq!(
            cell.view(DEADLINE).dead,
            1,
            "and nothing comes back to life"
        );
    }

    #[test]
    fn a_new_lease_record_starts_empty() {
        let cell = leased(3);
        assert_eq!(cell.renew_generation(), 3);
        assert_eq!(
            cell.view(NOW),
            LeaseView {
                live: 0,
                dead: 0,
                deadline: Instant::ORIGIN,
                generation: Generation::new(1)
            }
        );
    }

    #[test]
    fn generations_come_round_after_sixteen_and_spare_the_deadline() {
        let cell = LeaseCell::default();
        let start = cell.view(NOW).generation;
        for _ in 0..15 {
            cell.renew_generation();
            assert_ne!(cell.view(NOW).generation, start);
        }
        cell.renew_generation();
        assert_eq!(cell.view(NOW).generation, start);
        assert_eq!(cell.view(NOW).deadline, Instant::ORIGIN);
    }
}
