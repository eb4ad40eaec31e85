//! The measures that tables show: a handful of all there are.

use leasehold_sim::metrics::{self, Metric};
use leasehold_sim::report::LimiterReport;

use super::number;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    name: &'static str,
    /// Whether the worst seed speaks rather than the mean: an overshoot that happens once happens.
    worst: bool,
}

impl Column {
    const fn mean(head: &'static str, name: &'static str) -> Self {
        let worst = false;
        Self { head, name, worst }
    }

    const fn worst(head: &'static str, name: &'static str) -> Self {
        let worst = true;
        Self { head, name, worst }
    }

    pub(crate) fn metric(&self) -> &'static Metric {
        metrics::find(self.name).expect("columns are of measures that there are")
    }

    /// The column's cell in the row of `limiter`.
    pub(crate) fn text(&self, limiter: &LimiterReport) -> String {
        let metric = self.metric();
        match limiter.spread(metric) {
            None => "–".to_owned(),
            Some(spread) if self.worst => number::shown(metric.shown, spread.max),
            Some(spread) => number::with_margin(metric.shown, spread.mean, spread.margin),
        }
    }
}

/// The chief measures of a run: its load, its accuracy, and what it asks of the store.
pub(crate) const CHIEF: &[Column] = &[
    Column::mean("offered /s", "offered"),
    Column::mean("admitted /s", "admitted"),
    Column::mean("utilisation", "utilisation"),
    Column::worst("overshoot, max", "overshoot"),
    Column::mean("false denials", "false-denials"),
    Column::mean("local", "local"),
    Column::mean("store calls /s", "store-calls"),
    Column::mean("round trips /s", "round-trips"),
    Column::mean("p99, all", "latency-p99"),
    Column::mean("p99, if waited", "wait-p99"),
];

/// Accuracy against what it costs the store.
pub(crate) const TRADE: &[Column] = &[
    Column::worst("overshoot, max", "overshoot"),
    Column::worst("of burst", "overshoot-share"),
    Column::mean("deficit", "deficit"),
    Column::mean("false denials", "false-denials"),
    Column::mean("store calls /s", "store-calls"),
    Column::mean("round trips /s", "round-trips"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::limiter;

    #[test]
    fn every_column_has_its_measure() {
        for column in CHIEF.iter().chain(TRADE) {
            assert_eq!(column.metric().name, column.name);
        }
    }

    #[test]
    fn the_worst_seed_speaks_for_overshoot_and_the_mean_for_the_rest() {
        let mut report = limiter("leased", 10.0, 0.1);
        let mut other = report.runs[0].clone();
        other.summary.overshoot_share = 0.3;
        other.summary.store_calls = 20.0;
        report.runs.push(other);
        assert_eq!(TRADE[1].text(&report), "30.00 %");
        // Student's t with one degree of freedom is 12.7; the deviation over its root is 5.
        assert_eq!(TRADE[4].text(&report), "15 ± 64");
        report.runs[0].summary.deficit = None;
        assert_eq!(TRADE[2].text(&report), "–");
    }
}
