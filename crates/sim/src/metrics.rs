//! Measures of a run, by name: for tables, files, plots and expectations alike.

use crate::numbers::float;
use serde::Serialize;

/// The measures of one run. Rates are per second of the measured time, which begins after the
/// warm-up; overshoot is measured over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Requests that came, whole run.
    pub requests: u64,
    /// Requests offered per second.
    pub offered: f64,
    /// Tokens admitted per second.
    pub admitted: f64,
    /// Tokens that one ideal bucket per key admits of the same arrivals, per second.
    pub ideal: f64,
    /// Admitted over ideal.
    pub utilisation: Option<f64>,
    /// The share that is missing of the ideal.
    pub deficit: Option<f64>,
    /// Most tokens that the ideal was ahead at any time.
    pub deficit_max: f64,
    /// Tokens beyond burst + rate x window, in the worst window of the worst key.
    pub overshoot: f64,
    /// Tokens beyond burst + overshoot budget + rate x window.
    pub excess: f64,
    /// Overshoot over burst.
    pub overshoot_share: f64,
    /// Tokens admitted in the worst second, over rate + burst.
    pub peak_1s: f64,
    /// Requests denied although nothing was scarce on their keys.
    pub false_denials: u64,
    /// False denials as a share of all requests.
    pub false_denial_share: f64,
    /// Keys whose very first request was denied although the ideal admits it.
    pub cold_denials: u64,
    /// Share of requests decided in another way than by the ideal.
    pub disagreement: f64,
    /// Share of requests decided without waiting.
    pub local: f64,
    /// Calls per second that the store executed: one per key of each message.
    pub store_calls: f64,
    /// Messages per second.
    pub round_trips: f64,
    /// Bytes per second, both ways.
    pub store_bytes: f64,
    /// Most calls in 100 ms, per second.
    pub store_peak: f64,
    /// Peak over mean.
    pub herd: f64,
    /// Share of the time in which the store was busy.
    pub store_busy: f64,
    /// Jain's index over replicas, each against its fair share: mean over seconds.
    pub fairness: f64,
    /// The index that 95 % of the seconds are above.
    pub fairness_p5: f64,
    /// Longest time in seconds for which a replica with demand got nothing while others did.
    pub starvation: f64,
    /// Longest time in seconds from a change until the admissions of every second are within 5 % of
    /// the rate of the ideal's.
    pub convergence: f64,
    /// The convergence by tenths of a second. Leased tokens come in lumps, so it may never be.
    pub convergence_tenths: f64,
    /// The median wait of the requests that waited, in seconds.
    pub wait_p50: f64,
    /// The wait of the slowest hundredth of the requests that waited, in seconds.
    pub wait_p99: f64,
    /// The time to decide, p99 of all requests, in seconds.
    pub latency_p99: f64,
    /// The time to decide, p99.9 of all requests, in seconds.
    pub latency_p999: f64,
    /// Longest wait, in seconds.
    pub wait_max: f64,
    /// Tokens that lie at replicas unspent: mean over time.
    pub stranded: f64,
    /// The most tokens stranded at any time.
    pub stranded_max: u64,
    /// Tokens that went with replicas that were killed.
    pub lost: u64,
    /// Tries per request that clients wanted.
    pub tries: f64,
    /// Keys that the store remembers at the end.
    pub store_keys: u64,
    /// Most keys that one replica remembers at the end of demand.
    pub replica_keys: u64,
    /// Store time lost: seconds that messages waited for the store, 99th percentile.
    pub queue_p99: f64,
}

/// A measure.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As scenarios and files name it.
    pub name: &'static str,
    /// The unit of the number; empty for a share or a ratio.
    pub unit: &'static str,
    /// The meaning of the measure.
    pub text: &'static str,
    /// How it is shown.
    pub shown: Shown,
    /// Its value in a run, if it has one.
    pub read: fn(&Summary) -> Option<f64>,
}

/// How a number is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// As it is.
    Number,
    /// In percent.
    Percent,
    /// As a span of time.
    Time,
}

/// The measure called `name`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// A message about a name that no measure has.
pub fn unknown(name: &str) -> String {
    let close = METRICS.iter().filter(|metric| {
        let (name, known) = (name.as_bytes(), metric.name.as_bytes());
        let same = name.iter().filter(|byte| known.contains(byte)).count();
        same * 10 >= name.len() * 9 && known.first() == name.first()
    });
    let close: Vec<&str> = close.map(|metric| metric.name).collect();
    let all: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    match close.as_slice() {
        [] => format!(
            "nothing measured is called `{name}`; there are {}",
            all.join(", ")
        ),
        close => format!(
            "nothing measured is called `{name}`; is it {}?",
            close.join(" or ")
        ),
    }
}

