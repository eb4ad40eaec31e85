//! `leasehold reset`: forgives what is charged on a key, for all replicas.

use std::io;
use std::time::Duration;

use clap::Args;
use leasehold::{BuildError, Limiter, StoreError};
use leasehold_redis::{ConnectError, RedisStore, Settings, UrlError};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::ending::Ending;
use crate::output::print;

/// Resets keys: what is charged on each is forgiven, as if it had drained, and its burst can be had
/// again. What replicas hold on lease stays theirs. Replicas that deny a key look again once a
/// second while the key is asked for, or when a wait of at most fifteen ends.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResetArguments {
    /// The keys, as the service names them.
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// The Redis or Valkey that keeps the limit.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: String,
    /// The limit, by the name that the service gave it.
    #[arg(long, value_name = "NAME")]
    pub(crate) limit: String,
    /// The prefix of the service's store.
    #[arg(long, default_value = RedisStore::PREFIX)]
    pub(crate) prefix: String,
}

const EXAMPLES: &str = "\
Examples:
  leasehold reset --redis redis://127.0.0.1 --limit api user:42
  leasehold reset --redis rediss://limits.internal --prefix shop --limit login alice bob";

/// Resets the keys, in order; the first that cannot be reset ends it.
pub(crate) fn run(arguments: &ResetArguments) -> Result<Ending, ResetError> {
    let settings: Settings = arguments.redis.parse()?;
    let runtime = Runtime::new().map_err(ResetError::Runtime)?;
    runtime.block_on(async {
        let store = RedisStore::connect_as(&arguments.prefix, settings).await?;
        let limit = arguments.limit.as_str();
        // A reset is the same by whatever numbers.
        let limiter = Limiter::builder().limit(limit, "1/s").store(store);
        let limiter = limiter.budget(BUDGET).build()?;
        for key in &arguments.keys {
            let reset = limiter.reset(key).await;
            reset.map_err(|error| ResetError::Key {
                key: key.clone(),
                error,
            })?;
            print(&format!("reset: {key} under the limit {limit}"));
        }
        Ok(Ending::Kept)
    })
}

/// A person waits longer than a request does.
const BUDGET: Duration = Duration::from_secs(5);

/// Why a key is not reset.
#[derive(Debug, Error)]
pub(crate) enum ResetError {
    #[error("{0}")]
    Url(#[from] UrlError),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Limit(#[from] BuildError),
    #[error("{key} is not reset: {error}")]
    Key { key: String, error: StoreError },
}
