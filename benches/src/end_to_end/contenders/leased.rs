//! This project's limiter, as shipped: the public [`Limiter`] over a [`RedisStore`], no tuning.

use leasehold::{Limit, Limiter};
use leasehold_redis::{RedisStore, Settings};

use super::{Instance, Nominal, Setting};
use crate::end_to_end::failure::Failure;

/// One replica.
#[derive(Clone)]
pub struct Leased(Limiter);

impl Leased {
    /// Connects, and builds a limiter that has nothing on lease yet.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server cannot be reached, or the limit cannot be.
    pub async fn connect(setting: Setting) -> Result<Self, Failure> {
        let settings: Settings = setting.url.parse().map_err(Failure::of)?;
        let store = RedisStore::connect_as(&setting.prefix, settings).await;
        let limiter = Limiter::builder()
            .limit("bench", limit(setting.limit)?)
            .store(store.map_err(Failure::of)?)
            .build();
        Ok(Self(limiter.map_err(Failure::of)?))
    }
}

impl Instance for Leased {
    type Key = String;

    fn key(name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> bool {
        self.0.acquire(key.as_str(), 1).await.is_allowed()
    }

    async fn close(self) {
        // What is not given back ends with its lease, and no later cell uses these keys.
        let _ = self.0.shutdown().await;
    }
}

fn limit(Nominal { per_second, burst }: Nominal) -> Result<Limit, Failure> {
    let written = format!("{per_second}/s burst {burst}");
    written.parse().map_err(Failure::of)
}
