//! One server of the store: which process answers, and the exchange with it.
//!
//! # Invariant
//!
//! An exchange carries the run id of the server process that is to run it. The script compares it
//! with the run id in the marker. So a server that was restarted, was promoted, or was given
//! another server's keys cannot take what it has stored for complete: the comparison is a part of
//! the exchange, and nothing can change between the two.

use std::sync::{Arc, Mutex, PoisonError};

use leasehold::store::{Answer, Batch};
use redis::Value;
use tracing::{debug, warn};

use crate::codec::RunId;
use crate::connect::Greeting;
use crate::context::StoreContext;
use crate::error::LinkError;
use crate::health::{Eviction, Health, is_node};
use crate::link::Link;
use crate::script::ExtraCommands;
use crate::wire::Wire;

/// One server of the store: its run id and its health, as it reported them.
#[derive(Debug)]
pub(crate) struct Server {
    context: Arc<StoreContext>,
    /// The run id of the process at the other end of the live connection.
    run_id: Mutex<RunId>,
    /// The server's health when it was last asked.
    health: Mutex<Option<Health>>,
}

impl Server {
    /// A server that has not been greeted yet.
    pub(crate) fn new(context: &Arc<StoreContext>) -> Self {
        Self {
            context: Arc::clone(context),
            run_id: Mutex::new(RunId::from_info(b"")),
            health: Mutex::new(None),
        }
    }

    /// Sends `batch` over the live connection. With `asking`, a node of a cluster answers although
    /// the partition is still being moved to it.
    pub(crate) async fn exchange(
        &self,
        link: &Link,
        batch: &Batch,
        asking: bool,
    ) -> Result<Answer, LinkError> {
        // First the connection, then the run id. If the server is replaced in between, the
        // connection is the dead one, and the exchange fails. In the other order a new server
        // would be sent the run id of the old one.
        let wire = link.wire()?;
        let encoded = self.context.encode(batch, lock(&self.run_id).clone());
        let call = &encoded.call;
        let extra = ExtraCommands {
            asking,
            acknowledgement: self.context.acknowledgement,
        };
        let script = &self.context.exchange;
        let said = script
            .run_as(&wire, call.keys(), &call.arguments(), extra)
            .await?;
        let answer = encoded.decode(&bytes(said)?)?;
        self.context.warn_unreadable(batch, &answer.replies);
        Ok(answer)
    }

    pub(crate) fn health(&self) -> Option<Health> {
        lock(&self.health).clone()
    }

    /// Asks the server for its health now.
    pub(crate) async fn examine(&self, link: &Link) -> Result<Health, LinkError> {
        let wire = link.wire()?;
        let health = Health::examined(&wire, &info(&wire).await?).await?;
        *lock(&self.health) = Some(health.clone());
        Ok(health)
    }

    /// Checks that our user may run scripts on our keys, so that a missing permission is reported
    /// when connecting and not at the first exchange. The command names a script that does not
    /// exist, and in a cluster another node may serve the key: the server checks permissions
    /// before it looks at either.
    async fn check_permission(&self, wire: &Wire) -> Result<(), LinkError> {
        let mut run = redis::cmd("EVALSHA");
        run.arg(NO_SCRIPT).arg(1).arg(self.context.names.marker(0));
        match self.context.exchange.counted(wire, &run).await {
            Err(LinkError::Refused { code, .. }) if code != "NOPERM" => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Remembers the server's health, and warns if the server may evict keys.
    fn handle_health(&self, health: Health) {
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
        if is_node(&info) && !self.context.in_cluster {
            return Err(LinkError::InCluster);
        }
        self.check_permission(wire).await?;
        self.context.exchange.load(wire).await?;
        *lock(&self.run_id) = RunId::from_info(&info);
        match Health::examined(wire, &info).await {
            Ok(health) => self.handle_health(health),
            // The server can be used all the same.
            Err(error) => debug!(%error, "the server does not say how it is"),
        }
        Ok(())
    }
}

/// The answer to `INFO server`, which has the run id: without it a restart from old data would go
/// unnoticed.
async fn info(wire: &Wire) -> Result<Vec<u8>, LinkError> {
    let mut info = redis::cmd("INFO");
    bytes(wire.query(info.arg("server")).await?)
}

fn bytes(value: Value) -> Result<Vec<u8>, LinkError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        // The error does not quote the value, which may be the answer to another command and name
        // keys.
        _ => Err(LinkError::Garbled {
            what: "bytes were expected".to_owned(),
        }),
    }
}

/// A panic elsewhere leaves the value whole: it is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hash that no script has.
const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";
