//! throttlecrab: GCRA for one owner, so here it stands behind a lock.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ::throttlecrab::{AdaptiveStore, RateLimiter};

use crate::contender::{Contender, Reach, Rule, Subject};
use crate::report::Kind;

pub(super) const BEHIND_A_LOCK: Contender = Contender {
    name: "throttlecrab in a Mutex",
    kind: Kind::Rival,
    reach: Reach::Keyed,
    build: |setup| {
        let store = AdaptiveStore::with_capacity(setup.keys.len());
        let limiter = Mutex::new(RateLimiter::new(store));
        Box::new(BehindALock {
            limiter,
            rule: setup.rule,
        })
    },
    note: Some(
        "throttlecrab wants to be borrowed mutably and told the time: threads take turns at a \
        Mutex.",
    ),
};

struct BehindALock {
    limiter: Mutex<RateLimiter<AdaptiveStore>>,
    rule: Rule,
}

impl Subject for BehindALock {
    #[inline]
    #[expect(
        clippy::disallowed_methods,
        reason = "it is the caller who reads the clock"
    )]
    fn decide(&self, key: &String) -> bool {
        let requests = i64::from(self.rule.requests);
        let period = self.rule.period.as_secs().cast_signed();
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = limiter.rate_limit(key, requests, requests, period, 1, SystemTime::now());
        answer.is_ok_and(|(allowed, _)| allowed)
    }
}
