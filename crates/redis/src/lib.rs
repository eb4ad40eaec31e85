//! The store over Redis or Valkey.

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
