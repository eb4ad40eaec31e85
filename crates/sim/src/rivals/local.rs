//! The limiter without a store: each replica counts for itself, by a token bucket.
//!
//! So work governor, `golang.org/x/time/rate` and Envoy's local rate limit, and, counting
//! otherwise, the in-process limiters of Guava, Resilience4j and nginx. Either each replica applies
//! the whole limit, and N of them admit N times as much; or each applies its Nth, and whoever meets
//! more than an Nth of the demand denies what the others leave unused.
//!
//! # What is simplified
//!
//! N is known once, when the fleet is set up; replicas that come or go later change nothing, as
//! with a number in a configuration file. A burst is divided too, down to at least one token, so
//! that bursts below N add up to more than the limit's.
//!
//! # Invariant
//!
//! Nothing is sent, and nobody waits.

use std::convert::Infallible;

use leasehold_core::{Instant, Limit, StoreTime};
use serde::Deserialize;

use super::meter::{Algorithm, Meters};
use super::part::part_of;
use crate::model::{
    Decision, Demand, LimiterModel, Outbox, ReplicaModel, StoreModel, Ticket, Weight,
};
use crate::units::Count;

/// How a limiter is set up of which each replica applies the whole limit. There is nothing to set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalConfig {}

/// How a limiter is set up of which each replica applies its part.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SplitConfig {
    /// Into how many parts the limit is split; by default as many as there are replicas at the
    /// start.
    pub replicas: Option<Count>,
}

impl SplitConfig {
    /// Into how many parts the limit is split, in a fleet of so many replicas at the start.
    pub(super) fn parts(&self, replicas: u32) -> u32 {
        let configured = |Count(count)| u32::try_from(count).unwrap_or(u32::MAX);
        self.replicas.map_or(replicas, configured)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.replicas {
            Some(Count(count)) if count == 0 || count > u64::from(PARTS_MAX) => Err(format!(
                "`replicas` is {count}: write a number from 1 to {PARTS_MAX}, or leave it out for \
                 as many as the fleet has at the start"
            )),
            _ => Ok(()),
        }
    }
}

/// A limiter without a store.
#[derive(Clone, Debug)]
pub struct Local {
    parts: u32,
}

impl Local {
    /// Each replica applies the whole limit.
    pub const fn limit_each() -> Self {
        Self { parts: 1 }
    }

    /// Each replica applies one of so many parts of the limit: from 1 to a million, and what lies
    /// outside is taken for the nearer of the two.
    pub fn split(parts: u32) -> Self {
        Self {
            parts: parts.clamp(1, PARTS_MAX),
        }
    }

    fn parts_of(&self, limits: &[Limit]) -> Vec<Limit> {
        let parts = limits.iter().map(|limit| part_of(limit, 1, self.parts));
        parts.collect()
    }
}

impl LimiterModel for Local {
    type Message = Infallible;
    type Answer = Infallible;
    type Replica = LocalReplica;
    type Store = NoStore;

    fn replica(&self, _: u64, _: u64, limits: &[Limit]) -> LocalReplica {
        LocalReplica {
            model: self.clone(),
            limits: self.parts_of(limits),
            meters: Meters::new(Algorithm::TokenBucket),
        }
    }

    fn store(&self, _: &[Limit]) -> NoStore {
        NoStore
    }
}

/// A replica that counts for itself.
#[derive(Debug)]
pub struct LocalReplica {
    model: Local,
    limits: Vec<Limit>,
    meters: Meters,
}

impl ReplicaModel for LocalReplica {
    type Message = Infallible;
    type Answer = Infallible;

    fn acquire(
        &mut self,
        demands: &[Demand],
        _: Ticket,
        _: Instant,
        now: Instant,
        _: &mut Outbox<Infallible>,
    ) -> Decision {
        let now_us = now.as_nanos() / 1000;
        match self.meters.spend(demands, &self.limits, now_us) {
            Ok(()) => Decision::Allow,
            Err(refused) => Decision::Deny {
                retry_after_ns: refused.refusal.retry_after_ns(),
            },
        }
    }

    fn handle_answer(
        &mut self,
        message: &Infallible,
        _: &Infallible,
        _: Instant,
        _: &mut Outbox<Infallible>,
    ) {
        match *message {}
    }

    fn handle_failure(&mut self, message: &Infallible, _: Instant, _: &mut Outbox<Infallible>) {
        match *message {}
    }

    fn handle_timeout(&mut self, _: Instant, _: &mut Outbox<Infallible>) {}

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        None
    }

    fn shut_down(&mut self, _: Instant, _: &mut Outbox<Infallible>) {}

    fn is_drained(&self) -> bool {
        true
    }

    fn set_limits(&mut self, limits: &[Limit], _: Instant) {
        self.limits = self.model.parts_of(limits);
    }
}

/// No store.
#[derive(Clone, Copy, Debug)]
pub struct NoStore;

impl StoreModel for NoStore {
    type Message = Infallible;
    type Answer = Infallible;

    fn execute(
        &mut self,
        message: &Infallible,
        _: StoreTime,
        _: &mut dyn FnMut(Demand),
    ) -> Infallible {
        match *message {}
    }

    fn forget(&mut self) {}

    fn weigh(message: &Infallible) -> Weight {
        match *message {}
    }

    fn keys(&self) -> usize {
        0
    }
}

/// More replicas are not simulated.
const PARTS_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rivals::tiny_world::{Setting, run};

    #[test]
    fn the_whole_limit_on_each_of_n_replicas_admits_n_times_as_much() {
        let setting = Setting::overload("100/s burst 10", 5, 10_000);
        let admitted = run(&Local::limit_each(), &setting).admitted();
        // In 10 s: 5 * (10 + 100 * 10), less what the last step of a bucket leaves over.
        assert!((5040..=5050).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_split_limit_admits_the_limit_where_demand_is_even() {
        let setting = Setting::overload("100/s burst 10", 5, 10_000);
        let admitted = run(&Local::split(5), &setting).admitted();
        assert!((1000..=1010).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_split_limit_admits_one_part_where_demand_meets_one_replica() {
        let setting = Setting::overload("100/s burst 10", 5, 10_000).all_to_one();
        let admitted = run(&Local::split(5), &setting).admitted();
        assert!((200..=202).contains(&admitted), "{admitted}");
    }

    #[test]
    fn limits_that_change_are_split_too() {
        let limit = |text: &str| vec![text.parse::<Limit>().unwrap()];
        let mut replica = Local::split(10).replica(0, 0, &limit("10/s"));
        replica.set_limits(&limit("1000/s"), Instant::ORIGIN);
        let one = Demand {
            limit: 0,
            key: 0,
            cost: 1,
        };
        let mut allow = || {
            let (ticket, now, out) = (Ticket(0), Instant::ORIGIN, &mut Outbox::default());
            replica.acquire(&[one], ticket, now, now, out) == Decision::Allow
        };
        let allowed = (0..1000).filter(|_| allow()).count();
        assert_eq!(allowed, 100);
    }
}
