//! [`Store`] over Redis or Valkey: one server, wherever it is, or a cluster of them.

use std::sync::Arc;

use leasehold::StoreError;
use leasehold::store::{Answer, Batch, Store, StoreFuture, key_hash};

use crate::cluster::Cluster;
use crate::context::StoreContext;
use crate::error::{ConnectError, LinkError};
use crate::health::Health;
use crate::link::Link;
use crate::server::Server;
use crate::settings::{Endpoint, Settings};

/// The shared second tier in Redis: one ledger per key, one script call per batch.
///
/// Replicas share limits if they share a server or a cluster, a prefix and the names of their
/// limits. Every key expires by itself once it says no more than a missing key does.
///
/// A cluster has 64 [partitions](Store::partitions), each in a slot of its own, spread evenly over
/// the slots: a node that is away takes its part of the keys with it and no more.
///
/// # Examples
///
/// ```no_run
/// use leasehold::Limiter;
/// use leasehold_redis::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let limiter = Limiter::builder()
///     .limit("api", "1000/s burst 2000")
///     .store(store)
///     .build()?;
/// assert!(limiter.acquire("user:42", 1).await.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisStore {
    address: String,
    context: Arc<StoreContext>,
    way: Way,
}

/// How servers are reached.
#[derive(Debug)]
enum Way {
    /// One server at a time.
    One {
        link: Arc<Link>,
        server: Arc<Server>,
    },
    /// The nodes of a cluster.
    Cluster(Cluster),
}

impl RedisStore {
    /// The prefix of a store that is given none.
    pub const PREFIX: &str = "leasehold";

    /// Connects to a server or a cluster, under the usual prefix, `leasehold`. Takes a URL,
    /// as `docs/OPERATING.md` lists them, or [`Settings`].
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what failed: the URL, the address, the password, or what answered. A
    /// cluster is connected to once one node has told which node serves which slot, and one of the
    /// nodes that serve is reached.
    pub async fn connect<S>(server: S) -> Result<Self, ConnectError>
    where
        S: TryInto<Settings>,
        S::Error: Into<ConnectError>,
    {
        Self::connect_as(Self::PREFIX, server).await
    }

    /// Connects to a server or a cluster, under a prefix of one's own: stores with different
    /// prefixes share nothing.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub async fn connect_as<S>(prefix: &str, server: S) -> Result<Self, ConnectError>
    where
        S: TryInto<Settings>,
        S::Error: Into<ConnectError>,
    {
        let settings: Settings = server.try_into().map_err(Into::into)?;
        let (address, context) = (
            settings.to_string(),
            Arc::new(StoreContext::new(prefix, &settings)),
        );
        let way = if matches!(settings.endpoint, Endpoint::Cluster { .. }) {
            Way::Cluster(Cluster::connect(settings, &context).await?)
        } else {
            let server = Arc::new(Server::new(&context));
            let link = Link::connect(settings, Arc::clone(&server)).await?;
            let link = Arc::new(link);
            Way::One { link, server }
        };
        Ok(Self {
            address,
            context,
            way,
        })
    }

