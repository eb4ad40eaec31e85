//! The measurements of one cell, and the numbers that are read off them.

use hdrhistogram::Histogram;

use super::accuracy::Accuracy;
use super::server_cost::Cost;

/// One contender in one row, once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// From the first request to the last answer.
    pub(super) seconds: f64,
    pub(super) accuracy: Accuracy,
    pub(super) latency: Latency,
    pub(super) cost: Cost,
    /// Requests that were given up on, because too many were waiting.
    pub(super) given_up: u64,
}

/// How long decisions took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    /// From when a request was due. In a closed loop it is due when it is made.
    pub(super) response: Percentiles,
    /// From asking: what is late because the load was late is not in it.
    pub(super) service: Percentiles,
}

impl Latency {
    /// Of requests that are made when they are due.
    pub(super) fn of_closed_loop(times: Percentiles) -> Self {
        Self {
            response: times,
            service: times,
        }
    }
}

/// Times of decisions, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percentiles {
    pub(super) p50: u64,
    p99: u64,
    p999: u64,
    longest: u64,
}

impl Percentiles {
    /// The percentiles of these times; `longest` may have been seen apart.
    pub(super) fn of(times: &Histogram<u64>, longest: u64) -> Self {
        Self {
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            longest: times.max().max(longest),
        }
    }
}

/// A histogram of times in nanoseconds: three digits, up to a minute and then more.
pub(super) fn histogram() -> Histogram<u64> {
    let mut times = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("three digits do");
    times.auto(true);
    times
}

/// A number that is read off a cell, by name. One line here is a column of the table and a field of
/// the JSON.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    /// In the JSON, with its unit.
    pub(super) name: &'static str,
    /// In the table.
    pub(super) head: &'static str,
    /// Its unit.
    pub(super) unit: &'static str,
    pub(super) less_is_better: bool,
    pub(super) of: fn(&Figures) -> f64,
}

/// All measures, in the order of the columns.
pub(super) const MEASURES: &[Measure] = &[
    Measure {
        name: "decisions_per_s",
        head: "decisions",
        unit: "1/s",
        less_is_better: false,
        of: |it| per_second(it.accuracy.offered, it),
    },
    Measure {
        name: "admitted_per_s",
        head: "admitted",
        unit: "1/s",
        less_is_better: false,
        of: |it| per_second(it.accuracy.admitted, it),
    },
    Measure {
        name: "overshoot_tokens",
        head: "overshoot",
        unit: "tokens",
        less_is_better: true,
        of: |it| float(it.accuracy.overshoot),
    },
    Measure {
        name: "used_percent",
        head: "used",
        unit: "%",
        less_is_better: false,
        of: |it| it.accuracy.used() * 100.0,
    },
    Measure {
        name: "p50_us",
        head: "p50",
        unit: "µs",
        less_is_better: true,
        of: |it| micros(it.latency.response.p50),
    },
    Measure {
        name: "p99_us",
        head: "p99",
        unit: "µs",
        less_is_better: true,
        of: |it| micros(it.latency.response.p99),
    },
    Measure {
        name: "p999_us",
        head: "p99.9",
        unit: "µs",
        less_is_better: true,
        of: |it| micros(it.latency.response.p999),
    },
    Measure {
        name: "longest_us",
        head: "longest",
        unit: "µs",
        less_is_better: true,
        of: |it| micros(it.latency.response.longest),
    },
    Measure {
        name: "service_p999_us",
        head: "service p99.9",
        unit: "µs",
        less_is_better: true,
        of: |it| micros(it.latency.service.p999),
    },
    Measure {
        name: "commands_per_s",
        head: "commands",
        unit: "1/s",
        less_is_better: true,
        of: |it| per_second(it.cost.commands, it),
    },
    Measure {
        name: "scripts_per_s",
        head: "scripts",
        unit: "1/s",
        less_is_better: true,
        of: |it| per_second(it.cost.scripts, it),
    },
    Measure {
        name: "bytes_per_decision",
        head: "traffic",
        unit: "bytes/decision",
        less_is_better: true,
        of: |it| float(it.cost.bytes) / float(it.accuracy.offered),
    },
    Measure {
        name: "server_cpu_us_per_decision",
        head: "server CPU",
        unit: "µs/decision",
        less_is_better: true,
        of: |it| float(it.cost.cpu_micros) / float(it.accuracy.offered),
    },
    Measure {
        name: "given_up",
        head: "given up",
        unit: "requests",
        less_is_better: true,
        of: |it| float(it.given_up),
    },
];

/// The measure of that name.
///
/// # Panics
///
/// If there is none.
pub(super) fn measure(name: &str) -> &'static Measure {
    let found = MEASURES.iter().find(|measure| measure.name == name);
    found.expect("targets name measures that are there")
}

fn per_second(count: u64, figures: &Figures) -> f64 {
    float(count) / figures.seconds
}

fn micros(nanos: u64) -> f64 {
    float(nanos) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a number to be read")]
fn float(number: u64) -> f64 {
    number as f64
}
