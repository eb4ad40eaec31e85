//! The setting that all rows share: the limit, the load, and the terms on which replicas work.

use std::time::Duration;

use leasehold::Limit;

use super::pace::{Pace, REPLICAS};
use super::rows::{Load, Row};
use super::world::World;
use crate::demo::plan::{Plan, prefix};
use crate::demo::terms::Terms;

/// The limit of every row.
pub(crate) fn limit() -> Limit {
    LIMIT.parse().expect("it is sound")
}

/// The plan of each replica of a row, in order.
pub(crate) fn plans(row: &Row, pace: Pace, world: &World, seed: u64) -> Vec<Plan> {
    let prefix = prefix();
    let plan = |replica| Plan {
        replicas: REPLICAS,
        limit: limit(),
        offered: offered(row.load),
        skew: 1.0 / f64::from(REPLICAS),
        keys: 1,
        zipf: 0.0,
        duration: row.lead(pace) + row.lasts.at(pace) + row.slack + pace.after,
        store_latency: Duration::ZERO,
        seed,
        redis: Some(world.url(replica)),
        processes: true,
        policy: row.policy,
        central: false,
        timed: true,
        prefix: prefix.clone(),
        terms: Some(Terms {
            backoff_max: BACKOFF_MAX,
            lease_max: LEASE_MAX,
            budget: BUDGET,
            reconnect_max: Some(RECONNECT_MAX),
            probed: Some(PROBED),
        }),
    };
    (0..REPLICAS).map(plan).collect()
}

/// Requests a second to all replicas together.
pub(crate) const fn offered(load: Load) -> f64 {
    match load {
        Load::Double => 4000.0,
        Load::Heavy => 20_000.0,
    }
}

/// One key under one limit.
pub(crate) const LIMIT: &str = "2000/s burst 500";

/// The replica that also asks without waiting. Not the one that is killed.
const PROBED: u32 = 0;

/// The longest that a request may wait: half the default, as a service in a hurry would say.
pub(crate) const BUDGET: Duration = Duration::from_millis(50);

/// A store that lost its memory grants nothing for one longest lease: with the default of 6 s, it
/// would take as much longer to recover.
pub(crate) const LEASE_MAX: Duration = Duration::from_secs(1);

/// As long as the longest lease allows.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(800);

/// As with sentinels: with the default of 2 s, a replica may come back that much later.
pub(crate) const RECONNECT_MAX: Duration = Duration::from_millis(500);
