//! Tables of the page: the chief measures, all measures, and the numbers behind a plot.

use leasehold_plot::Style;
use leasehold_plot::markup::{put, text};
use leasehold_sim::metrics::METRICS;
use leasehold_sim::report::{Check, PointReport, ScenarioReport};

use crate::simulate::columns::CHIEF;
use crate::simulate::{number, table};

/// The numbers behind a plot, folded.
pub(crate) fn numbers(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<details class=\"numbers\"><summary>Numbers</summary>");
    put!(html, "{WIDE}<table><thead><tr>");
    for head in heads {
        put!(html, "<th scope=\"col\">{}</th>", text(head));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            put!(html, "<td>{}</td>", text(&cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div></details>");
    html
}

/// The chief measures, folded: a line per limiter.
pub(super) fn chief(scenario: &ScenarioReport) -> String {
    let labelled = scenario.points.iter().any(|point| !point.label.is_empty());
    let mut html = format!("<details><summary>The numbers</summary>{WIDE}<table><thead><tr>");
    if labelled {
        html.push_str("<th scope=\"col\" class=\"name\">point</th>");
    }
    html.push_str("<th scope=\"col\" class=\"name\">limiter</th>");
    for column in CHIEF {
        let says = column.metric().text;
        put!(
            html,
            "<th scope=\"col\" title=\"{}\">{}</th>",
            text(says),
            text(column.head)
        );
    }
    html.push_str("</tr></thead>");
    for point in &scenario.points {
        html.push_str(if labelled {
            "<tbody class=\"group\">"
        } else {
            "<tbody>"
        });
        for (index, limiter) in point.limiters.iter().enumerate() {
            html.push_str("<tr>");
            if labelled && index == 0 {
                let rows = point.limiters.len();
                let label = text(&point.label);
                put!(
                    html,
                    "<th scope=\"rowgroup\" class=\"name point\" rowspan=\"{rows}\">{label}</th>"
                );
            }
            put!(
                html,
                "<th scope=\"row\" class=\"name\">{}</th>",
                named(&limiter.limiter)
            );
            for column in CHIEF {
                put!(html, "<td>{}</td>", text(&column.text(limiter)));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody>");
    }
    html.push_str("</table></div></details>\n");
    html
}

/// Every measure of every point, folded.
pub(super) fn all(scenario: &ScenarioReport) -> String {
    let mut html = String::from("<details class=\"all\"><summary>All measures</summary>");
    for point in &scenario.points {
        if !point.label.is_empty() {
            put!(html, "<h4>{}</h4>", text(&point.label));
        }
        html.push_str(&measures(point));
    }
    html.push_str("</details>");
    html
}

fn measures(point: &PointReport) -> String {
    let mut html = format!("{WIDE}<table><thead><tr>");
    html.push_str("<th scope=\"col\" class=\"name\">measure</th>");
    for limiter in &point.limiters {
        put!(html, "<th scope=\"col\">{}</th>", named(&limiter.limiter));
    }
    html.push_str("<th scope=\"col\" class=\"name\">what it says</th></tr></thead><tbody>");
    for metric in METRICS {
        put!(
            html,
            "<tr><th scope=\"row\" class=\"name\">{}</th>",
            text(metric.name)
        );
        for limiter in &point.limiters {
            let spread = limiter.spread(metric);
            let said = spread.map(|it| number::with_margin(metric.shown, it.mean, it.margin));
            put!(
                html,
                "<td>{}</td>",
                text(&said.unwrap_or_else(|| "–".to_owned()))
            );
        }
        let unit = match metric.unit {
            "" | "s" => String::new(),
            unit => format!(" ({unit})"),
        };
        put!(
            html,
            "<td class=\"name says\">{}{}</td></tr>",
            text(metric.text),
            text(&unit)
        );
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Expectations that failed, in the open; empty if none did.
pub(super) fn failed(scenario: &ScenarioReport) -> String {
    let failed = checks(scenario, false);
    if failed.is_empty() {
        return String::new();
    }
    format!("<h3>What failed</h3>{}\n", check_table(&failed))
}

/// Expectations that were met, folded; empty if none was.
pub(super) fn met(scenario: &ScenarioReport) -> String {
    let met = checks(scenario, true);
    if met.is_empty() {
        return String::new();
    }
    let (count, table) = (number::plural(met.len(), "expectation"), check_table(&met));
    format!("<details><summary>{count} met</summary>{table}</details>\n")
}

fn checks(scenario: &ScenarioReport, met: bool) -> Vec<(&PointReport, &Check)> {
    let points = scenario.points.iter();
    let all = points.flat_map(|point| point.checks.iter().map(move |check| (point, check)));
    all.filter(|(_, check)| check.met == met).collect()
}

fn check_table(checks: &[(&PointReport, &Check)]) -> String {
    let labelled = checks.iter().any(|(point, _)| !point.label.is_empty());
    let mut html = format!("{WIDE}<table class=\"checks\"><thead><tr>");
    html.push_str("<th scope=\"col\"></th>");
    if labelled {
        html.push_str("<th scope=\"col\" class=\"name\">point</th>");
    }
    html.push_str("<th scope=\"col\" class=\"name\">expected</th>");
    html.push_str(
        "<th scope=\"col\">measured</th><th scope=\"col\">worst seed</th></tr></thead><tbody>",
    );
    for (point, check) in checks {
        put!(html, "<tr><td class=\"name\">{}</td>", outcome(check.met));
        if labelled {
            put!(html, "<td class=\"name\">{}</td>", text(&point.label));
        }
        put!(
            html,
            "<td class=\"name\"><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            text(&table::expected(check)),
            text(&table::measured(check)),
            check.seed
        );
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A mark that differs in colour, shape and word.
pub(super) const fn outcome(met: bool) -> &'static str {
    if met {
        "<span class=\"outcome good\"><span aria-hidden=\"true\">✓</span> met</span>"
    } else {
        "<span class=\"outcome bad\"><span aria-hidden=\"true\">✗</span> failed</span>"
    }
}

pub(super) fn named(limiter: &str) -> String {
    format!("{}{}", Style::of(limiter).swatch(), text(limiter))
}

/// The element around a table: it scrolls sideways by finger, wheel and keys, and shows that.
const WIDE: &str = "<div class=\"wide\" role=\"region\" aria-label=\"Table\" tabindex=\"0\">";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn what_failed_is_never_folded_and_what_was_met_is() {
        let report = samples::report();
        let html = failed(&report.scenarios[0]);
        assert!(
            html.contains("failed</span>") && !html.contains("<details"),
            "{html}"
        );
        assert!(html.contains("store-calls &lt;= 5"), "{html}");
        let html = met(&report.scenarios[0]);
        assert!(
            html.starts_with("<details><summary>3 expectations met"),
            "{html}"
        );
    }

    #[test]
    fn every_measure_is_there() {
        let report = samples::report();
        let html = all(&report.scenarios[0]);
        assert_eq!(html.matches("<h4>").count(), 2);
        for metric in METRICS {
            assert!(html.contains(metric.name));
        }
    }
}
