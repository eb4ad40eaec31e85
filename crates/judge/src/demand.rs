//! The cost of a request.

use serde::Serialize;

/// The cost of a request under one limit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Demand {
    /// Which limit, by position.
    pub limit: u32,
    /// The key that the limit applies to. Keys of a limit are numbered from 0.
    pub key: u32,
    /// Tokens.
    pub cost: u32,
}
