//! One line per scenario: what it measured.

use std::sync::Once;

use crate::judge::{Judgement, Outcome, SECOND};
use crate::world::{Traffic, World};

/// What a scenario measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) judged: Judgement,
    pub(crate) traffic: Traffic,
    pub(crate) seconds: f64,
}

impl Report {
    /// Ends a scenario, measures it, and prints a line about it.
    pub(crate) fn of(name: &str, world: &mut World) -> Self {
        world.finish();
        world.check_books();
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let seconds = world.offered_ns() as f64 / SECOND as f64;
        let report = Self {
            judged: world.judge(),
            traffic: world.offered_traffic,
            seconds,
        };
        report.print(name, world);
        report
    }

    /// Admitted by what an ideal bucket would have.
    pub(crate) fn utilisation(&self) -> f64 {
        ratio(self.judged.admitted, self.judged.ideal)
    }

    /// Decided on the spot.
    pub(crate) fn local(&self) -> f64 {
        ratio(self.judged.local, self.judged.requests)
    }

    /// Round trips per decision.
    pub(crate) fn round_trip_share(&self) -> f64 {
        ratio(self.traffic.batches, self.judged.requests)
    }

    pub(crate) fn round_trips_per_second(&self) -> f64 {
        ratio(self.traffic.batches, 1) / self.seconds
    }

    /// Keys exchanged per second.
    pub(crate) fn calls_per_second(&self) -> f64 {
        ratio(self.traffic.calls, 1) / self.seconds
    }

    fn print(&self, name: &str, world: &World) {
        static HEADER: Once = Once::new();
        HEADER.call_once(|| {
            println!(
                "{:<34}{:>9}{:>9}{:>8}{:>6}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}{:>7}{:>7}{:>9}",
                "scenario",
                "offered/s",
                "admitted",
                "util %",
                "over",
                "local %",
                "calls/s",
                "spends/s",
                "trips/s",
                "trips %",
                "false",
                "early",
                "late",
                "wait p99"
            );
        });
        let judged = &self.judged;
        let mut waits: Vec<u64> = world
            .requests
            .iter()
            .filter_map(|request| match request.outcome {
                Outcome::Allowed { heard_ns, .. } | Outcome::Denied { heard_ns, .. } => {
                    Some(heard_ns - request.at_ns)
                }
                _ => None,
            })
            .collect();
        waits.sort_unstable();
        let late = world
            .requests
            .iter()
            .filter(|request| request.outcome == Outcome::Waiting)
            .count();
        let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or(0);
        println!(
            "{name:<34}{:>9.0}{:>9}{:>8.2}{:>6}{:>8.2}{:>9.1}{:>9.1}{:>9.1}{:>8.2}{:>8}{:>7}{late:>7}{:>8.1}ms",
            ratio(judged.requests, 1) / self.seconds,
            judged.admitted,
            self.utilisation() * 100.0,
            judged.overshoot,
            self.local() * 100.0,
            self.calls_per_second(),
            ratio(self.traffic.spends, 1) / self.seconds,
            self.round_trips_per_second(),
            self.round_trip_share() * 100.0,
            judged.false_denials,
            judged.early_denials,
            ratio(p99, 1_000_000),
        );
    }
}

/// A part of a whole; 1 if there is no whole.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let ratio = part as f64 / whole as f64;
    if whole == 0 { 1.0 } else { ratio }
}
