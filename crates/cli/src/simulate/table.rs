//! Results on a terminal: a table per scenario, and the expectations that were not met.
//!
//! Nothing here depends on how long anything took, so the same seeds print the same bytes.

use comfy_table::Cell;
use leasehold_sim::report::{Check, LimiterReport, PointReport, Report, ScenarioReport};

use super::columns::{CHIEF, TRADE};
use super::job::Job;
use super::{number, pareto};
use crate::output::{right, table};

/// A scenario's title and its table.
pub(crate) fn scenario(scenario: &ScenarioReport) -> String {
    let labelled = scenario.points.iter().any(|point| !point.label.is_empty());
    let heads = ["point"].into_iter().filter(|_| labelled);
    let heads = heads.chain(["limiter"]);
    let mut table = table(heads.chain(CHIEF.iter().map(|column| column.head)));
    for point in &scenario.points {
        for (index, limiter) in point.limiters.iter().enumerate() {
            let mut row = Vec::new();
            if labelled {
                row.push(Cell::new(said_once(&point.label, index)));
            }
            row.push(Cell::new(&limiter.limiter));
            row.extend(CHIEF.iter().map(|column| right(column.text(limiter))));
            table.add_row(row);
        }
    }
    format!("{}: {}\n{table}", scenario.name, scenario.title)
}

/// A sweep as a trade: accuracy on the left, load of the store on the right.
pub(crate) fn trade(scenario: &ScenarioReport) -> String {
    let fields = scenario.points[0].settings.iter();
    let heads = fields.map(|(field, _)| field.as_str()).chain(["limiter"]);
    let heads = heads.chain(TRADE.iter().map(|column| column.head));
    let mut table = table(heads.chain([""]));
    let groups = pareto::groups(scenario);
    let members = || groups.iter().flat_map(|group| &group.members);
    for (position, point) in scenario.points.iter().enumerate() {
        for (index, limiter) in point.limiters.iter().enumerate() {
            let best =
                members().any(|it| (it.point, it.limiter, it.best) == (position, index, true));
            table.add_row(trade_row(point, limiter, index, best));
        }
    }
    let compared = if groups.len() > 1 {
        " in the same circumstances"
    } else {
        ""
    };
    format!(
        "{}: {}\n{table}\n* nothing else{compared} has both fewer store calls and less error: the \
         larger of overshoot, as a share of the burst, and deficit",
        scenario.name, scenario.title
    )
}

fn trade_row(point: &PointReport, limiter: &LimiterReport, index: usize, best: bool) -> Vec<Cell> {
    let settings = point.settings.iter();
    let mut row: Vec<Cell> = settings
        .map(|(_, value)| right(said_once(value, index).to_owned()))
        .collect();
    row.push(Cell::new(&limiter.limiter));
    row.extend(TRADE.iter().map(|column| right(column.text(limiter))));
    row.push(Cell::new(if best { "*" } else { "" }));
    row
}

/// The expectations that were not met, each with the command that shows it again.
pub(crate) fn failures(report: &Report, job: &Job) -> String {
    let mut text = String::new();
    for (position, scenario) in report.scenarios.iter().enumerate() {
        for point in &scenario.points {
            for check in point.checks.iter().filter(|check| !check.met) {
                let replay = job.replay(position, &point.label, check.seed);
                text.push_str(&failure(scenario, point, check, &replay));
            }
        }
    }
    text
}

fn failure(scenario: &ScenarioReport, point: &PointReport, check: &Check, replay: &str) -> String {
    let at = match point.label.as_str() {
        "" => String::new(),
        label => format!(", {label}"),
    };
    format!(
        "failed: {}{at}: expected {}, measured {}, seed {}\n        {replay}\n",
        scenario.name,
        expected(check),
        measured(check),
        check.seed
    )
}

/// The expectation's bound, with the number that it came to if it was a formula.
pub(crate) fn expected(check: &Check) -> String {
    let bound = check.bound;
    let last = check.expected.rsplit([' ', '=', '<', '>']).next();
    let is_number = last.is_some_and(|last| last.trim_end_matches('%').parse::<f64>().is_ok());
    let is_plain = is_number && !check.expected.contains(['*', '/', '+', '(']);
    if is_plain || bound.is_nan() {
        check.expected.clone()
    } else {
        format!("{} (= {})", check.expected, exact(bound))
    }
}

