//! The context that all servers of a store share: the names of the keys, the script, and how an
//! exchange is acknowledged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasehold::store::{Batch, key_hash};
use leasehold_core::{Reply, Status};
use tokio::time::Instant;
use tracing::warn;

use crate::codec::{self, EXCHANGE, Names, RunId};
use crate::error::LinkError;
use crate::script::Script;
use crate::settings::{Acknowledgement, Endpoint, Settings};

/// The context that all servers of a store share.
#[derive(Debug)]
pub(crate) struct StoreContext {
    pub(crate) names: Names,
    pub(crate) exchange: Script,
    /// The acknowledgement that an exchange waits for, if any.
    pub(crate) acknowledgement: Option<Acknowledgement>,
    /// Whether the servers are nodes of a cluster.
    pub(crate) in_cluster: bool,
    /// When the last warning about an unreadable key was logged.
    warned: Mutex<Option<Instant>>,
}

impl StoreContext {
    pub(crate) fn new(prefix: &str, settings: &Settings) -> Self {
        let in_cluster = matches!(settings.endpoint, Endpoint::Cluster { .. });
        Self {
            names: if in_cluster {
                Names::spread(prefix)
            } else {
                Names::new(prefix)
            },
            exchange: Script::new(EXCHANGE),
            acknowledgement: settings.acknowledgement(),
            in_cluster,
            warned: Mutex::new(None),
        }
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.exchange.round_trips()
    }

    /// Encodes `batch` for the server whose process is `server`.
    pub(crate) fn call(&self, batch: &Batch, server: RunId) -> Result<codec::Call, LinkError> {
        let partition = batch.partition;
        let marker = self.names.marker(partition);
        let call = codec::Call::new(marker, batch.known_birth, batch.quarantine, server);
        let mut call = call.map_err(LinkError::garbled)?;
        // Neighbours mostly share a limit.
        let mut last = None;
        for asked in &batch.calls {
            let (named, key) = (batch.limit_of(asked), asked.key());
            let (_, buckets) = match last.take() {
                Some((limit, buckets)) if limit == key.limit => last.insert((limit, buckets)),
                _ => last.insert((key.limit, self.names.buckets(partition, &named.name))),
            };
            call.push(buckets.of(key.subject), &named.limit, &asked.request)
                .map_err(LinkError::garbled)?;
        }
        Ok(call)
    }

    /// Logs a warning, at most once a minute, if `replies` to `batch` say that what is stored under
    /// a key cannot be read. The warning has the key's hash, because a user's key is never logged.
    pub(crate) fn warn_unreadable(&self, batch: &Batch, replies: &[Reply]) {
        let answered = batch.calls.iter().zip(replies);
        let unreadable = answered.filter(|(_, reply)| reply.status == Status::Unreadable);
        let keys = unreadable.clone().count();
        let Some((call, _)) = unreadable.into_iter().next() else {
            return;
        };
        let now = Instant::now();
        {
            // A panic elsewhere leaves the value whole: it is written in one step.
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.is_some_and(|warned| now.duration_since(warned) < WARN_EVERY) {
                return;
            }
            *warned = Some(now);
        }
        let limit = &*batch.limit_of(call).name;
        let key_hash = key_hash(limit, call.key().subject);
        warn!(
            limit,
            key_hash = format_args!("{key_hash:016x}"),
            keys,
            "what is stored under a key was not written by this version, and is left as it is: the \
             failure policy of the limit decides for the key until somebody deletes the value \
             or it expires; docs/OPERATING.md says how to find it"
        );
    }
}

/// The least time between two warnings about unreadable keys.
const WARN_EVERY: Duration = Duration::from_secs(60);
