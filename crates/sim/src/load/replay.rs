//! A load that is a recorded trace.
//!
//! # Invariant
//!
//! Requests come in the order of the trace, from the beginning of the load on and before its end,
//! each with the key and the cost that were recorded. One that would come after the end ends the
//! load. Nothing of the trace is copied.

use std::sync::Arc;

use super::Traces;
use super::config::LoadConfig;
use super::spikes::Scatter;
use crate::numbers::{float, whole};
use crate::stream::{Stream, stream};
use crate::trace::{Origin, Spread, Trace, TraceConfig, TracedRequest};
use crate::units::Span;

/// Gives the requests of a trace.
#[derive(Debug)]
pub(super) struct Replay {
    trace: Arc<Trace>,
    random: Stream,
    spread: Option<Spread>,
    speed: f64,
    origin_ns: u64,
    from_ns: u64,
    until_ns: u64,
    first_key: u32,
    keys: u32,
    /// How many requests were given.
    given: usize,
    /// Requests of the stamp that is under way: how many, and how many of them are to come.
    of_stamp: usize,
    scatter: Scatter,
}

impl Replay {
    pub(super) fn new(
        config: &TraceConfig,
        load: &LoadConfig,
        traces: &Traces,
        duration: Span,
        seed: u64,
        position: u16,
    ) -> Result<Self, String> {
        let path = &config.path;
        let trace = traces
            .get(path)
            .ok_or_else(|| format!("the trace `{path}` was not read"))?;
        if let (Some(_), Some(line)) = (config.spread, trace.fraction()) {
            return Err(format!(
                "`trace.spread` is for stamps of whole units, but line {line} of `{path}` has a \
                 fraction: remove `spread`"
            ));
        }
        let keys_max = config.keys_max.map_or(u64::MAX, |count| count.0);
        let keys = u32::try_from(keys_max).map_or(trace.keys(), |max| max.min(trace.keys()));
        let first_key = u32::try_from(load.keys.first.0)
            .ok()
            .filter(|first| first.checked_add(keys).is_some())
            .ok_or("`keys.first` is so high that keys cannot be numbered: lower it")?;
        let replay = Self {
            random: stream(seed, "load-trace", u64::from(position)),
            spread: config.spread,
            speed: config.speed,
            origin_ns: match config.origin {
                Origin::Zero => 0,
                Origin::First => trace.requests()[0].time_ns,
            },
            from_ns: load.from.0,
            until_ns: load.until.unwrap_or(duration).0.min(duration.0),
            first_key,
            keys,
            given: 0,
            of_stamp: 0,
            scatter: Scatter::new(0),
            trace: Arc::clone(trace),
        };
        replay.check_begins_in_time(path)?;
        Ok(replay)
    }

    /// All keys are below this number.
    pub(super) fn keys_max(&self) -> u64 {
        u64::from(self.first_key) + u64::from(self.keys)
    }

    /// The next time; `None` when the load is over.
    pub(super) fn next(&mut self) -> Option<u64> {
        let stamp_ns = self.trace.requests().get(self.given)?.time_ns;
        let after_ns = self.after_stamp_ns(stamp_ns);
        self.given += 1;
        let at_ns = self.at_ns(stamp_ns, after_ns);
        (at_ns < self.until_ns).then_some(at_ns)
    }

    /// Key and cost of the request whose time was given last.
    pub(super) fn current(&self) -> (u32, u32) {
        let TracedRequest { key, cost, .. } = self.trace.requests()[self.given - 1];
        (self.first_key + key % self.keys, cost)
    }

    /// How long after its stamp the next request falls.
    fn after_stamp_ns(&mut self, stamp_ns: u64) -> u64 {
        let Some(spread) = self.spread else {
            return 0;
        };
        if self.scatter.left == 0 {
            let rest = &self.trace.requests()[self.given..];
            self.of_stamp = rest
                .iter()
                .take_while(|request| request.time_ns == stamp_ns)
                .count();
            self.scatter = Scatter::new(self.of_stamp as u64);
        }
        let unit_ns = self.trace.unit_ns();
        match spread {
            Spread::Uniform => self.scatter.next_ns(unit_ns, &mut self.random),
            Spread::Even => {
                let given = self.of_stamp as u64 - self.scatter.left;
                self.scatter.left -= 1;
                whole(float(unit_ns) * float(given) / float(self.of_stamp as u64))
            }
        }
    }

    fn at_ns(&self, stamp_ns: u64, after_ns: u64) -> u64 {
        let recorded_ns = (stamp_ns - self.origin_ns).saturating_add(after_ns);
        // Exact at the speed recorded: times of a run are exact in a double.
        let passed_ns = whole(float(recorded_ns) / self.speed);
        self.from_ns.saturating_add(passed_ns)
    }

    fn check_begins_in_time(&self, path: &str) -> Result<(), String> {
        let first_ns = self.trace.requests()[0].time_ns;
        let at_ns = self.at_ns(first_ns, 0);
        if self.from_ns >= self.until_ns || at_ns < self.until_ns {
            return Ok(());
        }
        Err(format!(
            "the first request of `{path}` comes at {} and the load is over at {}: make the run \
             longer, or count from the first request with `origin = \"first\"`",
            Span(at_ns),
            Span(self.until_ns),
        ))
    }
}
