//! What a demo found: a table for people, one JSON object for machines.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::judged_limit;
use crate::demo::plan::Plan;
use crate::demo::run::Run;
use leasehold_judge::Judgement;

/// Both runs of a demo, judged.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    leased: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    central: Option<Outcome>,
    limit: String,
    seed: u64,
    store: String,
    #[serde(skip)]
    budget: u64,
}

/// One run, judged. Counts are of requests; each costs one token.
#[derive(Debug, Serialize)]
struct Outcome {
    seconds: f64,
    replicas: u32,
    offered: u64,
    admitted: u64,
    denied: u64,
    /// What the ideal bucket admits of the same arrivals.
    ideal_admitted: u64,
    /// Admitted over ideally admitted.
    utilisation: f64,
    /// Tokens beyond burst and rate in the worst window of the worst key, rounded up.
    overshoot_tokens: u64,
    /// Denials while nothing was scarce on their key.
    false_denials: u64,
    /// Part of the requests that were decided without waiting for the store.
    local_share: f64,
    /// Keys exchanged with the store.
    store_calls: u64,
    /// Network exchanges.
    store_round_trips: u64,
    /// Network exchanges as the server counted them.
    server_script_calls: Option<u64>,
    /// Keys exchanged as the server counted them.
    server_keys_written: Option<u64>,
    redis_cpu_us_per_decision: Option<f64>,
    decision_ns: Percentiles,
    /// Replicas that ended before their time.
    replicas_lost: Vec<u32>,
    /// Exchanges that failed.
    store_failures: u64,
}

/// Time from just before a decision to just after it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    p99: u64,
    pub(crate) p999: u64,
    max: u64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, leased: &Run, central: Option<&Run>) -> Self {
        let store = match (&plan.redis, plan.processes) {
            (Some(_), true) => "redis, a process per replica".to_owned(),
            (Some(_), false) => "redis".to_owned(),
            (None, _) => format!("embedded, {:?} away", plan.store_latency),
        };
        Self {
            leased: Outcome::new(plan, leased),
            central: central.map(|central| Outcome::new(plan, central)),
            limit: plan.limit.to_string(),
            seed: plan.seed,
            store,
            budget: plan.limit.overshoot(),
        }
    }

    /// Whether no run admitted more than its limit and budget allow.
    pub(crate) fn keeps_bound(&self) -> bool {
        let mut runs = std::iter::once(&self.leased).chain(&self.central);
        runs.all(|run| run.overshoot_tokens <= self.budget)
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut header = vec!["", "leased"];
        if self.central.is_some() {
            header.extend(["central", "leased : central"]);
        }
        table.set_header(header);
        for row in ROWS {
            let mut cells = vec![Cell::new(row.name), right((row.show)(&self.leased))];
            if let Some(central) = &self.central {
                cells.push(right((row.show)(central)));
                let ratio = row
                    .ratio
                    .and_then(|number| ratio(number(&self.leased), number(central)));
                cells.push(right(ratio.unwrap_or_default()));
            }
            table.add_row(cells);
        }
        let Outcome {
            replicas, seconds, ..
        } = self.leased;
        let head = format!(
            "{replicas} replicas share {} for {seconds:.1} s; store: {}; seed {}",
            self.limit, self.store, self.seed
        );
        format!("{head}\n{table}\n{}", self.verdict())
    }

    /// The last lines: what to make of it.
    fn verdict(&self) -> String {
        let mut lines = Vec::new();
        lines.push(match (self.keeps_bound(), self.budget) {
            (true, 0) => {
                "The bound held: admitted <= burst + rate x window, for every window.".to_owned()
            }
            (true, budget) => {
                format!("The bound held, with a budget of {budget} tokens of overshoot.")
            }
            (false, budget) => format!(
                "THE BOUND WAS EXCEEDED: more than burst + {budget} + rate x window was admitted."
            ),
        });
        for (name, run) in [
            ("leased", Some(&self.leased)),
            ("central", self.central.as_ref()),
        ] {
            let Some(run) = run else { continue };
            if !run.replicas_lost.is_empty() {
                lines.push(format!(
                    "{name}: replicas {:?} ended early.",
                    run.replicas_lost
                ));
            }
            if run.store_failures > 0 {
                lines.push(format!(
                    "{name}: {} exchanges with the store failed.",
                    run.store_failures
                ));
            }
            if !run.replicas_lost.is_empty() {
                continue;
            }
            for (what, counted, told) in [
                (
                    "script calls",
                    run.server_script_calls,
                    run.store_round_trips,
                ),
                ("keys", run.server_keys_written, run.store_calls),
            ] {
                if let Some(counted) = counted.filter(|counted| *counted != told) {
                    lines.push(format!(
                        "{name}: the server counted {counted} {what} where the replicas counted \
                         {told}; somebody else uses it, or answers were lost."
                    ));
                }
            }
        }
        lines.join("\n")
    }
}

