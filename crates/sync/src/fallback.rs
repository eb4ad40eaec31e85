//! The fallback of a key: what decides in place of the store while the store is away, and how many
//! tokens were admitted so.
//!
//! The code that decides for a key in fallback is the code that decides at any time: only the
//! answers to its calls come from here. Under [`FailurePolicy::Local`] they come from a ledger of
//! the replica's own, by its local limit; under [`FailurePolicy::Open`] every wish is granted. A
//! replica spends and renews its own leases as it does those of the store, so a request is no
//! slower in an outage.
//!
//! # Invariant
//!
//! Tokens admitted in fallback are *uncharged*: they are counted apart from what the store granted,
//! and the store charges them before anything else is asked of it. Tokens that were leased from the
//! store are never mixed with tokens that a key granted itself: the one lease ends before the other
//! begins. The ledger outlives a call to the store that failed, so a key that tries in vain whether
//! the store is back gets no second burst.

use leasehold_core::{
    Birth, Decided, Instant, LeaseRequest, Ledger, Limit, Micros, Rate, Reason, Reply, Request,
    Status, StoreTime, Verdict, Wait,
};

/// The failure policy of a limit: how much it admits when the store does not answer and the leases
/// have ended.
///
/// Leases that are alive are spent under every policy, so outages that are shorter pass unnoticed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Nothing. The bound on what is admitted holds as ever.
    #[default]
    Closed,
    /// This replica's part: rate and burst divided by the number of replicas that it last knew of.
    /// If m of n replicas are cut off for a time d, at most m/n x (burst + rate x d) more than the
    /// limit is admitted. A limit whose burst is smaller than the number of replicas, or a replica
    /// that knows no number, is closed.
    Local,
    /// Everything, but for requests under several limits whose budget ends while they wait: those
    /// are denied. It is counted, and charged when the store is back, up to one capacity.
    Open,
}

/// The state of a key that is in fallback, or was and has not been charged yet.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    /// Decides under [`FailurePolicy::Local`].
    ledger: Option<Ledger>,
    /// Tokens admitted in fallback that the store has not charged yet.
    uncharged: u64,
    /// Calls are answered here.
    active: bool,
}

impl Fallback {
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    pub(crate) fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    pub(crate) fn uncharged(&self) -> u64 {
        self.uncharged
    }

    /// Records that so many tokens were admitted. At most `capacity` of them stay uncharged,
    /// because a bucket cannot be charged more and the store would forgive the rest. Returns how
    /// many are forgiven.
    pub(crate) fn record_uncharged(&mut self, tokens: u64, capacity: u64) -> u64 {
        let uncharged = self.uncharged.saturating_add(tokens);
        // Uncharged tokens from before the limit was lowered stay as they were.
        self.uncharged = uncharged.min(capacity.max(self.uncharged));
        uncharged - self.uncharged
    }

    /// The store has charged so many.
    pub(crate) fn record_charged(&mut self, tokens: u64) {
        self.uncharged = self.uncharged.saturating_sub(tokens);
    }

    /// The reply to `request` in place of the store's. `limit` is this replica's local limit.
    pub(crate) fn answer(
        &mut self,
        request: &Request,
        policy: FailurePolicy,
        limit: &Limit,
        now: Instant,
    ) -> Reply {
        // A replica's clock begins anywhere, and a ledger takes zero for never.
        let now = StoreTime::from_micros(now.as_nanos() / 1000 + 1);
        match policy {
            FailurePolicy::Open => open_handed(request, limit, now),
            FailurePolicy::Local | FailurePolicy::Closed => {
                let birth = Birth {
                    since: StoreTime::from_micros(1),
                    emptied: StoreTime::ZERO,
                };
                Ledger::exchange(&mut self.ledger, request, limit, birth, now)
            }
        }
    }
}

/// All that is asked for.
fn open_handed(request: &Request, limit: &Limit, now: StoreTime) -> Reply {
    let (status, granted, expiry) = match request {
        Request::Lease(request) => {
            let granted = granted_wholly(request);
            let idle = request.wanted == 0 && granted == request.spent + request.released;
            if idle {
                (Status::Left, granted, StoreTime::ZERO)
            } else {
                (Status::Leased, granted, now + request.lease)
            }
        }
        Request::Spend { .. } => (Status::Spent, 0, StoreTime::ZERO),
        Request::Charge { .. } => (Status::Charged, 0, StoreTime::ZERO),
        Request::Forgive => (Status::Forgiven, 0, StoreTime::ZERO),
    };
    Reply {
        status,
        granted,
        expiry,
        wait: Wait::None,
        free: limit.capacity().saturating_sub(granted),
        full_in: Micros::from_duration(limit.time_for(granted)),
        outstanding: granted,
        replicas: 1,
        demand: 0,
        now,
    }
}

fn granted_wholly(request: &LeaseRequest) -> u64 {
    let held = request.granted - request.spent - request.released;
    let wished = request.wanted.max(request.needed);
    request.granted + wished.saturating_sub(held)
}

