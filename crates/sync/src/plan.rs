//! The plan for one key: whether it is leased, how many tokens are asked for and for how long, and
//! when the store hears of the key again.
//!
//! A plan is a policy and nothing else. It holds no tokens and no requests, reads no cell, and
//! decides by what it is given: the demand, the sizes of the limit, and what the store replied.
//!
//! # Invariant
//!
//! A key on the edge does not flap: a lease begins where it pays, and ends where it pays only half.

use std::time::Duration;

use leasehold_cache::Lease;
use leasehold_core::{Demand, Instant, Reply, SplitMix64, Wait};

use crate::demand_meter::as_float;
use crate::tuning::{SPARE_DOUBT, Sizing, Tuning};

/// How the bucket did when the store last replied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Supply {
    /// More came in than was asked for.
    Ample,
    /// As much was asked for as came in, or more; what there is lasts for now.
    Tight,
    /// There was not enough.
    Exhausted,
}

/// The near future of a key as its plan assumes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlook {
    /// Tokens per second that will be asked for.
    pub(crate) rate: f64,
    /// Tokens that a typical request costs, at least 1.
    pub(crate) cost: f64,
}

/// The sizes by which a plan decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis<'a> {
    pub(crate) sizing: &'a Sizing,
    pub(crate) tuning: &'a Tuning,
    /// Mean time from a call to its reply.
    pub(crate) round_trip: Duration,
    /// The shortest such time lately. Whether to lease depends on it, not on the mean: a store that
    /// has too much to do needs leases most.
    pub(crate) distance: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    leasing: bool,
    /// Replicas that held leases when the store last replied, at least 1.
    replicas: u64,
    supply: Supply,
    /// Whether requests that find nothing here ask the store, though the key is leased.
    asks_beside: bool,
    /// Time for which tokens are leased ahead.
    horizon: Duration,
    /// Until then requests that ask the store do so for themselves, and the lease rests.
    lease_at: Instant,
    /// No call before this, except to look or to give back.
    retry_at: Instant,
    /// Alarms in a row at which nothing had happened.
    idle: u32,
}

impl Basis<'_> {
    /// Tokens from which on a lease pays. A lease for less than one request costs serves nobody
    /// here, and its tokens are missed elsewhere, so requests are counted.
    fn pays(&self, outlook: Outlook) -> f64 {
        self.tuning.lease_pays * outlook.cost
    }

    /// Whether the limit can be used at its full rate by leases. Tokens that are spent drain once
    /// they are reported: if that takes a good part of the time in which the bucket fills, the
    /// limit lacks them. A key that `is_leasing` goes on a little longer, as a store's distance
    /// varies.
    fn sustains_leases(&self, is_leasing: bool) -> bool {
        let reported = REPORTED_WITHIN * 2 + self.distance * 5;
        let enough = if is_leasing {
            reported / 4 * 3
        } else {
            reported
        };
        self.sizing.fill >= enough
    }

    /// Whether the tokens that `replicas` replicas hold, and that they have spent and not reported,
    /// may be a good part of the bucket.
    fn holds_much(&self, replicas: u64) -> bool {
        let replicas = u32::try_from(replicas).map_or(REPLICAS_MAX, |it| it.min(REPLICAS_MAX));
        let held = REPORTED_WITHIN * (SPANS + SPANS_OF_ONE * replicas);
        self.sizing.fill < held + self.distance * ROUND_TRIPS
    }

    /// Tokens that last until a call made now is answered.
    fn watermark(&self, rate: f64) -> u64 {
        Sizing::tokens_for(rate, self.round_trip + self.tuning.call_gap)
    }
}

impl Plan {
    pub(crate) fn new(sizing: &Sizing) -> Self {
        Self {
            leasing: false,
            replicas: 1,
            supply: Supply::Ample,
            asks_beside: false,
            horizon: sizing.interval,
            lease_at: Instant::ORIGIN,
            retry_at: Instant::ORIGIN,
            idle: 0,
        }
    }

    /// Forgets what was learned of one bucket, because it says nothing of another.
    pub(crate) fn start_over(&mut self, sizing: &Sizing) {
        self.supply = Supply::Ample;
        self.asks_beside = false;
        self.horizon = sizing.interval;
        self.lease_at = Instant::ORIGIN;
        self.retry_at = Instant::ORIGIN;
    }

