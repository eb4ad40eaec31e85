//! Models of other limiters behind the traits of [`model`](crate::model), so that they
//! meet the same arrivals, networks, stores and faults as ours.
//!
//! They are models: each file says which public systems work this way, and what is simplified.
//! Where those differ among themselves, the model does what is best for accuracy, so that a
//! comparison flatters nobody. None of them knows a budget for overshoot: of a limit they see the
//! rate and the burst.
//!
//! # Invariant
//!
//! A rival is decided by its configuration, the number of replicas at the start, and the seeds of
//! their models.

use leasehold_core::Limit;
use serde::Deserialize;
use toml::Table;

use crate::model::{LimiterModel, Outcome};

mod beat;
pub mod block_lease;
pub mod central;
pub mod delayed_counter;
mod few;
mod fixed_window;
mod leaky_bucket;
pub mod local;
mod meter;
mod part;
mod quota;
mod resp;
pub mod share;
mod sliding_counter;
mod sliding_log;
mod table;
#[cfg(test)]
mod tiny_world;
mod token_bucket;

pub use meter::Algorithm;

use block_lease::{BlockLease, BlockLeaseConfig};
use central::{Central, CentralConfig};
use delayed_counter::{DelayedCounter, DelayedCounterConfig};
use local::{Local, LocalConfig, SplitConfig};
use share::{Share, ShareConfig};

/// Which other limiter to run, as a scenario names it: `kind = "central"` and so on.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum RivalConfig {
    /// The store is asked about every request.
    Central(CentralConfig),
    /// No store; each replica applies the whole limit.
    Local(LocalConfig),
    /// No store; each replica applies its part of the limit.
    Split(SplitConfig),
    /// Replicas count for themselves and add up at the store now and then.
    DelayedCounter(DelayedCounterConfig),
    /// Replicas take blocks of tokens, with no account of what they hold.
    BlockLease(BlockLeaseConfig),
    /// Replicas are assigned parts of the rate by what they report.
    Share(ShareConfig),
}

/// The answer to a request that the store did not answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The request is denied.
    #[default]
    Closed,
    /// The request is allowed.
    Open,
}

/// Does something with a limiter's model, of whichever type.
pub trait ModelVisitor {
    /// The result of the visit.
    type Output;

    /// Does it.
    fn visit<S: LimiterModel>(self, model: S) -> Self::Output;
}

impl RivalConfig {
    /// The rival of a kind, with its defaults; none if no rival is of that kind.
    pub fn of_kind(kind: &str) -> Option<Self> {
        let table = Table::from_iter([("kind".to_owned(), kind.into())]);
        Self::deserialize(table).ok()
    }

    /// Hands the configured model to `visitor`, for a fleet that starts with so many
    /// replicas.
    pub fn visit<V: ModelVisitor>(&self, replicas: u32, visitor: V) -> V::Output {
        match self {
            Self::Central(config) => visitor.visit(Central::new(config.clone())),
            Self::Local(LocalConfig {}) => visitor.visit(Local::limit_each()),
            Self::Split(config) => visitor.visit(Local::split(config.parts(replicas))),
            Self::DelayedCounter(config) => visitor.visit(DelayedCounter::new(config.clone())),
            Self::BlockLease(config) => visitor.visit(BlockLease::new(config.clone(), replicas)),
            Self::Share(config) => visitor.visit(Share::new(config.clone(), replicas)),
        }
    }

    /// Whether it can work under these limits.
    ///
    /// # Errors
    ///
    /// What cannot be, with the field that asks for it and a value that would do.
    pub fn check(&self, limits: &[Limit]) -> Result<(), String> {
        match self {
            Self::Central(_) | Self::Local(_) => Ok(()),
            Self::Split(config) => config.check(),
            Self::DelayedCounter(config) => config.check(limits),
            Self::BlockLease(config) => config.check(limits),
            Self::Share(config) => config.check(),
        }
    }
}

impl OnFailure {
    const fn outcome(self) -> Outcome {
        match self {
            Self::Closed => Outcome::Denied {
                retry_after_ns: Some(RETRY_AFTER_FAILURE_NS),
            },
            Self::Open => Outcome::AllowedHere,
        }
    }
}

/// The wait that a client is told without a store: one second, the least that the header
/// `Retry-After` can say.
const RETRY_AFTER_FAILURE_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
