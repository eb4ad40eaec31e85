//! The exchange of a store with a server, whichever it is and however it was found.
//!
//! # Invariant
//!
//! An exchange carries the run id of the server that runs it. The script compares it with the one
//! in the marker, so that a server that was restarted, or promoted, or was given another's keys,
//! never takes what it has for the whole truth: it cannot happen between two looks at it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold::store::{Answer, Batch, key_hash};
use leasehold_core::{Reply, Status};
use redis::Value;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::codec::{self, EXCHANGE, Names, RunId};
use crate::connect::Greeting;
use crate::error::LinkError;
use crate::health::{Eviction, Health, is_node};
use crate::link::Link;
use crate::script::{Manner, Script};
use crate::settings::{Acknowledgement, Endpoint, Settings};
use crate::wire::Wire;

/// The context that all servers of a store share.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) names: Names,
    exchange: Script,
    /// The acknowledgement that an exchange waits for, if any.
    acknowledgement: Option<Acknowledgement>,
    /// Whether the servers are nodes of a cluster.
    in_cluster: bool,
    /// When it was last told that a key cannot be read.
    told: Mutex<Option<Instant>>,
}

impl Shop {
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
            told: Mutex::new(None),
        }
    }

    /// Warns, once a minute, of keys whose stored value cannot be read. A user's key is in no line:
    /// its hash tells it from others.
    fn tell_unreadable(&self, batch: &Batch, replies: &[Reply]) {
        let answered = batch.calls.iter().zip(replies);
        let unreadable = answered.filter(|(_, reply)| reply.status == Status::Unreadable);
        let keys = unreadable.clone().count();
        let Some((call, _)) = unreadable.into_iter().next() else {
            return;
        };
        let now = Instant::now();
        {
            let mut told = lock(&self.told);
            if told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
                return;
            }
            *told = Some(now);
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

    pub(crate) fn round_trips(&self) -> u64 {
        self.exchange.round_trips()
    }

    /// `batch` as it is said to a server.
    fn call(&self, batch: &Batch, server: RunId) -> Result<codec::Call, LinkError> {
        let bin = batch.partition;
        let marker = self.names.marker(bin);
        let call = codec::Call::new(marker, batch.known_birth, batch.quarantine, server);
        let mut call = call.map_err(garbled)?;
        // Neighbours mostly share a limit.
        let mut last = None;
        for asked in &batch.calls {
            let (named, key) = (batch.limit_of(asked), asked.key());
            let (_, buckets) = match last.take() {
                Some((limit, buckets)) if limit == key.limit => last.insert((limit, buckets)),
                _ => last.insert((key.limit, self.names.buckets(bin, &named.name))),
            };
            call.push(buckets.of(key.subject), &named.limit, &asked.request)
                .map_err(garbled)?;
        }
        Ok(call)
    }
}

/// One server: which one it is, by its own account.
#[derive(Debug)]
pub(crate) struct Server {
    shop: Arc<Shop>,
    /// Of the process at the other end of the live connection.
    run_id: Mutex<RunId>,
    /// The server's health when it was last asked.
    health: Mutex<Option<Health>>,
}

impl Server {
    /// One that has yet to be greeted.
    pub(crate) fn new(shop: &Arc<Shop>) -> Self {
        Self {
            shop: Arc::clone(shop),
            run_id: Mutex::new(RunId::from_info(b"")),
            health: Mutex::new(None),
        }
    }

    /// Sends `batch` over the live connection. With `asking` a node answers for a bin that is on
    /// its way to it.
    pub(crate) async fn exchange(
        &self,
        link: &Link,
        batch: &Batch,
        asking: bool,
    ) -> Result<Answer, LinkError> {
        // The connection before the run id: an older connection than the id belongs to is dead, and
        // what is sent over it fails. The other way round a new server would get an old one's id.
        let wire = link.wire()?;
        let call = self.shop.call(batch, lock(&self.run_id).clone())?;
        let manner = Manner {
            asking,
            acknowledgement: self.shop.acknowledgement,
        };
        let script = &self.shop.exchange;
        let said = script
            .run_as(&wire, call.keys(), &call.arguments(), manner)
            .await?;
        let answer = call.decode(&bytes(said)?).map_err(garbled)?;
        self.shop.tell_unreadable(batch, &answer.replies);
        Ok(Answer {
            birth: answer.birth,
            replies: answer.replies,
        })
    }

    pub(crate) fn health(&self) -> Option<Health> {
        lock(&self.health).clone()
    }

    /// Asks the server what it says of itself now.
    pub(crate) async fn examine(&self, link: &Link) -> Result<Health, LinkError> {
        let wire = link.wire()?;
        let health = Health::examined(&wire, &info(&wire).await?).await?;
        *lock(&self.health) = Some(health.clone());
        Ok(health)
    }

    /// Whether we may run scripts on our keys: better known now than at the first exchange. There
    /// is no script of that name, and a node need not serve the key; what is not allowed is refused
    /// before any of that matters.
    async fn check_permission(&self, wire: &Wire) -> Result<(), LinkError> {
        let mut run = redis::cmd("EVALSHA");
        run.arg(NO_SCRIPT).arg(1).arg(self.shop.names.marker(0));
        match self.shop.exchange.counted(wire, &run).await {
            Err(LinkError::Refused { code, .. }) if code != "NOPERM" => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Keeps what the server says of itself, and warns of what it may do to us.
    fn tell(&self, health: Health) {
        if let Some(Eviction {
            policy,
            memory_max_bytes,
        }) = &health.eviction
        {
            warn!(
                policy,
                memory_max_bytes,
                evicted_keys = health.evicted_keys,
                "the server may evict keys, and the limit of an evicted key counts as unused: \
                 set maxmemory-policy to noeviction, or give the limiter a server of its own"
            );
        }
        *lock(&self.health) = Some(health);
    }
}

impl Greeting for Server {
    /// Learns which server this is, and makes sure that it knows the script.
    async fn greet(&self, wire: &Wire) -> Result<(), LinkError> {
        let info = info(wire).await?;
        if is_node(&info) && !self.shop.in_cluster {
            return Err(LinkError::InCluster);
        }
        self.check_permission(wire).await?;
        self.shop.exchange.load(wire).await?;
        *lock(&self.run_id) = RunId::from_info(&info);
        match Health::examined(wire, &info).await {
            Ok(health) => self.tell(health),
            // The server works; that we do not know more of it is no reason to do without.
            Err(error) => debug!(%error, "the server does not say how it is"),
        }
        Ok(())
    }
}

/// The server's health. Without its run id a restart from old data would go unnoticed.
async fn info(wire: &Wire) -> Result<Vec<u8>, LinkError> {
    let mut info = redis::cmd("INFO");
    bytes(wire.query(info.arg("server")).await?)
}

fn bytes(value: Value) -> Result<Vec<u8>, LinkError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        // Not what came: it may be another's answer, and name keys.
        _ => Err(LinkError::Garbled {
            what: "bytes were expected".to_owned(),
        }),
    }
}

fn garbled(error: impl std::fmt::Display) -> LinkError {
    LinkError::Garbled {
        what: error.to_string(),
    }
}

/// A panic elsewhere leaves the value whole: it is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key that stays unreadable is told of as often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Nothing hashes to it.
const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";
