//! Scenarios: what is simulated, as data.
//!
//! # Invariant
//!
//! A scenario that was read can be run: what cannot be is refused here, with a message that names
//! the file, the place and the mend. Fields that nobody knows are refused too, so that a slip of
//! the pen never becomes a default.

pub mod expect;
pub mod formula;
mod points;
mod proposal;
mod setup;
mod tuning;

use std::collections::BTreeMap;
use std::fmt::Display;

use leasehold_core::Limit;
use leasehold_sync::FailurePolicy;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::balance::BalanceConfig;
use crate::faults::{self, FaultConfig, FaultEvent};
use crate::fleet::{self, FleetConfig};
use crate::load::LoadConfig;
use crate::network::NetworkConfig;
use crate::rivals::RivalConfig;
use crate::server::StoreConfig;
use crate::units::{Count, Span};

pub use self::points::{Point, Points, Vary};
pub use self::proposal::{nearest, with_proposal};
pub(crate) use self::setup::judged;
pub use self::tuning::TuningConfig;

/// One thing to simulate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Version of this format; 1 so far.
    pub schema: u32,
    /// The title: what it shows, in one line.
    pub title: String,
    /// Where its numbers come from.
    #[serde(default)]
    pub source: Option<String>,
    /// The number to beat: what the source reported, or another rival does.
    #[serde(default)]
    pub beats: Option<String>,
    /// For how long requests come.
    pub duration: Span,
    /// From when volumes, loads and latencies are measured. Overshoot always is.
    #[serde(default)]
    pub warmup: Span,
    /// With how many seeds it is run unless the command says otherwise.
    #[serde(default = "three")]
    pub seeds: u32,
    /// Seconds of simulated time between two points of the plots.
    #[serde(default = "hundred_millis")]
    pub slice: Span,
    /// The limits. A request is charged under all of them, or under none.
    #[serde(rename = "limit")]
    pub limits: Vec<LimitConfig>,
    /// The limiter's tuning.
    #[serde(default)]
    pub tuning: TuningConfig,
    /// Which requests come.
    #[serde(rename = "load")]
    pub loads: Vec<LoadConfig>,
    /// The replicas that decide the requests.
    pub fleet: FleetConfig,
    /// Which replica gets which request.
    #[serde(default)]
    pub balance: BalanceConfig,
    /// How the replicas reach the store.
    #[serde(default)]
    pub network: NetworkConfig,
    /// How fast the store is.
    #[serde(default)]
    pub store: StoreConfig,
    /// The faults and changes.
    #[serde(default, rename = "fault")]
    pub faults: Vec<FaultConfig>,
    /// Other limiters that meet the same requests, by name.
    #[serde(default)]
    pub rivals: BTreeMap<String, RivalConfig>,
    /// The expectations.
    #[serde(default)]
    pub expect: expect::Expectations,
    /// Fields that take several values: the cross product is run.
    #[serde(default)]
    sweep: toml::Table,
    /// Named changes of the scenario, each of which is run.
    #[serde(default, rename = "variant")]
    variants: Vec<Variant>,
}

/// A limit, and whom it applies to.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitConfig {
    /// The name by which faults refer to it, if there are several.
    #[serde(default)]
    pub name: Option<String>,
    /// Rate, burst and overshoot, such as `"1000/s burst 100"`.
    pub limit: Limit,
    /// Whom it applies to.
    #[serde(default)]
    pub per: Per,
    /// The failure policy: what our limiter admits under it while the store is away.
    #[serde(default, deserialize_with = "failure_policy")]
    pub failure_policy: FailurePolicy,
}

/// As scenarios write it: `"closed"`, `"local"` or `"open"`.
fn failure_policy<'de, D: Deserializer<'de>>(from: D) -> Result<FailurePolicy, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        Closed,
        Local,
        Open,
    }
    Ok(match Word::deserialize(from)? {
        Word::Closed => FailurePolicy::Closed,
        Word::Local => FailurePolicy::Local,
        Word::Open => FailurePolicy::Open,
    })
}

/// Whom a limit applies to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Per {
    /// Each key has a bucket of its own.
    #[default]
    Key,
    /// Neighbouring keys share a bucket, so many of them each.
    Group(Count),
    /// All keys share one bucket.
    All,
}

