//! Looks: a replica asks now and then whether a denial that it remembers still holds.
//!
//! A replica remembers a denial for as long as the store told, at no call. Meanwhile somebody may
//! delete the bucket, reset it, or restore an older state of the store; and a store may have told a
//! wrong time. So the replica looks at a denied key while the key is asked for. A look is one key
//! in a batch.

use std::time::Duration;

use leasehold_core::Instant;

/// A denial that a key remembers for its looks, as the entry does for the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    until: Instant,
    /// So many free tokens before its end disprove the denial.
    disproof: u64,
    /// The next call only looks whether the denial still holds.
    looking: bool,
    /// When the store last refused.
    heard: Instant,
    /// Whether a request has been denied in place since.
    asked: bool,
    /// When the key is checked next: if a request came meanwhile, the key is looked at.
    next_check: Instant,
    /// Time between the last check and the next.
    pause: Duration,
}

impl Refusal {
    /// The store has refused: a denial until `until`, unless `disproof` tokens are free sooner.
    pub(crate) fn new(until: Instant, disproof: u64, now: Instant) -> Self {
        Self {
            until,
            disproof,
            looking: false,
            heard: now,
            asked: false,
            next_check: now + LOOK_EVERY,
            pause: LOOK_EVERY,
        }
    }

    /// Whether the denial lasts for so long that looks are worth their calls.
    fn is_long(&self) -> bool {
        self.until > self.heard + ENDS_SOON
    }

    /// When to check next whether a look is due, if ever.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.is_long().then_some(self.next_check)
    }

    /// Whether the next call is to look whether the denial still holds: if a request came since the
    /// store was asked, and the looks of other keys leave room. A key that was checked in vain is
    /// checked half as often each time.
    pub(crate) fn is_look_due(&mut self, is_asked: bool, looks: &mut Looks, now: Instant) -> bool {
        self.asked |= is_asked;
        if self.until <= now || !self.is_long() || self.next_check > now {
            return false;
        }
        self.looking = self.asked && looks.may_look(now);
        self.pause = (self.pause * 2).min(KEPT);
        self.next_check = now + self.pause;
        self.looking
    }

    pub(crate) fn is_looking(&self) -> bool {
        self.looking
    }

    /// Whether the call that is about to be made is a look.
    pub(crate) fn take_look(&mut self) -> bool {
        std::mem::take(&mut self.looking)
    }

    /// A look found `free` tokens. Returns whether that disproves the denial.
    pub(crate) fn handle_look(&mut self, free: u64, now: Instant) -> bool {
        *self = Self::new(self.until, self.disproof, now);
        free >= self.disproof
    }

    /// How long a key without other work is kept, so that a look can find out whether the denial
    /// still holds.
    pub(crate) fn kept_for(&self, now: Instant) -> Option<Duration> {
        let left = self.until.min(self.heard + KEPT).since(now);
        (self.is_long() && !left.is_zero()).then_some(left)
    }

    /// When the denial ends.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Whether the denial goes with a key that is forgotten, because no look would find out whether
    /// it still holds.
    pub(crate) fn ends_with_key(&self, now: Instant) -> bool {
        self.until > now && now.since(self.heard) >= KEPT
    }
}

/// The budget for the looks at all keys of a replica: one key in each [`LOOK_GAP`], however many
/// keys are denied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// When the looks so far would all have been made, each a gap after the one before.
    paced_to: Instant,
}

impl Looks {
    /// Whether a key may be looked at now; if so, the look is counted.
    pub(crate) fn may_look(&mut self, now: Instant) -> bool {
        let paced_to = self.paced_to.max(now) + LOOK_GAP;
        let may = paced_to.since(now) <= LOOK_GAP * AHEAD;
        if may {
            self.paced_to = paced_to;
        }
        may
    }
}

/// Time from one look at a denied key to the next while the key is asked for. It is long enough
/// that looks cost little beside the other calls of a busy replica, and short enough that a person
/// who resets a key sees the effect.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A denial that ends within this time is not looked at: of a limit such as five a minute, whose
/// tokens come every twelve seconds, looks would be most of the calls.
const ENDS_SOON: Duration = Duration::from_secs(15);

/// How long a denied key is kept that nobody asks for, and the longest time between two checks.
/// Until then the calls of a key that is asked for less often than once a second are looks, and so
/// within the budget.
const KEPT: Duration = Duration::from_secs(15);

/// The budget allows a hundred looks a second: a hundred denied keys can be looked at as often as
/// is wished, and more keys share it.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// The most looks that may follow each other at once.
const AHEAD: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_keys_are_denied_they_are_looked_at_a_hundred_times_a_second() {
        let mut looks = Looks::default();
        let mut made = 0;
        for millis in 0..10_000 {
            let now = Instant::from_millis(millis);
            made += (0..10).filter(|_| looks.may_look(now)).count();
        }
        assert!((1000..=1032).contains(&made), "{made}");
    }

    const NOW: Instant = Instant::from_millis(1000);

    /// A request comes every `gap` milliseconds for ten minutes, and the key is checked when it
    /// wishes to be. Returns how many looks were made.
    fn looks_in_ten_minutes(denied_for: Duration, gap: u64) -> u64 {
        let mut looks = Looks::default();
        let mut refusal = Refusal::new(NOW + denied_for, 1, NOW);
        let mut made = 0;
        let mut is_asked = false;
        for millis in 1..600_000 {
            let now = NOW + Duration::from_millis(millis);
            is_asked |= millis % gap == 0;
            if refusal.next_check().is_some_and(|at| at <= now)
                && refusal.is_look_due(std::mem::take(&mut is_asked), &mut looks, now)
            {
                assert!(refusal.take_look() && !refusal.take_look());
                assert!(!refusal.handle_look(0, now), "nothing is free");
                made += 1;
            }
        }
        made
    }

    #[test]
    fn a_denied_key_is_looked_at_once_a_second_while_it_is_asked_for_and_no_more() {
        let hour = Duration::from_secs(3600);
        assert_eq!(looks_in_ten_minutes(hour, 1), 599);
        let rarely = looks_in_ten_minutes(hour, 5000);
        assert!(
            (60..=120).contains(&rarely),
            "{rarely}: one a request at most"
        );
        assert_eq!(looks_in_ten_minutes(hour, 600_000), 0, "nobody asks");
    }

    #[test]
    fn a_denial_that_ends_soon_is_not_looked_at() {
        assert_eq!(looks_in_ten_minutes(Duration::from_secs(5), 1), 0);
        let looks = looks_in_ten_minutes(Duration::from_secs(20), 1);
        assert_eq!(looks, 5, "until it ends soon");
    }

    #[test]
    fn a_look_that_finds_enough_disproves_the_denial() {
        let mut refusal = Refusal::new(NOW + KEPT, 3, NOW);
        assert!(!refusal.handle_look(2, NOW));
        assert!(refusal.handle_look(3, NOW));
    }
}
