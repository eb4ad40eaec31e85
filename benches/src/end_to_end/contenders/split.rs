//! The floor: every instance has an equal part of the limit and asks nobody.
//!
//! The least that a local decision by a keyed limiter from crates.io costs here, and what a limit
//! without a store loses when the load is not split as the limit is.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{Instance, Setting};
use crate::end_to_end::failure::Failure;

/// One instance: governor with its defaults.
#[derive(Clone)]
pub struct Split(Arc<DefaultKeyedRateLimiter<String>>);

impl Split {
    /// Takes its part of the limit.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the limit cannot be split.
    #[expect(clippy::unused_async, reason = "built as the others are")]
    pub async fn connect(setting: Setting) -> Result<Self, Failure> {
        let part = |whole: u32| {
            let part = NonZeroU32::new(whole / setting.instances);
            part.ok_or_else(|| Failure::new("a limit is smaller than the number of instances"))
        };
        let quota = Quota::per_second(part(setting.limit.per_second)?);
        let quota = quota.allow_burst(part(setting.limit.burst)?);
        Ok(Self(Arc::new(RateLimiter::keyed(quota))))
    }
}

impl Instance for Split {
    type Key = String;

    fn key(name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> bool {
        self.0.check_key(key).is_ok()
    }
}