/// The measured number, with digits enough to set it apart from the bound.
pub(crate) fn measured(check: &Check) -> String {
    let Some(measured) = check.measured else {
        return "nothing".to_owned();
    };
    let text = exact(measured);
    if text == exact(check.bound) && !check.met {
        measured.to_string()
    } else {
        text
    }
}

fn exact(number: f64) -> String {
    let decimals = match number.abs() {
        1000.0.. => 1,
        1.0.. => 3,
        _ => 6,
    };
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The last line: how much was run, and whether all was well.
pub(crate) fn verdict(report: &Report) -> String {
    let all = report.checks().count();
    let failed = report.checks().filter(|check| !check.met).count();
    let outcome = match (all, failed) {
        (0, _) => String::new(),
        (1, 0) => ": the expectation was met".to_owned(),
        (_, 0) => format!(": all {} were met", number::plural(all, "expectation")),
        _ => format!(
            ": {failed} of {} failed",
            number::plural(all, "expectation")
        ),
    };
    counts(report) + &outcome
}

/// How much was run.
pub(crate) fn counts(report: &Report) -> String {
    let points = || report.scenarios.iter().flat_map(|it| &it.points);
    let limiters = points().flat_map(|point| &point.limiters);
    let runs = limiters.map(|limiter| limiter.runs.len()).sum();
    format!(
        "{}, {}, {}, {} requests",
        number::plural(report.scenarios.len(), "scenario"),
        number::plural(points().count(), "point"),
        number::plural(runs, "run"),
        number::many(report.requests()),
    )
}

/// Only the first line of a point says which it is.
fn said_once(text: &str, index: usize) -> &str {
    if index == 0 { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn a_table_says_a_point_once_and_every_limiter() {
        let report = samples::report();
        let text = scenario(&report.scenarios[0]);
        assert!(text.starts_with("sample: a <sample> & more\n"));
        assert_eq!(text.matches("replicas=10").count(), 1);
        assert_eq!(text.matches("central").count(), 2);
        assert!(text.contains("99.93 %"), "{text}");
    }

    #[test]
    fn a_trade_marks_what_nothing_beats() {
        let report = samples::report();
        let text = trade(&report.scenarios[0]);
        let marked = text
            .lines()
            .filter(|line| line.contains("┆ * ") || line.contains("* │"));
        assert_eq!(marked.count(), 2, "{text}");
        assert!(
            text.contains("\n* nothing else in the same circumstances"),
            "{text}"
        );
    }

    #[test]
    fn the_verdict_counts() {
        let mut report = samples::report();
        let counts = "1 scenario, 2 points, 4 runs, 4 k requests: ";
        assert_eq!(
            verdict(&report),
            format!("{counts}1 of 4 expectations failed")
        );
        report.scenarios[0].points[1].checks.pop();
        assert_eq!(
            verdict(&report),
            format!("{counts}all 3 expectations were met")
        );
        for point in &mut report.scenarios[0].points {
            point.checks.clear();
        }
        assert_eq!(verdict(&report), counts.trim_end_matches(": "));
    }

    #[test]
    fn an_expected_formula_comes_with_its_value() {
        let mut check = samples::check(false);
        assert_eq!(expected(&check), "store-calls <= 5");
        assert_eq!(measured(&check), "6.5");
        check.expected = "store-calls <= 1.2 * rate / 10".to_owned();
        check.bound = 120.0;
        assert_eq!(expected(&check), "store-calls <= 1.2 * rate / 10 (= 120)");
        check.expected = "overshoot <= budgeted".to_owned();
        assert_eq!(expected(&check), "overshoot <= budgeted (= 120)");
        check.measured = Some(120.000_000_01);
        assert_eq!(measured(&check), "120.00000001");
        check.measured = None;
        assert_eq!(measured(&check), "nothing");
    }
}