    pub(crate) fn is_leasing(&self) -> bool {
        self.leasing
    }

    /// Whether a request that finds nothing here may ask the store for itself. It may if the key is
    /// not leased; and if what the bucket lacks may be what other replicas hold, because a lease
    /// that found nothing proves nothing then.
    pub(crate) fn asks_store(&self) -> bool {
        !self.leasing || self.asks_beside
    }

    /// Whether the lease is to be asked for rather, so that it serves those who wait.
    pub(crate) fn leases_first(&self, now: Instant) -> bool {
        self.leasing && self.lease_at <= now
    }

    /// The lease found nothing, and is asked for again at this time.
    pub(crate) fn rest_until(&mut self, at: Instant) {
        self.end_backoff();
        self.lease_at = at;
    }

    pub(crate) fn supply(&self) -> Supply {
        self.supply
    }

    pub(crate) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    pub(crate) fn set_retry_at(&mut self, at: Instant) {
        self.retry_at = at;
    }

    pub(crate) fn end_backoff(&mut self) {
        self.retry_at = Instant::ORIGIN;
    }

    /// Notes at an alarm whether anybody asked since the last.
    pub(crate) fn handle_alarm(&mut self, is_asked: bool) {
        self.idle = if is_asked { 0 } else { self.idle + 1 };
    }

