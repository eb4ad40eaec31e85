//! A summary of what the judge found and the meters read.

use crate::metrics::Summary;
use crate::numbers::float;
use crate::report::{Run, Slice};
use crate::scenario::Scenario;
use crate::units::Span;
use crate::world::Outcome;
use leasehold_judge::Convergence;

impl Outcome {
    /// The summary of a run, and its course.
    pub(crate) fn into_run(self, scenario: &Scenario, seed: u64) -> Run {
        Run {
            seed,
            summary: self.summary(scenario),
            series: self.series(scenario),
            events: self.events,
        }
    }

    fn summary(&self, scenario: &Scenario) -> Summary {
        let (findings, readings) = (&self.findings, &self.readings);
        let seconds = readings.seconds;
        let volumes = &findings.measured;
        let worst = findings
            .limits
            .iter()
            .zip(&scenario.limits)
            .map(|(found, promised)| {
                let overshoot = found.overshoot.as_f64();
                let budget = float(promised.limit.overshoot());
                let burst = float(promised.limit.burst());
                (overshoot, (overshoot - budget).max(0.0), overshoot / burst)
            });
        let (overshoot, excess, overshoot_share) = worst.fold((0.0, 0.0, 0.0), |most, one| {
            let (overshoot, excess, share): (f64, f64, f64) = most;
            (overshoot.max(one.0), excess.max(one.1), share.max(one.2))
        });
        let peaks = findings.limits.iter().map(|found| found.peak_second.ratio);
        let traffic = &readings.store;
        let store_calls = float(traffic.calls) / seconds;
        let store_peak = float(traffic.calls_peak) * 10.0;
        let waits = |quantile| time(readings.waits.value_at_quantile(quantile));
        let utilisation = findings.utilisation;
        let never = scenario.duration.as_secs_f64();
        let longest = |after: fn(&Convergence) -> Option<u64>| {
            let all = findings.convergence.iter();
            let all = all.map(|it| after(it).map_or(never, time));
            all.fold(0.0, f64::max)
        };
        Summary {
            requests: findings.total.offered.requests,
            offered: float(volumes.offered.requests) / seconds,
            admitted: float(volumes.admitted.tokens) / seconds,
            ideal: float(volumes.ideal_admitted.tokens) / seconds,
            utilisation,
            deficit: utilisation.map(|it| (1.0 - it).max(0.0)),
            deficit_max: float(findings.deficit.most_tokens),
            overshoot,
            excess,
            overshoot_share,
            peak_1s: peaks.fold(0.0, f64::max),
            false_denials: findings.false_denials,
            false_denial_share: findings.false_denial_share().unwrap_or(0.0),
            cold_denials: findings.first_denials,
            disagreement: findings.disagreement_share().unwrap_or(0.0),
            local: float(readings.local) / float(readings.decided.max(1)),
            store_calls,
            round_trips: float(traffic.messages + traffic.scripts_missing) / seconds,
            store_bytes: float(traffic.bytes_in + traffic.bytes_out) / seconds,
            store_peak,
            herd: if store_calls > 0.0 {
                store_peak / store_calls
            } else {
                0.0
            },
            store_busy: time(traffic.busy_ns) / seconds,
            fairness: findings.fairness.map_or(1.0, |it| it.jain_mean),
            fairness_p5: findings.fairness.map_or(1.0, |it| it.jain_low),
            starvation: findings.starvation.map_or(0.0, |it| time(it.longest_ns)),
            convergence: longest(|it| it.by_seconds_ns),
            convergence_tenths: longest(|it| it.by_tenths_ns),
            wait_p50: waits(0.5),
            wait_p99: waits(0.99),
            wait_max: time(readings.waits.max()),
            latency_p99: self.latency(0.99),
            latency_p999: self.latency(0.999),
            queue_p99: time(readings.queueing.value_at_quantile(0.99)),
            stranded: readings.held_mean,
            stranded_max: readings.held_max,
            lost: readings.lost,
            tries: readings.tries,
            store_keys: readings.keys,
            replica_keys: readings.replica_keys,
        }
    }

    /// Over all requests: those decided on the spot took no time.
    fn latency(&self, quantile: f64) -> f64 {
        let decided = float(self.readings.decided.max(1));
        let local = float(self.readings.local) / decided;
        if quantile <= local {
            return 0.0;
        }
        let among_waiting = (quantile - local) / (1.0 - local);
        time(self.readings.waits.value_at_quantile(among_waiting))
    }

    fn series(&self, scenario: &Scenario) -> Vec<Slice> {
        let seconds = scenario.slice.as_secs_f64();
        let volumes = &self.findings.series.slices;
        let slices = volumes.iter().zip(&self.readings.series);
        let slices = slices.map(|(volumes, store)| Slice {
            at: time(store.at_ns),
            offered: float(volumes.offered.tokens) / seconds,
            admitted: float(volumes.admitted.tokens) / seconds,
            ideal: float(volumes.ideal_admitted.tokens) / seconds,
            calls: float(store.calls) / seconds,
            held: store.held,
        });
        slices.collect()
    }
}

/// In seconds.
fn time(ns: u64) -> f64 {
    Span(ns).as_secs_f64()
}
