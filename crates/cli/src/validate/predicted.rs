//! The simulator's prediction of a real run, from the requests that came in it.
//!
//! # Invariant
//!
//! The simulator is told what came and how long exchanges took, and nothing of what came of it:
//! neither verdicts, nor how often the store was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_sim::load::{ArrivalsConfig, LoadConfig, Traces};
use leasehold_sim::network::Latency;
use leasehold_sim::numbers::{float, seconds};
use leasehold_sim::record::{Happening, Recorder};
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Scenario};
use leasehold_sim::trace::{Origin, Trace, TraceConfig};
use leasehold_sim::units::{Share, Span};

use super::error::ValidateError;
use super::figures::{Figures, quantile};
use super::observed::Observed;
use super::setting::Setting;

/// A real run, made ready to be simulated.
pub(crate) struct Prediction {
    scenario: Scenario,
    traces: Traces,
}

impl Prediction {
    pub(crate) fn new(setting: &Setting, observed: &Observed) -> Result<Self, ValidateError> {
        let mut traces = Traces::new();
        for (replica, requests) in observed.arrivals.iter().enumerate() {
            // A replica without load has nothing to replay, and is there all the same.
            if !requests.is_empty() {
                let trace = Trace::of(requests.clone());
                let trace = trace.map_err(|error| ValidateError::Simulated(error.to_string()))?;
                traces.insert(replica.to_string(), Arc::new(trace));
            }
        }
        let scenario = scenario(setting, &traces, &observed.exchanges_ns);
        scenario.check().map_err(ValidateError::Simulated)?;
        Ok(Self { scenario, traces })
    }

    /// One run of the simulator. Seeds differ in when which exchange is slow, and in all that a
    /// replica leaves to chance.
    pub(crate) fn figures(&self, seed: u64) -> Result<Figures, ValidateError> {
        let mut clock = ExchangeClock::default();
        let recorder: &mut dyn Recorder = &mut clock;
        let (scenario, traces) = (&self.scenario, &self.traces);
        let run = run_one(scenario, LEASED, seed, traces, false, Some(recorder));
        let it = run.map_err(ValidateError::Simulated)?.summary;
        clock.times_ns.sort_unstable();
        Ok(Figures {
            requests: float(it.requests),
            admitted: it.admitted * scenario.duration.as_secs_f64(),
            overshoot: it.overshoot,
            local: it.local,
            store_calls: it.store_calls,
            round_trips: it.round_trips,
            unanswered: float(clock.failed),
            exchange_p50: seconds(quantile(&clock.times_ns, 0.5)),
            exchange_p99: seconds(quantile(&clock.times_ns, 0.99)),
            wait_p50: it.wait_p50,
            wait_p99: it.wait_p99,
        })
    }
}

/// The scenario as its author would write it. The measured time of an exchange includes the
/// server's, so the simulated server takes none.
fn scenario(setting: &Setting, traces: &Traces, exchanges_ns: &[u64]) -> Scenario {
    let mut scenario = Scenario::new(&setting.title, setting.limit, setting.duration);
    scenario.fleet.replicas = setting.replicas;
    scenario.store.service = Span::ZERO;
    scenario.store.service_per_call = Span::ZERO;
    scenario.network.latency = Latency::Measured(quantiles(exchanges_ns));
    let load = |replica: &String| LoadConfig {
        arrivals: ArrivalsConfig::Trace(TraceConfig {
            path: replica.clone(),
            spread: None,
            origin: Origin::Zero,
            speed: 1.0,
            keys_max: None,
        }),
        replica: Some(replica.parse().expect("a trace is named by its replica")),
        ..LoadConfig::default()
    };
    scenario.loads = traces.keys().map(load).collect();
    scenario
}

/// Shares of the sorted times, and the time that each share takes at most.
fn quantiles(sorted: &[u64]) -> Vec<(Share, Span)> {
    let points = (sorted.len() as u64).clamp(1, POINTS_MAX);
    let point = |point| {
        let share = float(point) / float(points);
        let is_share = "a point is one of the points";
        (
            Share::new(share).expect(is_share),
            Span(quantile(sorted, share)),
        )
    };
    (1..=points).map(point).collect()
}

/// Times exchanges as they are seen by their replicas.
#[derive(Default)]
struct ExchangeClock {
    sent_ns: BTreeMap<u64, u64>,
    times_ns: Vec<u64>,
    failed: u64,
}

impl Recorder for ExchangeClock {
    fn record(&mut self, happening: &Happening<'_>) {
        match *happening {
            Happening::Sent { at_ns, call, .. } => {
                self.sent_ns.insert(call, at_ns);
            }
            Happening::Heard { at_ns, call, .. } => {
                let sent_ns = self.sent_ns.remove(&call);
                self.times_ns.extend(sent_ns.map(|sent_ns| at_ns - sent_ns));
            }
            Happening::Failed { .. } => self.failed += 1,
            _ => {}
        }
    }
}

/// Enough to tell the slowest of a thousand exchanges from the others.
const POINTS_MAX: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use leasehold_sim::trace::TracedRequest;

    use super::*;

    fn setting(limit: &str) -> Setting {
        let text = format!(
            "title = \"t\"\nlimit = \"{limit}\"\nreplicas = 3\noffered = \"1000/s\"\n\
             duration = \"2s\""
        );
        Setting::parse(Path::new("small.toml"), &text).unwrap()
    }

    /// A thousand requests a second to each of two replicas; the third has none.
    fn observed() -> Observed {
        let request = |n: u64| TracedRequest {
            time_ns: n * 1_000_000,
            key: 0,
            cost: 1,
        };
        let requests: Vec<_> = (0..2000).map(request).collect();
        Observed {
            figures: Figures::default(),
            arrivals: vec![requests.clone(), Vec::new(), requests],
            exchanges_ns: (1..=2000).map(|n| n * 1000).collect(),
            lateness_p99_ns: 0,
        }
    }

    #[test]
    fn a_prediction_is_of_the_requests_that_came_and_repeats_itself() {
        let prediction = Prediction::new(&setting("500/s burst 500"), &observed()).unwrap();
        let figures = prediction.figures(1).unwrap();
        assert_eq!(figures, prediction.figures(1).unwrap());
        assert!((figures.requests - 4000.0).abs() < 1e-9);
        // Burst and what two seconds add; what lies at a replica in the end is missing.
        assert!(
            (1400.0..1501.0).contains(&figures.admitted),
            "{}",
            figures.admitted
        );
        assert!(figures.overshoot.abs() < 1e-9);
    }

    #[test]
    fn exchanges_take_as_long_as_was_measured() {
        let prediction = Prediction::new(&setting("500/s burst 500"), &observed()).unwrap();
        let p50: Vec<f64> = (0..20)
            .map(|seed| prediction.figures(seed).unwrap().exchange_p50)
            .collect();
        let p50 = super::super::figures::median(&p50);
        assert!((0.0008..0.0012).contains(&p50), "{p50}");
    }

    #[test]
    fn quantiles_are_what_the_simulator_reads() {
        let half = Share::new(0.5).unwrap();
        let expected = [(half, Span(5)), (Share::ALL, Span(7))];
        assert_eq!(quantiles(&[5, 7]), expected);
        assert_eq!(quantiles(&[]), [(Share::ALL, Span::ZERO)]);
    }
}