    /// Connects in the background, so that a service can start while its store is away. Exchanges
    /// fail at once until there is a connection.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn lazy(prefix: &str, settings: Settings) -> Self {
        let (address, context) = (
            settings.to_string(),
            Arc::new(StoreContext::new(prefix, &settings)),
        );
        let way = if matches!(settings.endpoint, Endpoint::Cluster { .. }) {
            Way::Cluster(Cluster::lazy(settings, &context))
        } else {
            let server = Arc::new(Server::new(&context));
            let link = Arc::new(Link::lazy(settings, Arc::clone(&server)));
            Way::One { link, server }
        };
        Self {
            address,
            context,
            way,
        }
    }

    /// The connection that exchanges of a partition travel on now, to await its state. A single
    /// server has only partition 0. A cluster may move a partition to another node, and so to
    /// another connection; none if no node is known to serve the partition.
    pub fn link(&self, partition: u32) -> Option<Arc<Link>> {
        match &self.way {
            Way::One { link, .. } => Some(Arc::clone(link)),
            Way::Cluster(cluster) => Some(Arc::clone(&cluster.node_of(partition)?.link)),
        }
    }

    /// The server's health when it was connected to, or at the last
    /// [`examine`](Self::examine); none before the first connection.
    ///
    /// For a cluster, the worst health of its nodes: that of a node which may evict keys, if there
    /// is one. [`healths`](Self::healths) has those of all nodes.
    ///
    /// A server that may evict keys also causes one warning per connection: see
    /// [`Health::eviction`].
    ///
    /// ```no_run
    /// # async fn run(store: leasehold_redis::RedisStore) {
    /// if let Some(eviction) = store.health().and_then(|health| health.eviction) {
    ///     eprintln!("keys may be lost: maxmemory-policy is {}", eviction.policy);
    /// }
    /// # }
    /// ```
    pub fn health(&self) -> Option<Health> {
        worst(self.healths().into_iter().map(|(_, health)| health))
    }

    /// The health of each known server of the store, beside its address.
    pub fn healths(&self) -> Vec<(String, Health)> {
        match &self.way {
            Way::One { server, .. } => {
                let health = server.health();
                health
                    .map(|health| (self.address.clone(), health))
                    .into_iter()
                    .collect()
            }
            Way::Cluster(cluster) => {
                let nodes = cluster.nodes().into_iter();
                let healths =
                    nodes.map(|node| Some((node.place.to_string(), node.server.health()?)));
                healths.flatten().collect()
            }
        }
    }

    /// Asks the server for its health now, for a metrics layer, every minute or so. It takes two or
    /// three round trips on the connection of the exchanges, which do not wait for them. In a
    /// cluster each node is asked in turn, and the result is as for [`health`](Self::health).
    ///
    /// # Errors
    ///
    /// [`LinkError`] if there is no answer, or `INFO server` is not allowed; in a cluster, if that
    /// is so at every node. Other commands that are not allowed leave their fields unknown.
    pub async fn examine(&self) -> Result<Health, LinkError> {
        let cluster = match &self.way {
            Way::One { link, server } => return server.examine(link).await,
            Way::Cluster(cluster) => cluster,
        };
        let (mut healths, mut failed) = (Vec::new(), None);
        for node in cluster.nodes() {
            match node.server.examine(&node.link).await {
                Ok(health) => healths.push(health),
                Err(error) => failed = Some(error),
            }
        }
        let down = || failed.unwrap_or_else(|| cluster.down());
        worst(healths.into_iter()).ok_or_else(down)
    }

    async fn answer(&self, batch: &Batch) -> Result<Answer, StoreError> {
        let address = &self.address;
        let partition = batch.partition;
        if partition >= self.context.names.partitions() {
            let what = format_args!("{address}: there is no partition {partition}");
            return Err(StoreError::new(what));
        }
        match &self.way {
            Way::One { link, server } => {
                let said = server.exchange(link, batch, false).await;
                said.map_err(|error| without_keys(batch, format!("{address}: {error}")))
            }
            Way::Cluster(cluster) => {
                let said = cluster.exchange(batch).await;
                said.map_err(|error| without_keys(batch, format!("{address}, {error}")))
            }
        }
    }
}

impl Store for RedisStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(self.answer(batch))
    }

    fn partitions(&self) -> u32 {
        self.context.names.partitions()
    }

    /// Script calls and script loads. Other commands, of handshakes and of the background, are not
    /// counted.
    fn round_trips(&self) -> u64 {
        self.context.round_trips()
    }
}

/// The error `message` without the keys of `batch`, because errors are logged and a server's own
/// message may contain a key.
fn without_keys(batch: &Batch, message: String) -> StoreError {
    let mut message = message;
    for call in &batch.calls {
        let subject = call.key().subject;
        let text = String::from_utf8_lossy(subject);
        // A shorter key would match parts of ordinary words.
        if text.len() >= KEY_TOLD_MIN && message.contains(&*text) {
            let hash = key_hash(&batch.limit_of(call).name, subject);
            message = message.replace(&*text, &format!("[key {hash:016x}]"));
        }
    }
    StoreError::new(message)
}

/// The least length of a key that is searched for in an error, in bytes.
const KEY_TOLD_MIN: usize = 4;

/// The worst of these: that of a server which may evict keys, if there is one.
fn worst(healths: impl Iterator<Item = Health>) -> Option<Health> {
    healths.max_by_key(|health| (health.eviction.is_some(), health.evicted_keys))
}