/// The part of `limit` that is due to one of `replicas` replicas; `None` if that is no token at a
/// time. All parts together are at most the limit.
pub(crate) fn divide(limit: &Limit, replicas: u64) -> Option<Limit> {
    let rate = Rate {
        tokens: limit.rate().tokens,
        period: Micros(limit.rate().period.0.checked_mul(replicas)?),
    };
    let burst = limit.burst().checked_div(replicas)?;
    if burst == 0 {
        return None;
    }
    Limit::new(rate, burst, 0).ok()
}

/// How many replicas there are, as far as their leases tell: the most that the store counted on one
/// key in the last minute or two. While the store is away, what was known last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    lately: u64,
    before: u64,
    since: Instant,
}

impl Fleet {
    pub(crate) const fn new() -> Self {
        Self {
            lately: 0,
            before: 0,
            since: Instant::ORIGIN,
        }
    }

    /// The store counts so many replicas on a key.
    pub(crate) fn observe(&mut self, replicas: u64, now: Instant) {
        if now.since(self.since) >= FLEET_WINDOW {
            (self.before, self.lately, self.since) = (self.lately, 0, now);
        }
        self.lately = self.lately.max(replicas);
    }

    /// `None` if no lease has told yet.
    pub(crate) fn replicas(&self) -> Option<u64> {
        Some(self.lately.max(self.before)).filter(|&replicas| replicas > 0)
    }
}

/// Replicas that left are forgotten after this, or twice this.
const FLEET_WINDOW: core::time::Duration = core::time::Duration::from_secs(60);

/// Marks a verdict as one of a key in fallback: a denial is for want of the store then.
#[cold]
pub(crate) fn in_fallback(verdict: Verdict) -> Verdict {
    match verdict.denial() {
        None => verdict.with_decided(Decided::Fallback),
        Some(denial) => {
            let reason = Reason::StoreUnavailable;
            let verdict = Verdict::deny(Decided::Fallback, reason, denial.retry);
            let verdict = verdict.with_reset(denial.reset);
            match denial.limit {
                Some(limit) => verdict.with_limit(limit),
                None => verdict,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Demand, RecordId};

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn all_parts_together_are_at_most_the_limit() {
        for (text, replicas) in [
            ("1000/s burst 1000", 10),
            ("7/3s burst 5", 4),
            ("1/h burst 3", 3),
        ] {
            let (whole, part) = (limit(text), divide(&limit(text), replicas).unwrap());
            assert!(part.burst() * replicas <= whole.burst());
            assert_eq!(part.time_for(1), whole.time_for(replicas), "{text}");
        }
        assert_eq!(divide(&limit("5/min burst 5"), 6), None, "no token each");
    }

    #[test]
    fn a_part_is_admitted_and_no_more() {
        let part = divide(&limit("100/s burst 100"), 4).unwrap();
        let mut fallback = Fallback::default();
        let mut spend = |cost, now| {
            let request = Request::Spend { cost };
            fallback
                .answer(&request, FailurePolicy::Local, &part, now)
                .status
        };
        assert_eq!(spend(25, NOW), Status::Spent);
        assert_eq!(spend(1, NOW), Status::Denied);
        let later = NOW + core::time::Duration::from_millis(400);
        assert_eq!(spend(10, later), Status::Spent);
        assert_eq!(spend(1, later), Status::Denied);
    }

    #[test]
    fn an_open_hand_grants_what_is_wished_and_lets_go_who_has_done() {
        let request = LeaseRequest {
            record: RecordId {
                replica: 1,
                generation: 1,
            },
            granted: 10,
            spent: 4,
            released: 1,
            wanted: 20,
            needed: 30,
            lease: Micros(1000),
            expiry: StoreTime::ZERO,
            demand: Demand::ONE,
        };
        let mut fallback = Fallback::default();
        let mut answer = |request| {
            let request = Request::Lease(request);
            fallback.answer(&request, FailurePolicy::Open, &limit("1/s"), NOW)
        };
        let reply = answer(request);
        assert_eq!((reply.status, reply.granted), (Status::Leased, 35));
        assert!(reply.answers(&Request::Lease(request)));
        let done = LeaseRequest {
            spent: 9,
            wanted: 0,
            needed: 0,
            ..request
        };
        let reply = answer(done);
        assert_eq!(reply.status, Status::Left);
        assert!(reply.answers(&Request::Lease(done)));
    }

    #[test]
    fn replicas_that_left_are_forgotten_in_time() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let mut fleet = Fleet::new();
        assert_eq!(fleet.replicas(), None);
        fleet.observe(10, at(61));
        fleet.observe(3, at(122));
        assert_eq!(fleet.replicas(), Some(10), "not at once");
        fleet.observe(4, at(183));
        assert_eq!(fleet.replicas(), Some(4));
    }
}
