//! A replica's way to the server, by the URL on the command line.

use leasehold_redis::{RedisStore, Settings};

use crate::demo::error::DemoError;

/// Connects to the store at `url`, whose keys begin with `prefix`.
pub(crate) async fn redis_store(url: &str, prefix: &str) -> Result<RedisStore, DemoError> {
    let settings: Settings = url.parse().map_err(DemoError::Url)?;
    RedisStore::connect_as(prefix, settings)
        .await
        .map_err(DemoError::Connect)
}
