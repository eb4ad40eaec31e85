//! What a replica admits by itself while the store is away, and what it owes for it.
//!
//! A key that stands alone is decided by the same code as ever: only who answers its calls is
//! another. Under [`FailurePolicy::Local`] a ledger of its own does, with this replica's part of
//! the limit; under [`FailurePolicy::Open`] every wish is granted. Leases of its own are spent and
//! renewed as those of the store are, so a request is no slower in an outage.
//!
//! # Invariant
//!
//! What is admitted alone is *owed*: counted apart from what the store granted, and charged at the
//! store before anything else is asked of it. What was leased from the store is never mixed with
//! what a key granted itself: the one ends before the other begins. The ledger outlives a call to
//! the store that failed, so a key that looks in vain whether the store is back gets no second burst.

use leasehold_core::{
    Birth, Instant, LeaseRequest, Ledger, Limit, Micros, Rate, Reply, Request, Status, StoreTime,
    Wait,
};

/// What a limit admits when the store does not answer and the leases have ended.
///
/// Leases that are alive are spent under every policy: outages that are shorter pass unnoticed.
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

/// A key that stands alone, or did and has not told the store yet.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    /// Decides under [`FailurePolicy::Local`].
    ledger: Option<Ledger>,
    /// Tokens admitted alone and not yet charged at the store.
    owed: u64,
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

    pub(crate) fn owed(&self) -> u64 {
        self.owed
    }

    /// Records that so many tokens were admitted. No more than `capacity` is ever owed: a bucket
    /// cannot be charged more, and the store would forgive the rest. Returns what is forgiven.
    pub(crate) fn owe(&mut self, tokens: u64, capacity: u64) -> u64 {
        let owed = self.owed.saturating_add(tokens);
        // A debt from before the limit was lowered stays as it was.
        self.owed = owed.min(capacity.max(self.owed));
        owed - self.owed
    }

    /// The store has charged so many.
    pub(crate) fn pay(&mut self, tokens: u64) {
        self.owed = self.owed.saturating_sub(tokens);
    }

    /// The answer to `request` in place of the store's. `limit` is this replica's part of it.
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
            FailurePolicy::Open => open_handed(request, now),
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
fn open_handed(request: &Request, now: StoreTime) -> Reply {
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
        level: 0,
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
pub(crate) fn part_of(limit: &Limit, replicas: u64) -> Option<Limit> {
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
            let (whole, part) = (limit(text), part_of(&limit(text), replicas).unwrap());
            assert!(part.burst() * replicas <= whole.burst());
            assert_eq!(part.time_for(1), whole.time_for(replicas), "{text}");
        }
        assert_eq!(part_of(&limit("5/min burst 5"), 6), None, "no token each");
    }

    #[test]
    fn a_part_is_admitted_and_no_more() {
        let part = part_of(&limit("100/s burst 100"), 4).unwrap();
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
