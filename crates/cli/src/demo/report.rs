//! The report of a demo: a table for people, one JSON object for machines.

use comfy_table::Cell;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::demo::plan::Plan;
use crate::demo::run::Run;
use crate::limit_arguments::judged_limit;
use crate::output::{right, table};
use crate::simulate::number::{self, count};
use leasehold_judge::Judgement;
use leasehold_sim::numbers::{float, whole};

/// Both runs of a demo, judged.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// A signal ended it before its time: something is of a part, or was left out.
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    leased: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    central: Option<Outcome>,
    limit: String,
    seed: u64,
    store: String,
    #[serde(skip)]
    budget: u64,
    #[serde(skip)]
    planned: f64,
}

/// One run, judged. Counts are of requests; each costs one token.
#[derive(Debug, Serialize)]
struct Outcome {
    seconds: f64,
    replicas: u32,
    offered: u64,
    admitted: u64,
    denied: u64,
    /// Requests that the ideal bucket admits of the same arrivals.
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
    /// A signal ended it before its time.
    interrupted: bool,
    /// Incidents of the server in the meantime, a sentence each.
    incidents: Vec<String>,
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
    /// Judges the runs that took place.
    pub(crate) fn new(plan: &Plan, leased: Option<&Run>, central: Option<&Run>) -> Self {
        let store = match (&plan.redis, plan.processes) {
            (Some(_), true) => "redis, a process per replica".to_owned(),
            (Some(_), false) => "redis".to_owned(),
            (None, _) => format!("embedded, {:?} away", plan.store_latency),
        };
        let [leased, central] = [leased, central].map(|run| Some(Outcome::new(plan, run?)));
        let interrupted = leased.iter().chain(&central).any(|run| run.interrupted);
        Self {
            interrupted,
            leased,
            central,
            limit: plan.limit.to_string(),
            seed: plan.seed,
            store,
            budget: plan.limit.overshoot(),
            planned: plan.duration.as_secs_f64(),
        }
    }

    /// Each run that took place, by name.
    fn runs(&self) -> impl Iterator<Item = (&'static str, &Outcome)> {
        let runs = [("leased", &self.leased), ("central", &self.central)];
        runs.into_iter()
            .filter_map(|(name, run)| Some((name, run.as_ref()?)))
    }

    /// Both runs, if both are whole and can be compared.
    fn compared(&self) -> Option<(&Outcome, &Outcome)> {
        Some((self.leased.as_ref()?, self.central.as_ref()?)).filter(|_| !self.interrupted)
    }

    /// Whether no run admitted more than its limit and budget allow.
    pub(crate) fn keeps_bound(&self) -> bool {
        self.runs()
            .all(|(_, run)| run.overshoot_tokens <= self.budget)
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    pub(crate) fn text(&self) -> String {
        let Some((_, first)) = self.runs().next() else {
            return "nothing was run".to_owned();
        };
        let head = format!(
            "{} share {} for {:.1} s; store: {}; seed {}",
            number::plural(first.replicas as usize, "replica"),
            self.limit,
            first.seconds,
            self.store,
            self.seed
        );
        let parts = [
            vec![head],
            self.headlines(),
            vec![self.table()],
            self.verdict(),
        ];
        parts.concat().join("\n")
    }

    /// The headlines of a demo: whether the limit was kept and used, and what that cost the store.
    fn headlines(&self) -> Vec<String> {
        let Some(run) = &self.leased else {
            return Vec::new();
        };
        let accuracy = format!(
            "accuracy   overshoot {}; admitted {} of the {} that one ideal bucket admits",
            number::plural_of(run.overshoot_tokens, "token"),
            count(run.admitted),
            count(run.ideal_admitted),
        );
        let trips = number::plural_of(run.store_round_trips, "store round trip");
        let load = format!("store load {trips} for {} decisions", count(run.offered));
        let load = match self.compared() {
            Some((_, central)) => {
                let times = part(central.store_round_trips, run.store_round_trips.max(1));
                let central = count(central.store_round_trips);
                format!("{load}; centralised {central}, {times:.0} times as many")
            }
            None => load,
        };
        vec![accuracy, load]
    }

    fn table(&self) -> String {
        let runs: Vec<_> = self.runs().collect();
        let compared = self.compared();
        let heads = [""].into_iter().chain(runs.iter().map(|(name, _)| *name));
        let mut table = table(heads.chain(compared.map(|_| "leased : central")));
        for row in ROWS {
            let values = runs.iter().map(|(_, run)| (row.value)(run));
            let Some(values) = values.collect::<Option<Vec<f64>>>() else {
                continue;
            };
            let mut cells = vec![Cell::new(row.name)];
            cells.extend(row.shown.all(&values).into_iter().map(right));
            if let Some((leased, central)) = compared {
                let of = |run: &Outcome| row.ratio?(run);
                let ratio = of(leased).zip(of(central)).and_then(|(l, c)| ratio(l, c));
                cells.push(right(ratio.unwrap_or_default()));
            }
            table.add_row(cells);
        }
        table.to_string()
    }

    /// The last lines: what to make of it.
    fn verdict(&self) -> Vec<String> {
        let mut lines = vec![match (self.keeps_bound(), self.budget) {
            (true, 0) => {
                "The bound held: admitted <= burst + rate x window, for every window.".to_owned()
            }
            (true, budget) => {
                format!("The bound held, with a budget of {budget} tokens of overshoot.")
            }
            (false, budget) => format!(
                "THE BOUND WAS EXCEEDED: more than burst + {budget} + rate x window was admitted."
            ),
        }];
        for (name, run) in self.runs() {
            run.say_what_happened(name, &mut lines);
        }
        if let Some((name, run)) = self.runs().find(|(_, run)| run.interrupted) {
            let (seconds, planned) = (run.seconds, self.planned);
            let rest = match (&self.leased, &self.central) {
                (None, _) => "; the leased run was left out",
                (Some(_), Some(_)) => "; it is a part, and not compared with the whole other one",
                _ => "; all of this is of a part",
            };
            lines.push(format!(
                "INTERRUPTED after {seconds:.1} of {planned:.1} s of the {name} run{rest}."
            ));
        }
        lines
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
            interrupted: run.interrupted,
            incidents: run.incidents.clone(),
        }
    }

