//! [`Store`] over one Redis or Valkey server.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold::{Answer, Batch, Store, StoreError, StoreFuture, Tuning};
use leasehold_core::Micros;
use redis::Value;
use tracing::{debug, warn};

use crate::codec::{self, EXCHANGE, GREET, Greet, Names, RunId};
use crate::connect::Greeting;
use crate::error::{ConnectError, LinkError};
use crate::health::{Eviction, Health};
use crate::link::Link;
use crate::script::Script;
use crate::settings::{Acknowledgement, Settings};
use crate::wire::Wire;

/// The shared second tier in Redis: one ledger per key, one script call per batch.
///
/// Replicas share limits if they share a server, a prefix and the names of their limits. Every
/// key expires by itself once it says no more than a missing key does.
///
/// # Examples
///
/// ```no_run
/// use leasehold::Limiter;
/// use leasehold_redis::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379".parse()?).await?;
/// let limiter = Limiter::builder()
///     .limit("api", "1000/s burst 2000".parse()?)
///     .store(store)
///     .build()?;
/// assert!(limiter.acquire("user:42", 1).await.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    address: String,
    shop: Arc<Shop>,
}

/// What batches and greetings have in common.
#[derive(Debug)]
struct Shop {
    names: Names,
    exchange: Script,
    greet: Script,
    /// The server that was greeted last, on whose connection all batches travel.
    server: Mutex<RunId>,
    /// The longest hold that a batch has asked for; 0 before the first.
    hold_micros: AtomicU64,
    /// What an exchange waits for, if for anything.
    acknowledgement: Option<Acknowledgement>,
    /// What the server said of itself when it was last asked.
    health: Mutex<Option<Health>>,
}

impl RedisStore {
    /// Connects to a server, under the usual prefix, `leasehold`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what failed: the address, the password, or what answered.
    pub async fn connect(settings: Settings) -> Result<Self, ConnectError> {
        Self::connect_as(PREFIX, settings).await
    }

    /// Connects to a server, under a prefix of one's own: stores with different prefixes share
    /// nothing.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub async fn connect_as(prefix: &str, settings: Settings) -> Result<Self, ConnectError> {
        let (address, shop) = (settings.to_string(), Arc::new(Shop::new(prefix, &settings)));
        let link = Link::connect(settings, Arc::clone(&shop)).await?;
        Ok(Self {
            link,
            address,
            shop,
        })
    }

    /// Connects in the background, so that a service can start while its store is away. Until
    /// it is there, exchanges fail at once.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn lazy(prefix: &str, settings: Settings) -> Self {
        let (address, shop) = (settings.to_string(), Arc::new(Shop::new(prefix, &settings)));
        let link = Link::lazy(settings, Arc::clone(&shop));
        Self {
            link,
            address,
            shop,
        }
    }

    /// The connection, to await its state.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What the server said of itself when it was connected to, or at the last
    /// [`examine`](Self::examine); none before the first connection.
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
        lock(&self.shop.health).clone()
    }

    /// Asks the server what it says of itself now: two or three round trips, off the path of
    /// exchanges but on their connection. For a metrics layer, every minute or so.
    ///
    /// # Errors
    ///
    /// [`LinkError`] if there is no answer, or `INFO server` is not allowed. What else may not be
    /// asked is left open.
    pub async fn examine(&self) -> Result<Health, LinkError> {
        let wire = self.link.wire()?;
        let health = Health::examined(&wire, &info(&wire).await?).await?;
        *lock(&self.shop.health) = Some(health.clone());
        Ok(health)
    }

    async fn answer(&self, batch: &Batch) -> Result<Answer, StoreError> {
        let said = self.shop.exchange(&self.link, batch).await;
        said.map_err(|error| StoreError::new(format_args!("{}: {error}", self.address)))
    }
}

impl Store for RedisStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(self.answer(batch))
    }

    /// Script calls and script loads, those of greetings included.
    fn round_trips(&self) -> u64 {
        self.shop.exchange.round_trips() + self.shop.greet.round_trips()
    }
}

impl Shop {
    fn new(prefix: &str, settings: &Settings) -> Self {
        Self {
            acknowledgement: settings.acknowledgement(),
            health: Mutex::new(None),
            names: Names::new(prefix),
            exchange: Script::new(EXCHANGE),
            greet: Script::new(GREET),
            server: Mutex::new(RunId::from_info(b"")),
            hold_micros: AtomicU64::new(0),
        }
    }

    async fn exchange(&self, link: &Link, batch: &Batch) -> Result<Answer, LinkError> {
        self.hold_micros.fetch_max(batch.hold.0, Relaxed);
        let marker = self.names.marker(BIN);
        let server = lock(&self.server).clone();
        let call = codec::Call::new(marker, batch.known_birth, batch.hold, server);
        let mut call = call.map_err(garbled)?;
        for asked in &batch.calls {
            let (named, key) = (batch.limit_of(asked), asked.entry.key());
            let bucket = self.names.bucket(BIN, &named.name, key.subject);
            call.push(bucket, &named.limit, &asked.request)
                .map_err(garbled)?;
        }
        let said = self
            .exchange
            .run_acknowledged(
                &link.wire()?,
                call.keys(),
                &call.arguments(),
                self.acknowledgement,
            )
            .await?;
        let answer = call.decode(&bytes(said)?).map_err(garbled)?;
        Ok(Answer {
            birth: answer.birth,
            replies: answer.replies,
        })
    }
}

impl Shop {
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

impl Greeting for Shop {
    /// Learns which server this is, tells it if it has been restarted since its marker was made,
    /// and makes sure it knows the script.
    async fn greet(&self, wire: &Wire) -> Result<(), LinkError> {
        let info = info(wire).await?;
        let server = RunId::from_info(&info);
        let hold = match self.hold_micros.load(Relaxed) {
            // Nobody has said how long leases are: as long as they usually are.
            0 => Tuning::default().hold(),
            hold => Micros(hold),
        };
        let greet = Greet::new(self.names.marker(BIN), hold, server.clone()).map_err(garbled)?;
        let said = self
            .greet
            .run_on(wire, greet.keys(), &greet.arguments())
            .await?;
        Greet::decode(&bytes(said)?).map_err(garbled)?;
        self.exchange.load(wire).await?;
        *lock(&self.server) = server;
        match Health::examined(wire, &info).await {
            Ok(health) => self.tell(health),
            // The server works; that we do not know more of it is no reason to do without.
            Err(error) => debug!(%error, "the server does not say how it is"),
        }
        Ok(())
    }
}

/// What the server says of itself. Without its run id a restart from old data would go unnoticed.
async fn info(wire: &Wire) -> Result<Vec<u8>, LinkError> {
    let mut info = redis::cmd("INFO");
    bytes(wire.query(info.arg("server")).await?)
}

fn bytes(value: Value) -> Result<Vec<u8>, LinkError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        other => Err(LinkError::Garbled {
            what: format!("bytes were expected, not {other:?}"),
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

const PREFIX: &str = "leasehold";

/// One server needs one bin; the keys of a cluster lie in many.
const BIN: u32 = 0;
