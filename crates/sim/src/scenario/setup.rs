//! What the parts of a scenario mean together: the judge's promises, the callers, the marks.

use leasehold_core::Limit;

use crate::clients::Clients;
use crate::judge::{JudgeSetup, JudgedLimit};
use crate::load::{Load, Traces};
use crate::scenario::{Per, Scenario};
use crate::units::Count;

impl Scenario {
    /// The arrivals of a run.
    pub(crate) fn load(&self, traces: &Traces, seed: u64) -> Result<Load, String> {
        Load::new(&self.loads, traces, self.duration, seed).map_err(|error| error.to_string())
    }

    /// The callers who do something with their answers.
    pub(crate) fn clients(&self, seed: u64) -> Clients {
        let with_clients = self
            .loads
            .iter()
            .zip(0_u16..)
            .filter_map(|(load, position)| {
                let clients = load.clients.clone()?;
                let keys = u32::try_from(load.keys.keys_max(self.duration)).unwrap_or(u32::MAX);
                Some((position, clients, keys))
            });
        let configs: Vec<_> = with_clients.collect();
        Clients::new(&configs, self.duration, seed)
    }

    /// What the judge holds a run against.
    pub(crate) fn judged(&self, load: &Load, replicas: u32) -> Result<JudgeSetup, String> {
        let keys = load.keys_max();
        let limits = self.limits.iter().map(|config| {
            let buckets = match config.per {
                Per::Key => keys,
                Per::Group(Count(size)) => keys.div_ceil(size.max(1)),
                Per::All => 1,
            };
            let buckets =
                u32::try_from(buckets).map_err(|_| format!("{keys} keys are too many"))?;
            Ok((judged(&config.limit)?, buckets))
        });
        Ok(JudgeSetup {
            limits: limits.collect::<Result<_, String>>()?,
            replicas_max: replicas,
            measure_from_ns: self.warmup.0,
            slice_ns: self.slice.0,
        })
    }

    /// When what is asked for changes by plan.
    pub(crate) fn change_points(&self, load: &Load) -> Vec<u64> {
        let steps = self.balance.change_points(self.duration);
        let all = load.change_points().iter().copied().chain(steps);
        all.filter(|at_ns| *at_ns < self.duration.0).collect()
    }

    /// What a name stands for in an expectation: numbers of the first limit and load, per second.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        let limit = &self.limits[0].limit;
        let rate = limit.rate();
        #[expect(clippy::cast_precision_loss, reason = "bounds are not exact")]
        let value = match name {
            "rate" => rate.tokens as f64 / rate.period.as_duration().as_secs_f64(),
            "burst" => limit.burst() as f64,
            "budgeted" => limit.overshoot() as f64,
            "replicas" => self.fleet.replicas.into(),
            "offered" => self.loads[0].offered?.0,
            "keys" => self.loads[0].keys.count.0 as f64,
            "seconds" => self.duration.as_secs_f64(),
            _ => return None,
        };
        Some(value)
    }
}

/// A limit as the judge sees it, from outside.
pub(crate) fn judged(limit: &Limit) -> Result<JudgedLimit, String> {
    let rate = limit.rate();
    JudgedLimit::new(
        rate.tokens,
        rate.period.0.saturating_mul(1000),
        limit.burst(),
    )
    .map_err(|error| error.to_string())
}
