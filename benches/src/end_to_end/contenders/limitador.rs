//! limitador's cached Redis storage: counts locally and flushes to Redis every second or so.
//!
//! One limit with one variable, the key, as its README shows, and all its defaults.

use std::collections::HashMap;
use std::sync::Arc;

use limitador::limit::{Context, Expression, Limit, Namespace};
use limitador::storage::AsyncStorage;
use limitador::storage::redis::CachedRedisStorage;
use limitador::{AsyncRateLimiter, AsyncRateLimiterBuilder};

use super::{Instance, Setting};
use crate::end_to_end::failure::Failure;

/// One instance.
#[derive(Clone)]
pub struct Limitador {
    limiter: Arc<AsyncRateLimiter>,
    namespace: Namespace,
}

impl Limitador {
    /// Connects, with a window of one second.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server cannot be reached.
    pub async fn connect(setting: Setting) -> Result<Self, Failure> {
        let storage = CachedRedisStorage::new(&setting.url).await;
        let storage = AsyncStorage::with_counter_storage(Box::new(storage.map_err(Failure::of)?));
        let limiter = AsyncRateLimiterBuilder::new(storage).build();
        let key = Expression::parse("key").map_err(Failure::of)?;
        // The prefix makes the limit, and so its counters, this cell's own.
        let limit = Limit::new(
            setting.prefix.as_str(),
            setting.limit.per_second.into(),
            1,
            Vec::<limitador::limit::Predicate>::new(),
            [key],
        );
        limiter.add_limit(limit);
        Ok(Self {
            limiter: Arc::new(limiter),
            namespace: setting.prefix.as_str().into(),
        })
    }
}

impl Instance for Limitador {
    type Key = HashMap<String, String>;

    fn key(name: &str) -> Self::Key {
        HashMap::from([("key".to_owned(), name.to_owned())])
    }

    async fn acquire(&self, key: &Self::Key) -> bool {
        let context = Context::from(key.clone());
        let asked = self
            .limiter
            .check_rate_limited_and_update(&self.namespace, &context, 1);
        asked.await.is_ok_and(|said| !said.limited)
    }
}
