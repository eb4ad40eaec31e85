//! The plan of a demo run, as it is handed to each replica.

use std::time::Duration;

use leasehold::{Limit, Mode};
use leasehold_sim::numbers::per_second;
use serde::{Deserialize, Serialize};

use crate::demo::arguments::DemoArguments;
use crate::demo::error::DemoError;
use crate::demo::terms::{Policy, Terms};
use crate::limit_arguments::judged_limit;

/// One run of the demo. Replica processes read it as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) replicas: u32,
    pub(crate) limit: Limit,
    /// Requests per second, to all replicas together.
    pub(crate) offered: f64,
    /// Part of the load that goes to replica 0.
    pub(crate) skew: f64,
    pub(crate) keys: u32,
    pub(crate) zipf: f64,
    pub(crate) duration: Duration,
    pub(crate) store_latency: Duration,
    pub(crate) seed: u64,
    pub(crate) redis: Option<String>,
    pub(crate) processes: bool,
    /// The failure policy: what is admitted while the store does not serve a key.
    pub(crate) policy: Policy,
    /// Ask the store for every decision.
    pub(crate) central: bool,
    /// Tell of every exchange with the store, and stay until the time is over.
    pub(crate) timed: bool,
    /// Keeps the keys of this run apart from all others.
    pub(crate) prefix: String,
    /// Other terms than the defaults.
    pub(crate) terms: Option<Terms>,
}

impl Plan {
    pub(crate) fn new(arguments: &DemoArguments) -> Result<Self, DemoError> {
        let limit = arguments
            .beyond
            .limit(arguments.rate)
            .map_err(DemoError::Limit)?;
        judged_limit(&limit).map_err(DemoError::Judged)?;
        let rate = arguments.offered;
        let offered = per_second(rate);
        if arguments.duration < SHORTEST {
            return Err(DemoError::TooShort);
        }
        let requests = offered * arguments.duration.as_secs_f64();
        if requests > REQUESTS_MAX {
            return Err(DemoError::TooMany);
        }
        Ok(Self {
            replicas: arguments.replicas,
            limit,
            offered,
            skew: arguments
                .skew
                .unwrap_or(1.0 / f64::from(arguments.replicas)),
            keys: arguments.keys,
            zipf: arguments.zipf,
            duration: arguments.duration,
            store_latency: arguments.store_latency,
            seed: arguments.seed,
            redis: arguments.redis.clone(),
            processes: arguments.processes,
            policy: arguments.policy,
            central: false,
            timed: false,
            prefix: prefix(),
            terms: None,
        })
    }

    /// A plan of this load for the centralised limiter, with keys of its own.
    pub(crate) fn as_central(&self) -> Self {
        let prefix = format!("{}-central", self.prefix);
        Self {
            central: true,
            prefix,
            ..self.clone()
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.central {
            Mode::Central
        } else {
            Mode::Lease
        }
    }

    /// Requests per second to one replica.
    pub(crate) fn offered_to(&self, replica: u32) -> f64 {
        match (replica, self.replicas) {
            (_, 1) => self.offered,
            (0, _) => self.offered * self.skew,
            (_, all) => self.offered * (1.0 - self.skew) / f64::from(all - 1),
        }
    }
}

/// Keeps the keys of a run apart from all others.
pub(crate) fn prefix() -> String {
    format!(
        "leasehold-demo-{}-{}",
        std::process::id(),
        leasehold::machine_nanos()
    )
}

/// Shorter runs show nothing but their start.
const SHORTEST: Duration = Duration::from_millis(100);

/// Each request is kept until it is judged; more would not fit a small machine.
const REQUESTS_MAX: f64 = 50e6;
