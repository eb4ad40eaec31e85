//! trypema's hybrid limiter: counts locally, tells Redis what it counted and reads what others did.
//!
//! The absolute strategy, synchronised every 10 ms as its documentation shows, asked by `try_inc`
//! and, where that cannot tell, by `inc`, which is what it advises for hot paths.

use std::sync::Arc;

use trypema::hybrid::{HybridRateLimiterProvider, SyncInterval};
use trypema::redis::RedisKey;
use trypema::{RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

use super::{Instance, Setting};
use crate::end_to_end::failure::Failure;

/// One instance.
#[derive(Clone)]
pub struct Trypema {
    provider: Arc<HybridRateLimiterProvider>,
    rate: RateLimit,
}

impl Trypema {
    /// Connects, with a window of so many seconds.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server cannot be reached.
    pub async fn connect(setting: Setting, window_s: u32) -> Result<Self, Failure> {
        let client = redis::Client::open(setting.url.as_str()).map_err(Failure::of)?;
        let connection = client.get_connection_manager().await.map_err(Failure::of)?;
        let prefix = RedisKey::try_from(setting.prefix.as_str()).map_err(Failure::of)?;
        let window = WindowSize::seconds(window_s.into()).map_err(Failure::of)?;
        let provider = HybridRateLimiterProvider::builder(connection)
            .prefix(prefix)
            .window_size(window)
            .sync_interval(SyncInterval::milliseconds_or_panic(10))
            .build();
        let rate = RateLimit::per_second(setting.limit.per_second.into());
        Ok(Self {
            provider: provider.map_err(Failure::of)?,
            rate: rate.map_err(Failure::of)?,
        })
    }
}

impl Instance for Trypema {
    type Key = RedisKey;

    fn key(name: &str) -> RedisKey {
        RedisKey::try_from(name).expect("keys of a benchmark are plain")
    }

    async fn acquire(&self, key: &RedisKey) -> bool {
        let limiter = self.provider.absolute();
        let decision = match limiter.try_inc(key.as_key_ref(), 1) {
            Ok(Some(decision)) => Ok(decision),
            // Boxed, so that the future of a decision in place is small.
            Ok(None) => Box::pin(limiter.inc(key, &self.rate, 1)).await,
            Err(error) => Err(error),
        };
        matches!(decision, Ok(RateLimitDecision::Allowed))
    }
}
