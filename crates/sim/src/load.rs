//! Requests that come whatever becomes of the earlier ones: the open-loop load of a scenario.
//!
//! # Invariant
//!
//! [`Load`] gives the arrivals of all loads in order of time, ties by the position of the load,
//! and each is before the end of the run. The next arrival of a load depends on its own
//! configuration, its position and the seed, on nothing else: not on other loads, nor on what was
//! answered. When requests come, for which keys and at what cost are drawn from streams of their
//! own, so that a change to one of the three leaves the other two as they were.
//!
//! # How times are drawn
//!
//! As work, not as time: gaps are drawn with a mean of one request, and pass as fast as the rate
//! is high at that moment (`load/process.rs`). The rate is the product of what the scenario says
//! (`load/shape.rs`) and of chance (`load/modulation.rs`). So any law of gaps goes with any shape,
//! evenly spaced requests stay so at ten times the rate, no draw is thrown away, and a step at 20 s
//! leaves all that came before as it was.
//!
//! One entry waits for each load, and one more for its spike; never one per arrival. The earliest
//! is kept out of the heap of the others: most loads are alone.

mod config;
mod cost;
mod modulation;
mod process;
mod replay;
mod shape;
mod spikes;
#[cfg(test)]
pub(crate) mod statistics;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use thiserror::Error;

use crate::arrival::{Arrival, Origin};
use crate::keys::Keys;
use crate::trace::Trace;
use crate::units::Span;

pub use config::{
    ArrivalsConfig, DiurnalConfig, FlashConfig, GammaConfig, LoadConfig, OnOffConfig, RampConfig,
    SpikeConfig, StateConfig, StepConfig,
};
pub use cost::{CostConfig, Costs};

use process::Process;
use replay::Replay;
use spikes::Spikes;

/// The traces that loads replay, by path as the scenario writes it.
pub type Traces = BTreeMap<String, Arc<Trace>>;

/// Why there can be no such load.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LoadError {
    /// A load asks for what cannot be.
    #[error("load {number}: {problem}")]
    Config {
        /// Which, from 1, in the order of the scenario.
        number: usize,
        /// The problem, and the mend.
        problem: String,
    },
    /// More loads than can be numbered.
    #[error("{0} loads are too many: at most 65535")]
    TooMany(usize),
    /// A run so long that nanoseconds are not exact in a double.
    #[error("a run of {0} is too long: at most 104 days")]
    TooLong(Span),
}

/// The arrivals of all loads of a scenario.
#[derive(Debug)]
pub struct Load {
    sources: Vec<Source>,
    /// When the source comes that comes first, and its position. [`OVER`] if none does.
    first_ns: u64,
    first: u32,
    /// The next arrivals of the other loads that are not over.
    others: BinaryHeap<Reverse<(u64, u32)>>,
    keys_max: u64,
    change_points: Vec<u64>,
}

impl Load {
    /// The arrivals of a run of `duration`. Each trace that a load names must be among `traces`;
    /// see [`LoadConfig::trace`].
    ///
    /// # Errors
    ///
    /// Which load asks for what cannot be, and the mend.
    pub fn new(
        configs: &[LoadConfig],
        traces: &Traces,
        duration: Span,
        seed: u64,
    ) -> Result<Self, LoadError> {
        if duration > DURATION_MAX {
            return Err(LoadError::TooLong(duration));
        }
        let mut load = Self {
            sources: Vec::new(),
            first_ns: OVER,
            first: 0,
            others: BinaryHeap::new(),
            keys_max: 0,
            change_points: Vec::new(),
        };
        for (position, config) in configs.iter().enumerate() {
            let number = u16::try_from(position).map_err(|_| LoadError::TooMany(configs.len()))?;
            load.add(config, traces, duration, seed, number)
                .map_err(|problem| LoadError::Config {
                    number: position + 1,
                    problem,
                })?;
        }
        load.change_points.retain(|at| (1..duration.0).contains(at));
        load.change_points.sort_unstable();
        load.change_points.dedup();
        Ok(load)
    }

    /// When the next request comes, in nanoseconds; `None` if none is left.
    #[inline]
    pub fn next_at(&self) -> Option<u64> {
        (self.first_ns != OVER).then_some(self.first_ns)
    }

