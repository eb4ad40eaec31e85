//! trypema's local limiter: a sliding window, keyed by a sharded map.

use std::sync::Arc;

use ::trypema::local::LocalRateLimiterProvider;
use ::trypema::{RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

use crate::contender::{Contender, Reach, Subject};
use crate::report::Kind;

pub(super) const LOCAL: Contender = Contender {
    name: "trypema, local",
    kind: Kind::Rival,
    reach: Reach::Keyed,
    build: |setup| {
        let seconds = setup.rule.period.as_secs();
        let window = WindowSize::seconds(seconds).expect("a rule's period is a window");
        let limiter = LocalRateLimiterProvider::builder()
            .window_size(window)
            .build();
        #[expect(clippy::cast_precision_loss, reason = "an hour at most")]
        let rate = RateLimit::per_second(f64::from(setup.rule.requests) / seconds as f64);
        Box::new(Local {
            limiter: limiter.expect("its defaults suit it"),
            rate: rate.expect("the rule is one"),
        })
    },
    note: Some("trypema knows windows and no burst: its limit is a window of the same rate."),
};

struct Local {
    limiter: Arc<LocalRateLimiterProvider>,
    rate: RateLimit,
}

impl Subject for Local {
    #[inline]
    fn decide(&self, key: &String) -> bool {
        self.limiter.absolute().inc(key, &self.rate, 1) == RateLimitDecision::Allowed
    }
}