    /// Whether an alarm has passed without a request.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle > 0
    }

    /// Whether a lull has lasted for so long that what is held goes back.
    pub(crate) fn gives_back(&self) -> bool {
        self.idle >= IDLE_ALARMS
    }

    /// Ends a lull at once, because the lease ends within it.
    pub(crate) fn give_back(&mut self) {
        self.idle = IDLE_ALARMS;
    }

    /// Begins to lease once a lease pays, and stops when it pays only half. `needed` tokens are
    /// waited for.
    pub(crate) fn choose_mode(&mut self, outlook: Outlook, needed: u64, basis: Basis<'_>) {
        let within = |time: Duration| outlook.rate * time.as_secs_f64();
        let expected = match self.supply {
            Supply::Exhausted => within(basis.sizing.backoff_max) + as_float(needed),
            Supply::Tight => within(self.horizon) + as_float(needed),
            // Two requests that met by chance are no demand for seconds.
            Supply::Ample => (within(self.horizon) + as_float(needed))
                .max(within(self.spare_horizon(outlook.rate, outlook, basis)) / SPARE_DOUBT),
        };
        let pays = basis.pays(outlook);
        let share = as_float(self.share(basis));
        let enough = if self.leasing { pays / 2.0 } else { pays };
        let sustains = basis.sustains_leases(self.leasing);
        self.leasing = expected >= enough && share >= enough && sustains;
    }

    /// The most tokens to hold of a bucket. One more replica may come at any time, and must find
    /// something; and where leases may hold much of it, all of them together leave half.
    fn share(&self, basis: Basis<'_>) -> u64 {
        let shares = self.replicas + 1;
        let shares = if self.asks_beside { shares * 2 } else { shares };
        basis.sizing.limit.capacity() / shares
    }

    fn spare(&self, outlook: Outlook, basis: Basis<'_>) -> u64 {
        basis.sizing.spare(self.replicas, basis.pays(outlook))
    }

    fn spare_horizon(&self, rate: f64, outlook: Outlook, basis: Basis<'_>) -> Duration {
        let spare = self.spare(outlook, basis);
        basis.sizing.spare_horizon(spare, rate)
    }

    /// For how long tokens are leased ahead.
    pub(crate) fn ahead(&self, outlook: Outlook, basis: Basis<'_>) -> Duration {
        match self.supply {
            Supply::Ample => {
                let spare = self.spare_horizon(outlook.rate, outlook, basis);
                self.horizon.max(spare)
            }
            Supply::Tight | Supply::Exhausted => self.horizon,
        }
    }

    /// How long a key without a lease is remembered: twice as long as one more request would make a
    /// lease pay, so that a third request may.
    pub(crate) fn remembered(&self, outlook: Outlook, basis: Basis<'_>) -> Duration {
        let requests = SPARE_DOUBT * basis.tuning.lease_pays.max(1.0);
        let spare_horizon = self.spare_horizon(0.0, outlook, basis);
        (basis.sizing.time_constant * 4).max(spare_horizon.div_f64(requests) * 2)
    }

    /// How long a lease may go unreported while `unsettled` tokens of it are outstanding. Twice as
    /// much as is spare is still spare: a little more than was wanted is kept, and chance has its
    /// room.
    pub(crate) fn patience(&self, unsettled: u64, outlook: Outlook, basis: Basis<'_>) -> Duration {
        if unsettled > self.spare(outlook, basis) * 2 {
            return self.horizon;
        }
        self.ahead(outlook, basis)
    }

    /// Tokens to ask for, where `needed` are waited for.
    pub(crate) fn wanted(&self, needed: u64, outlook: Outlook, basis: Basis<'_>) -> u64 {
        let is_idle = self.gives_back() && needed == 0;
        if !self.leasing || is_idle {
            return needed;
        }
        let ahead = Sizing::tokens_for(outlook.rate, self.ahead(outlook, basis));
        let ahead = ahead.saturating_add(basis.watermark(outlook.rate));
        let ahead = if self.asks_beside {
            ahead.min(self.share(basis))
        } else {
            ahead
        };
        ahead.max(needed).clamp(1, TOKENS_LEASED_MAX)
    }

    /// The stock at which the next call is due: it lasts until that call is answered.
    pub(crate) fn watermark(&self, outlook: Outlook, basis: Basis<'_>) -> u32 {
        if self.leasing {
            u32::try_from(basis.watermark(outlook.rate)).unwrap_or(u32::MAX)
        } else {
            0
        }
    }

    /// Learns from a reply to a lease how the bucket does.
    pub(crate) fn handle_leased(&mut self, reply: &Reply, basis: Basis<'_>) {
        let sizing = basis.sizing;
        let is_tight = reply.demand.saturating_mul(10) >= u64::from(Demand::ONE.0) * 9;
        let is_overloaded = reply.demand >= u64::from(Demand::ONE.0) * 3 / 2;
        self.replicas = reply.replicas.max(1);
        self.asks_beside = !is_overloaded && basis.holds_much(self.replicas);
        self.supply = match reply.wait {
            Wait::For(_) | Wait::Held => Supply::Exhausted,
            Wait::None if is_tight => Supply::Tight,
            Wait::None => Supply::Ample,
        };
        self.horizon = match self.supply {
            Supply::Ample => (self.horizon * 2).min(sizing.horizon_max),
            Supply::Tight | Supply::Exhausted => sizing.interval,
        };
    }

    /// The store granted a central spend.
    pub(crate) fn handle_spent(&mut self) {
        if !self.leasing {
            self.supply = Supply::Ample;
        }
    }

    /// The store refused a central spend.
    pub(crate) fn handle_refused(&mut self) {
        if !self.leasing {
            self.supply = Supply::Exhausted;
        }
    }

    /// A look has shown that the store no longer refuses.
    pub(crate) fn handle_disproved(&mut self) {
        self.retry_at = Instant::ORIGIN;
    }

    /// Backs off from a bucket that has too little: until a fair part of the rate has yielded what
    /// one of `replicas` replicas uses, and at least for the wait that the store knows, counted
    /// from now. Returns how many free tokens before its end disprove that there is too little.
    pub(crate) fn back_off(
        &mut self,
        known: Duration,
        replicas: u64,
        outlook: Outlook,
        sizing: &Sizing,
        jitter: &mut SplitMix64,
        now: Instant,
    ) -> u64 {
        let wanted = Sizing::tokens_for(outlook.rate, sizing.backoff_max);
        let fair = sizing.backoff(replicas, wanted);
        // In a bucket that nobody drew on, so much free is more than a trickle that nobody took.
        let disproof = if known > fair {
            1
        } else {
            sizing.limit.capacity().div_ceil(2)
        };
        // Replicas that ran short together come back apart.
        let length = fair.max(known) + jitter.within(fair / 8);
        self.retry_at = now + length;
        // A lease for the whole backoff keeps this replica among those that the store counts.
        self.horizon = self.horizon.max(length.min(sizing.backoff_max));
        disproof
    }

    /// How long until the next alarm of a key that may not call yet: in time to see whether anybody
    /// still asks.
    pub(crate) fn alarm_in_backoff(&self, sizing: &Sizing, now: Instant) -> Duration {
        self.retry_at.since(now).min(sizing.backoff_max)
    }

    /// How soon to report on a lease of which `unsettled` tokens are outstanding, where `charged`
    /// tokens of the bucket are. What is spent and not reported does not drain; that matters once
    /// the bucket has nothing else to drain, while more is asked for than comes in.
    pub(crate) fn report_within(
        &self,
        charged: u64,
        unsettled: u64,
        outlook: Outlook,
        basis: Basis<'_>,
    ) -> Duration {
        if self.supply == Supply::Ample {
            return self.patience(unsettled, outlook, basis);
        }
        // All replicas together report four times in the shortest interval, however many there are.
        let replicas = u32::try_from(self.replicas).unwrap_or(u32::MAX);
        let soonest = basis.sizing.soonest;
        let soonest = (soonest / 4)
            .saturating_mul(replicas)
            .max(soonest)
            .min(self.horizon);
        let drained = basis.sizing.limit.time_for(charged);
        drained.clamp(soonest, self.horizon)
    }
}

