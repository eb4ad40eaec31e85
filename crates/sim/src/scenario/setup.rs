//! The meaning of a scenario's parts together: the judge's promises, the callers, the marks.

use leasehold_core::Limit;

use crate::clients::Clients;
use crate::faults::FaultEvent;
use crate::fleet::{self, FleetEvent};
use crate::load::{Load, Traces};
use crate::numbers::{float, per_second};
use crate::scenario::{Per, Scenario};
use crate::units::Count;
use leasehold_judge::{JudgeSetup, JudgedLimit, Promised};

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

    /// The judge's setup for a run in which the fleet and the world change so.
    pub(crate) fn judged(
        &self,
        load: &Load,
        fleet: &[(u64, FleetEvent)],
        faults: &[(u64, FaultEvent)],
    ) -> Result<JudgeSetup, String> {
        let keys = load.keys_max();
        let limits = self.limits.iter().enumerate().map(|(position, config)| {
            let buckets = match config.per {
                Per::Key => keys,
                Per::Group(Count(size)) => keys.div_ceil(size.max(1)),
                Per::All => 1,
            };
            let buckets =
                u32::try_from(buckets).map_err(|_| format!("{keys} keys are too many"))?;
            let changes = faults.iter().filter_map(|(at_ns, event)| match event {
                FaultEvent::Limit {
                    replicas,
                    name,
                    limit,
                } if self.position_of(name.as_deref()) == position => {
                    // As many as have started by then; others start with the new limit.
                    let started = fleet.iter().take_while(|(start, _)| start <= at_ns);
                    let started = started.filter(|(_, event)| event.starts()).count();
                    (replicas.len() >= started).then_some(limit)
                }
                _ => None,
            });
            Ok(Promised {
                limit: judged(&config.limit)?,
                later: changes.map(judged).collect::<Result<_, String>>()?,
                keys: buckets,
            })
        });
        Ok(JudgeSetup {
            limits: limits.collect::<Result<_, String>>()?,
            replicas_max: fleet::instances(fleet),
            measure_from_ns: self.warmup.0,
            slice_ns: self.slice.0,
        })
    }

    /// Which limit is meant by a name; the only one if there is no name.
    ///
    /// # Panics
    ///
    /// If no limit has the name, which is checked when a scenario is read.
    pub(crate) fn position_of(&self, name: Option<&str>) -> usize {
        let mut limits = self.limits.iter();
        let position = name.map_or(Some(0), |name| {
            limits.position(|it| it.name.as_deref() == Some(name))
        });
        position.expect("checked with the scenario")
    }

    /// When what is asked for changes by plan.
    pub(crate) fn change_points(&self, load: &Load) -> Vec<u64> {
        let steps = self.balance.change_points(self.duration);
        let all = load.change_points().iter().copied().chain(steps);
        all.filter(|at_ns| *at_ns < self.duration.0).collect()
    }

    /// The value of a name in an expectation: numbers of the first limit and load, per second.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        let limit = &self.limits[0].limit;
        let value = match name {
            "rate" => per_second(limit.rate()),
            "burst" => float(limit.burst()),
            "budgeted" => float(limit.overshoot()),
            "replicas" => self.fleet.replicas.into(),
            "offered" => self.loads[0].offered?.0,
            "keys" => float(self.loads[0].keys.count.0),
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
