//! governor: GCRA, keyed by a sharded map.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use ::governor::clock::{Clock, QuantaUpkeepClock};
use ::governor::middleware::NoOpMiddleware;
use ::governor::state::keyed::DashMapStateStore;
use ::governor::{Quota, RateLimiter};

use super::GOVERNOR;
use crate::contender::{Contender, Reach, Rule, Subject};
use crate::report::Kind;

/// As it comes.
pub(super) const DEFAULTS: Contender = Contender {
    name: GOVERNOR,
    kind: Kind::Rival,
    reach: Reach::Keyed,
    build: |setup| Box::new(Keyed(RateLimiter::keyed(quota(setup.rule)))),
    note: None,
};

/// The fastest that its settings allow.
pub(super) const TUNED: Contender = Contender {
    name: "governor, keyed, ahash, upkeep clock",
    build: |setup| {
        let (clock, hasher) = (UPKEEP.clone(), ahash::RandomState::new());
        let limiter = RateLimiter::dashmap_with_clock_and_hasher(quota(setup.rule), clock, hasher);
        Box::new(Keyed(limiter))
    },
    note: Some(
        "governor's upkeep clock is an atomic that a thread of its own sets every millisecond: it \
        is \
         that old, and older when the process was stopped.",
    ),
    ..DEFAULTS
};

struct Keyed<C: Clock, S: BuildHasher + Clone>(
    RateLimiter<String, DashMapStateStore<String, S>, C, NoOpMiddleware<<C as Clock>::Instant>>,
);

impl<C, S> Subject for Keyed<C, S>
where
    C: Clock + Send + Sync,
    C::Instant: Send + Sync,
    S: BuildHasher + Clone + Send + Sync,
{
    #[inline]
    fn decide(&self, key: &String) -> bool {
        self.0.check_key(key).is_ok()
    }
}

fn quota(rule: Rule) -> Quota {
    let requests = NonZeroU32::new(rule.requests).expect("a rule allows something");
    let each = Quota::with_period(rule.period / rule.requests).expect("a period is not zero");
    each.allow_burst(requests)
}

/// There can be one in a process.
static UPKEEP: LazyLock<QuantaUpkeepClock> = LazyLock::new(|| {
    let clock = QuantaUpkeepClock::from_interval(Duration::from_millis(1));
    clock.expect("nobody else in this process keeps quanta's time")
});