    fn per_decision(&self, count: u64) -> f64 {
        part(count, self.offered)
    }

    /// Adds notes on the run called `name`, a line each.
    fn say_what_happened(&self, name: &str, lines: &mut Vec<String>) {
        let mut say = |what: String| lines.push(format!("{name}: {what}"));
        self.incidents
            .iter()
            .for_each(|incident| say(format!("{incident}.")));
        if !self.replicas_lost.is_empty() {
            say(format!("replicas {:?} ended early.", self.replicas_lost));
        }
        if self.store_failures > 0 {
            let failures = number::plural_of(self.store_failures, "exchange");
            say(format!(
                "{failures} with the store failed; the run went on."
            ));
        }
        if !self.replicas_lost.is_empty() {
            return;
        }
        let counts = [
            (
                "script calls",
                self.server_script_calls,
                self.store_round_trips,
            ),
            ("keys", self.server_keys_written, self.store_calls),
        ];
        for (what, counted, told) in counts {
            if let Some(counted) = counted.filter(|counted| *counted != told) {
                say(format!(
                    "the server counted {counted} {what} where the replicas counted {told}; \
                     somebody else uses it, or answers were lost."
                ));
            }
        }
    }
}

impl Percentiles {
    /// Percentiles of times in nanoseconds.
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
    shown: Shown,
    /// None if nobody knows; then the row is left out.
    value: fn(&Outcome) -> Option<f64>,
    /// The number by which the two runs are compared.
    ratio: Option<fn(&Outcome) -> Option<f64>>,
}

/// How the values of a row are written: all in one unit.
enum Shown {
    Count,
    Fraction,
    Percent,
    Seconds,
}

impl Shown {
    fn all(&self, values: &[f64]) -> Vec<String> {
        let each = |show: fn(f64) -> String| values.iter().copied().map(show).collect();
        match self {
            Self::Count => each(|value| count(whole(value))),
            Self::Fraction => each(|value| format!("{value:.4}")),
            Self::Percent => each(|value| format!("{:.2} %", value * 100.0)),
            Self::Seconds => number::times_alike(values),
        }
    }
}

const fn row(name: &'static str, shown: Shown, value: fn(&Outcome) -> Option<f64>) -> Row {
    let ratio = None;
    Row {
        name,
        shown,
        value,
        ratio,
    }
}

impl Row {
    const fn compared_by(mut self, ratio: fn(&Outcome) -> Option<f64>) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// A row whose values are compared as they are.
    const fn compared(self) -> Self {
        let value = self.value;
        self.compared_by(value)
    }
}

