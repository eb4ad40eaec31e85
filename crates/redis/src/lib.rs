//! The store over Redis or Valkey.

mod backoff;
pub mod codec;
mod connect;
mod error;
mod link;
mod script;
#[cfg(feature = "server")]
pub mod server;
mod settings;
mod store;
mod wire;

pub use connect::Greeting;
pub use error::{ConnectError, ConnectFault, DownReason, Executed, LinkError, Stage};
pub use link::Link;
pub use script::Script;
pub use settings::{Settings, UrlError, UrlFault};
pub use store::RedisStore;
pub use wire::Wire;

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
