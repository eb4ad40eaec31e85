//! limitador in memory: fixed windows, keyed by what its conditions make of a context.

use std::collections::HashMap;

use ::limitador::RateLimiter;
use ::limitador::limit::{Context, Limit, Namespace};

use crate::contender::{Contender, Reach, Subject};
use crate::report::Kind;

pub(super) const IN_MEMORY: Contender = Contender {
    name: "limitador, in memory",
    kind: Kind::Rival,
    reach: Reach::Keyed,
    build: |setup| {
        // It forgets the key that was used longest ago when there are more.
        let limiter = RateLimiter::new(setup.keys.len() as u64 * 2);
        let variable = "key".try_into().expect("a name is an expression");
        let (requests, seconds) = (setup.rule.requests.into(), setup.rule.period.as_secs());
        limiter.add_limit(Limit::new(
            "bench",
            requests,
            seconds,
            vec![],
            vec![variable],
        ));
        Box::new(InMemory {
            limiter,
            namespace: "bench".into(),
        })
    },
    note: Some("limitador is given a context for each call, as its API asks."),
};

struct InMemory {
    limiter: RateLimiter,
    namespace: Namespace,
}

impl Subject for InMemory {
    #[inline]
    fn decide(&self, key: &String) -> bool {
        let context = Context::from(HashMap::from([("key".to_owned(), key.clone())]));
        let answer = self
            .limiter
            .check_rate_limited_and_update(&self.namespace, &context, 1);
        answer.is_ok_and(|answer| !answer.limited)
    }
}