const ROWS: &[Row] = &[
    row("offered", Shown::Count, |run| Some(float(run.offered))),
    row("admitted", Shown::Count, |run| Some(float(run.admitted))),
    row("the ideal bucket admits", Shown::Count, |run| {
        Some(float(run.ideal_admitted))
    }),
    row("utilisation", Shown::Fraction, |run| Some(run.utilisation)),
    row("overshoot, tokens", Shown::Count, |run| {
        Some(float(run.overshoot_tokens))
    }),
    row("false denials", Shown::Count, |run| {
        Some(float(run.false_denials))
    }),
    row("decided locally", Shown::Percent, |run| {
        Some(run.local_share)
    }),
    row("store round trips", Shown::Count, |run| {
        Some(float(run.store_round_trips))
    })
    .compared_by(|run| Some(run.per_decision(run.store_round_trips))),
    row("round trips per decision", Shown::Percent, |run| {
        Some(run.per_decision(run.store_round_trips))
    }),
    row("keys exchanged", Shown::Count, |run| {
        Some(float(run.store_calls))
    })
    .compared_by(|run| Some(run.per_decision(run.store_calls))),
    row("Redis CPU per decision", Shown::Seconds, |run| {
        Some(run.redis_cpu_us_per_decision? / 1e6)
    })
    .compared(),
    row("decision, median", Shown::Seconds, |run| {
        Some(float(run.decision_ns.p50) / 1e9)
    })
    .compared(),
    row("decision, p99", Shown::Seconds, |run| {
        Some(float(run.decision_ns.p99) / 1e9)
    })
    .compared(),
    row("decision, p99.9", Shown::Seconds, |run| {
        Some(float(run.decision_ns.p999) / 1e9)
    })
    .compared(),
    row("decision, longest", Shown::Seconds, |run| {
        Some(float(run.decision_ns.max) / 1e9)
    })
    .compared(),
];

/// How many times less the one is than the other.
fn ratio(leased: f64, central: f64) -> Option<String> {
    let comparable = leased > 0.0 && central > 0.0;
    comparable.then(|| match central / leased {
        times if times >= 10.0 => format!("1 : {times:.0}"),
        times if times >= 1.0 => format!("1 : {times:.1}"),
        times => format!("{:.1} : 1", 1.0 / times),
    })
}

fn part(of: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        float(of) / float(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_hundredth_is_said_as_a_ratio() {
        assert_eq!(ratio(1.0, 250.0).as_deref(), Some("1 : 250"));
        assert_eq!(ratio(3.0, 1.5).as_deref(), Some("2.0 : 1"));
        assert_eq!(ratio(0.0, 1.0), None);
    }

    fn outcome(interrupted: bool, longest_ns: u64) -> Outcome {
        let plan = crate::demo::arrivals::tests::plan();
        let mut run = Run {
            interrupted,
            seconds: 3.0,
            ..Run::default()
        };
        run.records.push(leasehold_judge::record::Record {
            start_ns: 0,
            end_ns: longest_ns,
            replica: 0,
            key: 0,
            cost: 1,
            admitted: true,
        });
        Outcome::new(&plan, &run)
    }

    fn report(leased: Option<Outcome>, central: Option<Outcome>) -> Report {
        let plan = crate::demo::arrivals::tests::plan();
        let interrupted = leased.iter().chain(&central).any(|run| run.interrupted);
        Report {
            interrupted,
            leased,
            central,
            ..Report::new(&plan, None, None)
        }
    }

    #[test]
    fn a_row_has_one_unit_and_the_most_telling_numbers_come_first() {
        let text = report(Some(outcome(false, 350)), Some(outcome(false, 1_500_000))).text();
        let longest = text
            .lines()
            .find(|line| line.contains("longest"))
            .expect("a row");
        assert!(
            longest.contains("0.35 µs") && longest.contains("1500 µs"),
            "{longest}"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("accuracy") && lines[2].starts_with("store load"),
            "{text}"
        );
        assert!(text.contains("leased : central"), "{text}");
    }

    /// A run that was cut short admits less and asks less: beside a whole one it would shine.
    #[test]
    fn a_part_of_a_run_is_said_to_be_one_and_is_not_compared() {
        let text = report(Some(outcome(true, 350)), Some(outcome(false, 350))).text();
        assert!(
            text.contains("INTERRUPTED after 3.0 of 10.0 s of the leased run"),
            "{text}"
        );
        assert!(
            !text.contains("leased : central") && !text.contains("times as many"),
            "{text}"
        );
        let report = report(None, Some(outcome(true, 350)));
        let text = report.text();
        assert!(text.contains("the leased run was left out"), "{text}");
        assert!(
            report.json().contains("\"interrupted\": true"),
            "{}",
            report.json()
        );
    }
}