    /// The next request.
    ///
    /// # Panics
    ///
    /// If none is left; see [`next_at`](Self::next_at).
    #[inline]
    pub fn pop(&mut self) -> Arrival {
        let at_ns = self.first_ns;
        assert!(at_ns != OVER, "asked for only when there is a next arrival");
        let source = &mut self.sources[self.first as usize];
        let (key, cost) = source.take(at_ns);
        let load = source.load;
        self.first_ns = source.times.next().unwrap_or(OVER);
        debug_assert!(self.first_ns >= at_ns, "time goes back");
        self.put_in_order();
        Arrival {
            at_ns,
            key,
            cost,
            origin: Origin {
                load,
                tries: 0,
                client: 0,
            },
        }
    }

    /// All keys are below this number.
    pub fn keys_max(&self) -> u64 {
        self.keys_max
    }

    /// When the offered load changes by plan: steps, ramps, flashes, loads that begin or end. In
    /// order, each once, within the run.
    pub fn change_points(&self) -> &[u64] {
        &self.change_points
    }

    /// Exchanges the first source with the first of the others if that comes earlier.
    #[inline]
    fn put_in_order(&mut self) {
        let Some(mut other) = self.others.peek_mut() else {
            return;
        };
        let first = (self.first_ns, self.first);
        if other.0 < first {
            (self.first_ns, self.first) = other.0;
            if first.0 == OVER {
                PeekMut::pop(other);
            } else {
                other.0 = first;
            }
        }
    }

    fn add(
        &mut self,
        config: &LoadConfig,
        traces: &Traces,
        duration: Span,
        seed: u64,
        load: u16,
    ) -> Result<(), String> {
        config.check(duration)?;
        self.change_points.extend(config.change_points());
        if let Some(trace) = config.trace() {
            let replay = Replay::new(trace, config, traces, duration, seed, load)?;
            self.keys_max = self.keys_max.max(replay.keys_max());
            self.push(load, Times::Replay(Box::new(replay)), None);
            return Ok(());
        }
        let keys_max = config.keys.first.0 + config.keys.keys_max(duration);
        self.keys_max = self.keys_max.max(keys_max);
        let cost = config.cost.unwrap_or_default();
        // Two sources a load, each with streams of its own: a spike moves nothing else.
        let index = 2 * u64::from(load);
        let marks = |index| -> Result<Option<Marks>, String> {
            let keys = Keys::new(&config.keys, duration, seed, index)?;
            let costs = Costs::new(cost, seed, index)?;
            Ok(Some(Marks { keys, costs }))
        };
        if let Some(process) = Process::new(config, duration, seed, u64::from(load)) {
            self.push(load, Times::Process(Box::new(process)), marks(index)?);
        }
        if let Some(spike) = &config.spike {
            let spikes = Spikes::new(spike, config, duration, seed, u64::from(load));
            self.push(load, Times::Spikes(Box::new(spikes)), marks(index + 1)?);
        }
        Ok(())
    }

    fn push(&mut self, load: u16, mut times: Times, marks: Option<Marks>) {
        if let Some(at_ns) = times.next() {
            let position = u32::try_from(self.sources.len()).expect("two sources for each `u16`");
            self.sources.push(Source { load, times, marks });
            if self.first_ns != OVER {
                self.others.push(Reverse((self.first_ns, self.first)));
            }
            (self.first_ns, self.first) = (at_ns, position);
            self.put_in_order();
        }
    }
}

/// One stream of arrivals.
#[derive(Debug)]
struct Source {
    load: u16,
    times: Times,
    /// `None` if the times come with keys and costs.
    marks: Option<Marks>,
}

/// When requests come.
#[derive(Debug)]
enum Times {
    Process(Box<Process>),
    Spikes(Box<Spikes>),
    Replay(Box<Replay>),
}

/// The keys and costs of requests.
#[derive(Debug)]
struct Marks {
    keys: Keys,
    costs: Costs,
}

impl Source {
    /// Key and cost of the request at `at_ns`, the time that was last drawn.
    fn take(&mut self, at_ns: u64) -> (u32, u32) {
        match (&mut self.marks, &self.times) {
            (Some(marks), _) => (marks.keys.draw(at_ns), marks.costs.draw()),
            (None, Times::Replay(replay)) => replay.current(),
            (None, _) => unreachable!("only a trace has its own keys and costs"),
        }
    }
}

impl Times {
    /// The next time, no earlier than the one before; `None` when the load is over.
    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Process(process) => process.next(),
            Self::Spikes(spikes) => spikes.next(),
            Self::Replay(replay) => replay.next(),
        }
    }
}

/// Every whole number of nanoseconds up to here is exact in a double.
const DURATION_MAX: Span = Span(1 << 53);

/// No time of a run.
const OVER: u64 = u64::MAX;