impl Outcome {
    fn new(plan: &Plan, run: &Run) -> Self {
        let limit = judged_limit(&plan.limit).expect("checked when the plan was made");
        let judged = Judgement::of(&run.records, limit);
        let offered = judged.offered.requests;
        let sum = |count: fn(&crate::demo::replica::Summary) -> u64| {
            run.summaries
                .iter()
                .map(|(_, summary)| count(summary))
                .sum::<u64>()
        };
        let cpu = run.server.map(|server| server.cpu_micros);
        Self {
            seconds: run.seconds,
            replicas: plan.replicas,
            offered,
            admitted: judged.admitted.requests,
            denied: judged.denied.requests,
            ideal_admitted: judged.ideal_admitted.requests,
            utilisation: judged.utilisation.unwrap_or(1.0),
            overshoot_tokens: judged.overshoot.rounded_up(),
            false_denials: judged.false_denials,
            local_share: part(run.local, offered),
            store_calls: sum(|summary| summary.store_calls),
            store_round_trips: sum(|summary| summary.store_round_trips),
            server_script_calls: run.server.map(|server| server.script_calls),
            server_keys_written: run.server.map(|server| server.keys_written),
            redis_cpu_us_per_decision: cpu.map(|cpu| part(cpu, offered)),
            decision_ns: Percentiles::of(
                (run.records.iter()).map(|record| record.end_ns - record.start_ns),
            ),
            replicas_lost: run.lost.iter().map(|(replica, _)| *replica).collect(),
            store_failures: sum(|summary| summary.failed_batches),
        }
    }

    fn per_decision(&self, count: u64) -> f64 {
        part(count, self.offered)
    }
}

impl Percentiles {
    /// Of these times, in nanoseconds.
    pub(crate) fn of(each: impl IntoIterator<Item = u64>) -> Self {
        let mut times = Histogram::<u64>::new(3).expect("three digits are allowed");
        for time in each {
            // A histogram that grows by itself takes every value.
            times.record(time).expect("it grows");
        }
        Self {
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

/// A row of the table.
struct Row {
    name: &'static str,
    show: fn(&Outcome) -> String,
    /// What the two runs are compared by.
    ratio: Option<fn(&Outcome) -> f64>,
}

const ROWS: &[Row] = &[
    Row {
        name: "offered",
        show: |run| count(run.offered),
        ratio: None,
    },
    Row {
        name: "admitted",
        show: |run| count(run.admitted),
        ratio: None,
    },
    Row {
        name: "the ideal bucket admits",
        show: |run| count(run.ideal_admitted),
        ratio: None,
    },
    Row {
        name: "utilisation",
        show: |run| format!("{:.4}", run.utilisation),
        ratio: None,
    },
    Row {
        name: "overshoot, tokens",
        show: |run| count(run.overshoot_tokens),
        ratio: None,
    },
    Row {
        name: "false denials",
        show: |run| count(run.false_denials),
        ratio: None,
    },
    Row {
        name: "decided locally",
        show: |run| format!("{:.2} %", run.local_share * 100.0),
        ratio: None,
    },
    Row {
        name: "store round trips",
        show: |run| {
            let share = run.per_decision(run.store_round_trips) * 100.0;
            format!("{} ({share:.2} %)", count(run.store_round_trips))
        },
        ratio: Some(|run| run.per_decision(run.store_round_trips)),
    },
    Row {
        name: "keys exchanged",
        show: |run| count(run.store_calls),
        ratio: Some(|run| run.per_decision(run.store_calls)),
    },
    Row {
        name: "Redis CPU per decision",
        show: |run| match run.redis_cpu_us_per_decision {
            Some(micros) => format!("{micros:.2} us"),
            None => "-".to_owned(),
        },
        ratio: Some(|run| run.redis_cpu_us_per_decision.unwrap_or(0.0)),
    },
    Row {
        name: "decision, median",
        show: |run| time(run.decision_ns.p50),
        ratio: Some(|run| float(run.decision_ns.p50)),
    },
    Row {
        name: "decision, p99",
        show: |run| time(run.decision_ns.p99),
        ratio: Some(|run| float(run.decision_ns.p99)),
    },
    Row {
        name: "decision, p99.9",
        show: |run| time(run.decision_ns.p999),
        ratio: Some(|run| float(run.decision_ns.p999)),
    },
    Row {
        name: "decision, longest",
        show: |run| time(run.decision_ns.max),
        ratio: Some(|run| float(run.decision_ns.max)),
    },
];

pub(crate) fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// How many times less the one is than the other.
fn ratio(leased: f64, central: f64) -> Option<String> {
    let comparable = leased > 0.0 && central > 0.0;
    comparable.then(|| match central / leased {
        times if times >= 10.0 => format!("1 : {times:.0}"),
        times if times >= 1.0 => format!("1 : {times:.1}"),
        times => format!("{:.1} : 1", 1.0 / times),
    })
}

/// A count with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

fn time(nanos: u64) -> String {
    match nanos {
        0..10_000 => format!("{nanos} ns"),
        10_000..10_000_000 => format!("{:.1} us", float(nanos) / 1e3),
        _ => format!("{:.1} ms", float(nanos) / 1e6),
    }
}

fn part(of: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        float(of) / float(all)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(999), "999");
        assert_eq!(time(9_999), "9999 ns");
        assert_eq!(time(1_500_000), "1500.0 us");
        assert_eq!(ratio(1.0, 250.0).as_deref(), Some("1 : 250"));
        assert_eq!(ratio(3.0, 1.5).as_deref(), Some("2.0 : 1"));
        assert_eq!(ratio(0.0, 1.0), None);
    }
}
