//! Tables of the page: the chief measures, all measures, and the numbers behind a plot.

use leasehold_sim::metrics::METRICS;
use leasehold_sim::report::{Check, PointReport, ScenarioReport};

use super::markup::{put, text};
use super::palette::Palette;
use crate::simulate::columns::CHIEF;
use crate::simulate::{number, table};

/// The numbers behind a plot, folded.
pub(super) fn numbers(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<details class=\"numbers\"><summary>Numbers</summary>");
    html.push_str("<div class=\"wide\"><table><thead><tr>");
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

/// What a run is about, a line per limiter.
pub(super) fn chief(scenario: &ScenarioReport, palette: &Palette) -> String {
    let labelled = scenario.points.iter().any(|point| !point.label.is_empty());
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
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
                named(&limiter.limiter, palette)
            );
            for column in CHIEF {
                put!(html, "<td>{}</td>", text(&column.text(limiter)));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody>");
    }
    html.push_str("</table></div>");
    html
}

/// Every measure of every point, folded.
pub(super) fn all(scenario: &ScenarioReport, palette: &Palette) -> String {
    let mut html = String::from("<details class=\"all\"><summary>All measures</summary>");
    for point in &scenario.points {
        if !point.label.is_empty() {
            put!(html, "<h4>{}</h4>", text(&point.label));
        }
        html.push_str(&measures(point, palette));
    }
    html.push_str("</details>");
    html
}

fn measures(point: &PointReport, palette: &Palette) -> String {
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    html.push_str("<th scope=\"col\" class=\"name\">measure</th>");
    for limiter in &point.limiters {
        put!(
            html,
            "<th scope=\"col\">{}</th>",
            named(&limiter.limiter, palette)
        );
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

/// What was expected: what failed in the open, the rest folded if it is much.
pub(super) fn expectations(scenario: &ScenarioReport) -> String {
    let checks = || {
        let points = scenario.points.iter();
        points.flat_map(|point| point.checks.iter().map(move |check| (point, check)))
    };
    let all = checks().count();
    let (met, failed): (Vec<_>, Vec<_>) = checks().partition(|(_, check)| check.met);
    let mut html = String::new();
    if !failed.is_empty() {
        html.push_str(&check_table(&failed));
    }
    if met.is_empty() {
        return html;
    }
    let summary = match (failed.len(), all) {
        (0, 1) => "The expectation was met".to_owned(),
        (0, _) => format!("All {all} expectations were met"),
        _ => format!(
            "{} of {} were met",
            met.len(),
            number::plural(all, "expectation")
        ),
    };
    let open = if met.len() <= CHECKS_OPEN {
        " open"
    } else {
        ""
    };
    put!(
        html,
        "<details class=\"met\"{open}><summary>{summary}</summary>"
    );
    html.push_str(&check_table(&met));
    html.push_str("</details>");
    html
}

fn check_table(checks: &[(&PointReport, &Check)]) -> String {
    let labelled = checks.iter().any(|(point, _)| !point.label.is_empty());
    let mut html = String::from("<div class=\"wide\"><table class=\"checks\"><thead><tr>");
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

fn named(limiter: &str, palette: &Palette) -> String {
    let class = palette.class(limiter);
    format!("<span class=\"swatch {class}\"></span>{}", text(limiter))
}

/// More than these are folded.
const CHECKS_OPEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn what_failed_is_never_folded() {
        let report = samples::report();
        let html = expectations(&report.scenarios[0]);
        let folded = html.find("<details").unwrap();
        assert!(html.find("failed</span>").unwrap() < folded, "{html}");
        assert!(html.contains("3 of 4 expectations were met"));
        assert!(html.contains("store-calls &lt;= 5"));
    }

    #[test]
    fn every_measure_is_there() {
        let report = samples::report();
        let html = all(&report.scenarios[0], &Palette::of(&report));
        assert_eq!(html.matches("<h4>").count(), 2);
        for metric in METRICS {
            assert!(html.contains(metric.name));
        }
    }
}