/// Alarms in a row without a request after which a lease is given back.
const IDLE_ALARMS: u32 = 2;

/// How soon a busy small bucket is reported on by default. Longer intervals are an operator's
/// choice, and change no mode.
const REPORTED_WITHIN: Duration = Duration::from_millis(5);

/// A bucket of which leases may hold much fills in so many of these spans, so many more for each
/// replica, and so many round trips. Found with 0.9 of 1000/s, 2 and 10 replicas and a store 0.5 to
/// 30 ms away: in larger ones less than 1 request in 1000 was denied wrongly.
const SPANS: u32 = 6;
const SPANS_OF_ONE: u32 = 2;
const ROUND_TRIPS: u32 = 10;

/// More replicas than this hold no more each than this many would: few of them lease.
const REPLICAS_MAX: u32 = 16;

/// Half a cell, so that a renewal always fits beside what is left.
const TOKENS_LEASED_MAX: u64 = (Lease::TOKENS_MAX / 2) as u64;

#[cfg(test)]
mod tests {
    use leasehold_core::{Micros, Status, StoreTime};

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    /// A plan under `limit`, and what it decides by.
    struct Desk {
        tuning: Tuning,
        sizing: Sizing,
        distance: Duration,
    }

    impl Desk {
        fn new(limit: &str) -> Self {
            let tuning = Tuning::default();
            let sizing = Sizing::new(limit.parse().unwrap(), &tuning);
            Self {
                tuning,
                sizing,
                distance: Duration::from_millis(1),
            }
        }

        fn plan(&self) -> Plan {
            Plan::new(&self.sizing)
        }

