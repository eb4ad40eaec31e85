//! A store for [`leasehold`] over Redis or Valkey: replicas of a service share their limits through
//! it.
//!
//! Use this crate if more than one process has to keep to the same limit, and a Redis 7 or a Valkey
//! 9 is there or may be set up. A service of one process needs no store but the one that is built
//! into [`leasehold`]. Redis is asked by the background task of each replica, for many keys at a
//! time: a few exchanges per second and replica, whatever the number of requests. One ledger per
//! key lies in Redis, a hash that expires by itself.
//!
//! # Example
//!
//! ```no_run
//! use leasehold::Limiter;
//! use leasehold_redis::RedisStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
//! let limiter = Limiter::builder()
//!     .limit("api", "1000/s burst 2000")
//!     .store(store)
//!     .build()?;
//!
//! assert!(limiter.acquire("user:42", 1).await.is_allowed());
//! limiter.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Limiters share a limit if they reach the same server or cluster, with the same prefix
//! ([`RedisStore::connect_as`]) and the same name of the limit.
//!
//! # Servers
//!
//! The URL says how the store is reached; [`Settings`] has its whole form, and the timeouts.
//!
//! | URL begins with | reaches |
//! |---|---|
//! | `redis://` | one server |
//! | `redis+unix://` | one server, over a Unix socket |
//! | `redis+sentinel://` | the primary that sentinels name, and the next one after a failover |
//! | `redis+cluster://` | a cluster: keys lie in 64 partitions, which fail and come back apart |
//!
//! `rediss://`, `rediss+sentinel://` and `rediss+cluster://` are the same over TLS, and `valkey`
//! may stand for `redis` in each of them. [`TlsSettings`] has the authorities to trust and a
//! certificate of one's own; without them, those of the system are trusted.
//!
//! The server must not evict keys ([`Health::eviction`] says whether it may), because an evicted
//! ledger is a bucket that is full again. [`acl_rules`] lists the permissions that the store needs.
//!
//! # Errors
//!
//! - [`ConnectError`]: the first connection failed. It names the address, the [`ConnectFault`] and
//!   how to mend it, also when it is shown by `Debug`, as the error of a `main` is.
//!   [`RedisStore::lazy`] does not connect at once, and so does not fail.
//! - [`UrlError`]: a URL that cannot be read. No error shows a password.
//! - A server that fails later is no error to the callers of the limiter. The store reconnects by
//!   itself, with a growing pause; meanwhile leases are spent, and then the failure policy of each
//!   limit decides. [`RedisStore::link`] gives the state of the connection, [`LinkError`] why it
//!   is down.
//!
//! # Features
//!
//! - `tls`, on by default: TLS by rustls, with `ring`, which needs a C compiler. Without it, a URL
//!   that asks for TLS is refused.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acl;
mod backoff;
mod cluster;
pub mod codec;
mod connect;
mod connector;
mod error;
mod health;
mod link;
mod names;
mod script;
mod sentinel;
mod settings;
mod shop;
mod slot;
mod store;
mod tls;
mod url;
mod wire;

pub use acl::acl_rules;
pub use connect::Greeting;
pub use error::{ConnectError, ConnectFault, DownReason, Executed, LinkError, Stage};
pub use health::{Eviction, Health};
pub use link::Link;
pub use script::Script;
pub use settings::{Credentials, Settings};
pub use store::RedisStore;
pub use tls::{ClientCertificate, TlsFault, TlsSettings};
pub use url::{UrlError, UrlFault};
pub use wire::Wire;

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
