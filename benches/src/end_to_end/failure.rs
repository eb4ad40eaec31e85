//! Why something could not be measured.

use std::fmt::Display;

use thiserror::Error;

/// A failure, in its own words. A cell that fails is left out, which is said; the others go on.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// A failure that says `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The message of an error.
    pub fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }
}