        fn basis(&self) -> Basis<'_> {
            Basis {
                sizing: &self.sizing,
                tuning: &self.tuning,
                round_trip: Duration::from_millis(1),
                distance: self.distance,
            }
        }
    }

    fn rate(rate: f64) -> Outlook {
        Outlook { rate, cost: 1.0 }
    }

    fn reply(wait: Wait, replicas: u64) -> Reply {
        Reply {
            status: Status::Leased,
            granted: 0,
            expiry: StoreTime::ZERO,
            wait,
            free: 0,
            full_in: Micros(0),
            outstanding: 0,
            replicas,
            demand: 0,
            now: StoreTime::from_micros(1),
        }
    }

    /// Under 1000/s the horizon begins at 100 ms, and a lease pays for four requests: 40 a second.
    #[test]
    fn a_lease_begins_where_it_pays_and_ends_where_it_pays_only_half() {
        let desk = Desk::new("1000/s burst 100");
        let mut plan = desk.plan();
        let interval = desk.sizing.interval.as_secs_f64();
        let pays = desk.tuning.lease_pays / interval;
        let mut leases_at = |part: f64| {
            plan.choose_mode(rate(pays * part), 0, desk.basis());
            plan.is_leasing()
        };
        assert!(!leases_at(0.9));
        assert!(leases_at(1.1));
        assert!(leases_at(0.6), "a key on the edge does not flap");
        assert!(!leases_at(0.4));
        assert!(!leases_at(0.6));
    }

    #[test]
    fn a_costly_request_needs_more_demand_for_a_lease_to_pay() {
        let desk = Desk::new("1000/s burst 100");
        let mut plan = desk.plan();
        let costly = Outlook {
            rate: 1000.0,
            cost: 50.0,
        };
        plan.choose_mode(costly, 0, desk.basis());
        assert!(!plan.is_leasing());
        plan.choose_mode(rate(1000.0), 0, desk.basis());
        assert!(plan.is_leasing());
    }

    #[test]
    fn tokens_are_leased_farther_ahead_while_the_bucket_fills_and_not_when_it_runs_short() {
        let desk = Desk::new("1000/s");
        let mut plan = desk.plan();
        let busy = rate(500.0);
        plan.choose_mode(busy, 0, desk.basis());
        let mut wanted = Vec::new();
        for _ in 0..5 {
            wanted.push(plan.wanted(0, busy, desk.basis()));
            plan.handle_leased(&reply(Wait::None, 1), desk.basis());
        }
        assert!(wanted.is_sorted() && wanted[4] > wanted[0], "{wanted:?}");
        plan.handle_leased(&reply(Wait::Held, 1), desk.basis());
        assert_eq!(plan.supply(), Supply::Exhausted);
        assert!(plan.wanted(0, busy, desk.basis()) <= wanted[0]);
        assert_eq!(
            plan.wanted(900, busy, desk.basis()),
            900,
            "they are waited for"
        );
    }

    #[test]
    fn a_bucket_on_the_edge_of_what_leases_can_use_goes_on_as_it_is() {
        let mut desk = Desk::new("1000/s burst 100");
        let (busy, mut plan) = (rate(900.0), desk.plan());
        let mut leases_at = |millis| {
            desk.distance = Duration::from_millis(millis);
            plan.choose_mode(busy, 0, desk.basis());
            plan.is_leasing()
        };
        assert!(!leases_at(19), "95 ms and 10 ms are more than it fills in");
        assert!(leases_at(17));
        assert!(leases_at(19), "a little farther away for once");
        assert!(!leases_at(30));
        assert!(!leases_at(19));
    }

    #[test]
    fn a_lull_gives_back_and_a_request_ends_it() {
        let desk = Desk::new("1000/s");
        let mut plan = desk.plan();
        plan.choose_mode(rate(500.0), 0, desk.basis());
        plan.handle_alarm(false);
        assert!(plan.is_idle() && !plan.gives_back());
        plan.handle_alarm(false);
        assert!(plan.gives_back());
        assert_eq!(plan.wanted(0, rate(500.0), desk.basis()), 0);
        plan.handle_alarm(true);
        assert!(!plan.is_idle());
        assert!(plan.wanted(0, rate(500.0), desk.basis()) > 0);
    }

    #[test]
    fn a_backoff_lasts_for_the_known_wait_and_one_free_token_disproves_that() {
        let desk = Desk::new("10/s burst 100");
        let mut jitter = SplitMix64::new(1);
        let mut back_off = |known| {
            let mut plan = desk.plan();
            let sizing = &desk.sizing;
            let disproof = plan.back_off(known, 2, rate(50.0), sizing, &mut jitter, NOW);
            (plan.retry_at().since(NOW), disproof)
        };
        let (length, disproof) = back_off(Duration::ZERO);
        assert_eq!(disproof, 50, "half of the capacity");
        assert!(length <= desk.sizing.backoff_max * 9 / 8);
        let known = Duration::from_secs(60);
        let (length, disproof) = back_off(known);
        assert_eq!(disproof, 1);
        assert!(length >= known);
    }

    #[test]
    fn many_replicas_report_less_often_each() {
        let desk = Desk::new("100000/s");
        let within = |replicas| {
            let mut plan = desk.plan();
            let wait = Wait::For(Micros(1));
            plan.handle_leased(&reply(wait, replicas), desk.basis());
            plan.report_within(1, 0, rate(100.0), desk.basis())
        };
        assert_eq!(within(1), desk.sizing.soonest);
        assert!(within(12) > within(1));
    }
}