/// A named change of the scenario.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    /// Values by field, as in a sweep.
    set: toml::Table,
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{file}: {message}")]
pub struct ScenarioError {
    file: String,
    message: String,
}

impl ScenarioError {
    /// `message` says what is wrong in `file`, and how to mend it.
    pub fn new(file: &str, message: impl Display) -> Self {
        Self {
            file: file.to_owned(),
            message: message.to_string().trim_end().to_owned(),
        }
    }
}

impl Per {
    /// The number of the bucket that `key` belongs to.
    #[inline]
    pub fn bucket(self, key: u32) -> u32 {
        match self {
            Self::Key => key,
            Self::Group(Count(size)) => {
                let size = u32::try_from(size).unwrap_or(u32::MAX).max(1);
                key / size
            }
            Self::All => 0,
        }
    }
}

impl Scenario {
    /// A scenario with one limit, and defaults elsewhere. It can be run once it has a load.
    pub fn new(title: impl Into<String>, limit: Limit, duration: Span) -> Self {
        Self {
            schema: SCHEMA,
            title: title.into(),
            duration,
            seeds: three(),
            slice: hundred_millis(),
            limits: vec![LimitConfig {
                name: None,
                limit,
                per: Per::default(),
                failure_policy: FailurePolicy::default(),
            }],
            ..Self::default()
        }
    }

    /// Whether the scenario can be run: the checks that serde cannot make.
    ///
    /// # Errors
    ///
    /// The part that cannot be run, and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema = {}: this program reads schema = {SCHEMA}",
                self.schema
            ));
        }
        if self.limits.is_empty() {
            return Err("no [[limit]]: say what is limited".to_owned());
        }
        if self.limits.len() > LIMITS_MAX {
            return Err(format!("more than {LIMITS_MAX} [[limit]]s"));
        }
        if self.loads.is_empty() {
            return Err("no [[load]]: say which requests come".to_owned());
        }
        if self.duration == Span::ZERO || self.slice == Span::ZERO {
            return Err("duration and slice must be above 0".to_owned());
        }
        if self.warmup >= self.duration {
            return Err(format!(
                "warmup = \"{}\" leaves nothing of duration = \"{}\"",
                self.warmup, self.duration
            ));
        }
        if self.seeds == 0 {
            return Err("seeds = 0: nothing would be run".to_owned());
        }
        self.tuning.check()?;
        self.fleet.check()?;
        self.balance.check()?;
        self.network
            .check()
            .map_err(|it| format!("[network] {it}"))?;
        self.store.check().map_err(|it| format!("[store] {it}"))?;
        for (number, load) in (1..).zip(&self.loads) {
            load.check(self.duration)
                .map_err(|it| format!("[[load]] {number}: {it}"))?;
        }
        for (label, rival) in &self.rivals {
            let limits: Vec<Limit> = self.limits.iter().map(|it| it.limit).collect();
            rival
                .check(&limits)
                .map_err(|it| format!("[rivals.{label}] {it}"))?;
        }
        self.check_faults()?;
        if let Some(label) = self.rivals.keys().find(|label| *label == LEASED) {
            return Err(format!("[rivals.{label}]: that name is our own"));
        }
        self.expect.check(&self.rivals)
    }

    fn check_faults(&self) -> Result<(), String> {
        let plan = fleet::plan(&self.fleet, self.duration, 0);
        let replicas = fleet::instances(&plan);
        let timeline = faults::timeline(&self.faults, self.duration, replicas, 0);
        for (_, event) in timeline.map_err(|error| error.to_string())? {
            let FaultEvent::Limit { name, limit, .. } = event else {
                continue;
            };
            judged(&limit)?;
            let known = |name: &String| self.limits.iter().any(|it| it.name.as_ref() == Some(name));
            match name {
                Some(name) if !known(&name) => {
                    return Err(format!(
                        "[[fault]] limit: no [[limit]] has name = \"{name}\""
                    ));
                }
                None if self.limits.len() > 1 => {
                    return Err(
                        "[[fault]] limit: say by `name` which [[limit]] is meant".to_owned()
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const fn three() -> u32 {
    3
}

const fn hundred_millis() -> Span {
    Span::from_millis(100)
}

/// The name of this project's limiter among its rivals.
pub const LEASED: &str = "leased";

/// The version of the format.
const SCHEMA: u32 = 1;

/// More limits on one request are nobody's design.
const LIMITS_MAX: usize = 8;