macro_rules! metrics {
    ($($name:literal, $unit:literal, $shown:ident, $read:expr, $text:literal;)*) => {
        &[$(Metric {
            name: $name,
            unit: $unit,
            text: $text,
            shown: Shown::$shown,
            read: $read,
        }),*]
    };
}

/// All measures, in the order in which tables show them.
pub const METRICS: &[Metric] = metrics! {
    "requests", "", Number, |it| Some(float(it.requests)), "requests that came, whole run";
    "offered", "/s", Number, |it| Some(it.offered), "requests per second";
    "admitted", "/s", Number, |it| Some(it.admitted), "tokens admitted per second";
    "ideal", "/s", Number, |it| Some(it.ideal), "tokens per second that one bucket per key admits";
    "utilisation", "", Percent, |it| it.utilisation, "admitted over ideal";
    "deficit", "", Percent, |it| it.deficit, "what is missing of the ideal";
    "deficit-max", "tokens", Number, |it| Some(it.deficit_max), "most that the ideal was ahead";
    "overshoot", "tokens", Number, |it| Some(it.overshoot),
        "beyond burst + rate x window, worst window of the worst key";
    "excess", "tokens", Number, |it| Some(it.excess), "beyond burst + overshoot + rate x window";
    "overshoot-share", "", Percent, |it| Some(it.overshoot_share), "overshoot over burst";
    "peak-1s", "", Percent, |it| Some(it.peak_1s), "worst second over rate + burst";
    "false-denials", "", Percent, |it| Some(it.false_denial_share),
        "denied although nothing was scarce, share of requests";
    "false-denial-count", "", Number, |it| Some(float(it.false_denials)),
        "denied although nothing was scarce";
    "cold-denials", "keys", Number, |it| Some(float(it.cold_denials)), "first requests denied";
    "disagreement", "", Percent, |it| Some(it.disagreement),
        "decided in another way than by the ideal";
    "local", "", Percent, |it| Some(it.local), "decided without waiting";
    "store-calls", "/s", Number, |it| Some(it.store_calls), "calls that the store executed";
    "round-trips", "/s", Number, |it| Some(it.round_trips), "messages to the store";
    "store-bytes", "B/s", Number, |it| Some(it.store_bytes), "both ways";
    "store-peak", "/s", Number, |it| Some(it.store_peak), "calls in the worst 100 ms";
    "herd", "", Number, |it| Some(it.herd), "peak over mean of store calls";
    "store-busy", "", Percent, |it| Some(it.store_busy), "share of the time the store is busy";
    "fairness", "", Number, |it| Some(it.fairness), "Jain's index over replicas";
    "fairness-p5", "", Number, |it| Some(it.fairness_p5), "in 95 % of the seconds";
    "starvation", "s", Time, |it| Some(it.starvation), "longest time one replica got nothing";
    "convergence", "s", Time, |it| Some(it.convergence), "until the ideal is followed again";
    "convergence-tenths", "s", Time, |it| Some(it.convergence_tenths), "the same by tenths of \
     seconds";
    "wait-p50", "s", Time, |it| Some(it.wait_p50), "of those that waited";
    "wait-p99", "s", Time, |it| Some(it.wait_p99), "of those that waited";
    "wait-max", "s", Time, |it| Some(it.wait_max), "longest wait";
    "latency-p99", "s", Time, |it| Some(it.latency_p99), "of all requests";
    "latency-p999", "s", Time, |it| Some(it.latency_p999), "of all requests";
    "queue-p99", "s", Time, |it| Some(it.queue_p99), "messages waiting for the store";
    "stranded", "tokens", Number, |it| Some(it.stranded), "lying at replicas, mean";
    "stranded-max", "tokens", Number, |it| Some(float(it.stranded_max)), "lying at replicas, most";
    "lost", "tokens", Number, |it| Some(float(it.lost)), "gone with killed replicas";
    "tries", "", Number, |it| Some(it.tries), "tries per request that was wanted";
    "replica-keys", "keys", Number, |it| Some(float(it.replica_keys)), "remembered by a replica, \
     most";
    "store-keys", "keys", Number, |it| Some(float(it.store_keys)), "remembered at the end";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_a_slip_is_met_with_the_right_name() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(
                METRICS[..index]
                    .iter()
                    .all(|other| other.name != metric.name)
            );
            assert_eq!(find(metric.name).unwrap().name, metric.name);
        }
        assert!(
            unknown("overshot").contains("is it overshoot"),
            "{}",
            unknown("overshot")
        );
        assert!(unknown("xyz").contains("there are requests"));
    }
}
