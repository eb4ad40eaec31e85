//! ratelimit: one token bucket between threads, without keys.

use ::ratelimit::{Ratelimiter, StdClock};

use crate::contender::{Contender, Reach, Subject};
use crate::report::Kind;

pub(super) const BUCKET: Contender = Contender {
    name: "ratelimit (not keyed)",
    kind: Kind::Rival,
    reach: Reach::Unkeyed,
    build: |setup| {
        let requests = u64::from(setup.rule.requests);
        let builder = Ratelimiter::builder(requests).period(setup.rule.period);
        let builder = builder.max_tokens(requests).initial_available(requests);
        Box::new(Bucket(builder.build().expect("the rule is one")))
    },
    note: Some("ratelimit knows no keys: what it would cost to find one comes on top."),
};

struct Bucket(Ratelimiter<StdClock>);

impl Subject for Bucket {
    #[inline]
    fn decide(&self, _: &String) -> bool {
        self.0.try_wait().is_ok()
    }
}
