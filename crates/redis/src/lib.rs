//! A store for [`leasehold`] over Redis or Valkey: replicas of a service share their limits through
//! it.
//!
//! Use this crate if more than one process has to keep to the same limit, and you have, or can set
//! up, a Redis 7 or a Valkey 9. A service of one process needs only the store that is built into
//! [`leasehold`]. The background task of each replica asks Redis for many keys at a time: a few
//! exchanges per second and replica, whatever the number of requests. Redis keeps one ledger per
//! key, which expires by itself.
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
//! Limiters share a limit if they use the same server or cluster, the same prefix
//! ([`RedisStore::connect_as`]) and the same name for the limit.
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
//! | `redis+cluster://` | a cluster: keys lie in 64 partitions, each of which can fail alone |
//!
//! `rediss://`, `rediss+sentinel://` and `rediss+cluster://` are the same over TLS, and `valkey`
//! may stand for `redis` in each of them. [`TlsSettings`] names the authorities to trust beside the
//! system's, and a certificate for servers that ask for one.
//!
//! The server must not evict keys ([`Health::eviction`] says whether it may), because an evicted
//! ledger is a bucket that is full again. [`acl_rules`] lists the permissions that the store needs.
//!
//! # Errors
//!
//! - [`ConnectError`]: the first connection failed. The message names the address, the
//!   [`ConnectFault`] and how to mend it. `Debug` shows the same message, because a `main` that
//!   returns the error prints it by `Debug`. [`RedisStore::lazy`] connects in the background, so it
//!   does not fail.
//! - [`UrlError`]: a URL that cannot be read. No error shows a password.
//! - A server that fails later causes no error to callers of the limiter. The store reconnects by
//!   itself, with growing delays. Meanwhile replicas spend what they have leased, and then the
//!   failure policy of each limit decides. [`RedisStore::link`] gives the state of the connection,
//!   [`LinkError`] why it is down.
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
mod context;
mod error;
mod health;
mod link;
mod names;
mod script;
mod sentinel;
mod server;
mod settings;
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
