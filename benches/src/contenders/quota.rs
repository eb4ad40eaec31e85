//! quota: GCRA, keyed by a sharded map with a cache in front.

use ::quota::{QuotaPolicy, QuotaPool, RefillRate};

use crate::contender::{Contender, Reach, Rule, Subject};
use crate::report::Kind;

pub(super) const POOL: Contender = Contender {
    name: "quota, pool",
    kind: Kind::Rival,
    reach: Reach::Keyed,
    build: |setup| {
        let Rule { requests, .. } = setup.rule;
        let capacity = setup.keys.len();
        Box::new(Pool(QuotaPool::with_capacity(
            policy(setup.rule),
            requests.into(),
            capacity,
        )))
    },
    note: None,
};

struct Pool(QuotaPool);

impl Subject for Pool {
    #[inline]
    fn decide(&self, key: &String) -> bool {
        self.0.check(key.as_str(), 1)
    }
}

fn policy(rule: Rule) -> QuotaPolicy {
    let rate = if rule == Rule::TIGHT {
        RefillRate::per_hour(rule.requests)
    } else {
        RefillRate::per_sec(rule.requests)
    };
    QuotaPolicy::new()
        .set_capacity(rule.requests.into())
        .set_refill_rate(rate)
}
