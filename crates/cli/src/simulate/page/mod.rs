//! `--html`: the whole report as one page that needs nothing else: no network, no script.

mod axis;
mod markup;
mod over_field;
mod over_time;
mod palette;
mod plot;
mod scatter;
mod settings;
mod tables;

use leasehold_sim::report::{Report, ScenarioReport};

use self::markup::{put, text};
use self::palette::Palette;
use super::{number, table};

/// The page. `lead` is the field that plots of a sweep run over, if it varies.
pub(crate) fn page(report: &Report, lead: Option<&str>) -> String {
    let palette = Palette::of(report);
    let mut html =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n");
    // Without it, browsers ask for an icon.
    html.push_str("<link rel=\"icon\" href=\"data:,\">\n");
    put!(
        html,
        "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n",
        title(report)
    );
    put!(html, "<p class=\"kind\">leasehold simulation</p>\n");
    put!(html, "<h1>{}</h1>\n", heading(report));
    put!(
        html,
        "<p class=\"verdict\">{} {}</p>\n",
        match report.checks().next() {
            Some(_) => tables::outcome(report.all_met()),
            None => "",
        },
        table::verdict(report)
    );
    put!(
        html,
        "<p class=\"aside\">{}</p>\n</header>\n<main>\n",
        seeds(report)
    );
    if report.scenarios.len() > 1 {
        html.push_str(&overview(report));
    }
    for (index, scenario) in report.scenarios.iter().enumerate() {
        let is_only = report.scenarios.len() == 1;
        html.push_str(&section(scenario, index, is_only, lead, &palette));
    }
    html.push_str("</main>\n<footer><p class=\"aside\">");
    html.push_str(WORDS);
    html.push_str("</p></footer>\n</body>\n</html>\n");
    html
}

fn title(report: &Report) -> String {
    match report.scenarios.as_slice() {
        [only] => format!("{} – leasehold simulation", text(&only.name)),
        _ => "leasehold simulation".to_owned(),
    }
}

fn heading(report: &Report) -> String {
    match report.scenarios.as_slice() {
        [only] => text(&only.title).to_string(),
        all => number::plural(all.len(), "scenario"),
    }
}

fn seeds(report: &Report) -> String {
    let points = report.scenarios.iter().flat_map(|it| &it.points);
    let limiters = points.flat_map(|point| &point.limiters);
    let seeds = || limiters.clone().flat_map(|it| &it.runs).map(|run| run.seed);
    match (seeds().min(), seeds().max()) {
        (Some(first), Some(last)) if first == last => format!("Seed {first}."),
        (Some(first), Some(last)) => format!(
            "Seeds {first} to {last}. Numbers are means over seeds, ± half the width of the 95 % \
             confidence interval; of overshoot, the worst seed. Plots over time are of seed {first}."
        ),
        _ => String::new(),
    }
}

/// All scenarios at a glance.
fn overview(report: &Report) -> String {
    let mut html =
        String::from("<nav aria-label=\"Scenarios\"><div class=\"wide\"><table><thead><tr>");
    html.push_str("<th scope=\"col\" class=\"name\">scenario</th><th scope=\"col\" class=\"name\">what it shows</th>");
    html.push_str(
        "<th scope=\"col\">points</th><th scope=\"col\">expectations met</th></tr></thead><tbody>",
    );
    for (index, scenario) in report.scenarios.iter().enumerate() {
        let checks = || scenario.points.iter().flat_map(|point| &point.checks);
        let all = checks().count();
        let met = checks().filter(|check| check.met).count();
        let class = if met == all { "good" } else { "bad" };
        let mark = if met == all { "✓" } else { "✗" };
        let outcome = match all {
            0 => "–".to_owned(),
            all => format!("<span class=\"outcome {class}\">{mark}</span> {met} of {all}"),
        };
        put!(
            html,
            "<tr><th scope=\"row\" class=\"name\"><a href=\"#s{index}\">{}</a></th>\
             <td class=\"name says\">{}</td><td>{}</td><td>{outcome}</td></tr>",
            text(&scenario.name),
            text(&scenario.title),
            scenario.points.len()
        );
    }
    html.push_str("</tbody></table></div></nav>\n");
    html
}

fn section(
    scenario: &ScenarioReport,
    index: usize,
    is_only: bool,
    lead: Option<&str>,
    palette: &Palette,
) -> String {
    let mut html = format!(
        "<section id=\"s{index}\">\n<p class=\"kind\">{}</p>\n",
        text(&scenario.name)
    );
    if !is_only {
        put!(html, "<h2>{}</h2>\n", text(&scenario.title));
    }
    html.push_str(&facts(scenario));
    html.push_str(&tables::expectations(scenario));
    html.push_str(&tables::chief(scenario, palette));
    html.push_str(&tables::all(scenario, palette));
    if let Some(field) = settings::leading(scenario, lead) {
        put!(html, "<h3>Over {}</h3>\n", text(field));
        html.push_str(&over_field::over_field(scenario, field, palette));
    }
    let scatter = scatter::scatter(scenario, palette);
    if !scatter.is_empty() {
        put!(
            html,
            "<h3>Accuracy against load of the store</h3>\n<p class=\"aside\">{FRONT}</p>\n{scatter}"
        );
    }
    html.push_str(&times(scenario, palette));
    html.push_str("</section>\n");
    html
}

fn facts(scenario: &ScenarioReport) -> String {
    let facts = [
        ("Source", &scenario.source),
        ("Number to beat", &scenario.beats),
    ];
    let facts = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact.as_ref()?)));
    let mut html = String::new();
    for (name, fact) in facts {
        put!(html, "<dt>{name}</dt><dd>{}</dd>", text(fact));
    }
    if html.is_empty() {
        return html;
    }
    format!("<dl>{html}</dl>\n")
}

/// Plots over time, of a few points if there are many.
fn times(scenario: &ScenarioReport, palette: &Palette) -> String {
    let count = scenario.points.len();
    let drawn = count.min(TIMES_MAX);
    let mut html = String::from("<h3>Over time</h3>\n");
    if drawn < count {
        put!(
            html,
            "<p class=\"aside\">{drawn} of {count} points are drawn.</p>\n"
        );
    }
    let mut any = false;
    for index in 0..drawn {
        // Evenly spaced, the first and the last among them.
        let point = &scenario.points[index * (count - 1) / (drawn - 1).max(1)];
        let plots = over_time::over_time(point, palette);
        any |= !plots.is_empty();
        if point.label.is_empty() {
            html.push_str(&plots);
        } else {
            let open = if index == 0 { " open" } else { "" };
            let label = text(&point.label);
            put!(
                html,
                "<details class=\"point\"{open}><summary>{label}</summary>{plots}</details>\n"
            );
        }
    }
    if any { html } else { String::new() }
}

const STYLE: &str = include_str!("style.css");

/// Each point over time is some 50 kB of page.
const TIMES_MAX: usize = 4;

const FRONT: &str = "Further left asks less of the store, further down is nearer to the ideal. \
Error is the larger of the worst overshoot, as a share of the burst, and the mean deficit. A ringed \
mark is on the Pareto front: nothing else in the plot has both fewer store calls and less error.";

const WORDS: &str = "Ideal: what one bucket for the whole system admits of the same arrivals. \
Overshoot: tokens beyond burst + rate × window, in the worst window of the worst key. Deficit: what \
is missing of the ideal. False denial: denied although nothing was scarce. Local: decided without \
waiting for the store.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn the_page_needs_nothing_else_and_trusts_nothing() {
        let mut report = samples::report();
        let hostile = "\"><script>alert(1)</script>".to_owned();
        let scenario = &mut report.scenarios[0];
        scenario.name.clone_from(&hostile);
        scenario.source = Some(hostile.clone());
        scenario.beats = Some(hostile.clone());
        scenario.points[0].label.clone_from(&hostile);
        scenario.points[0].settings[0].1.clone_from(&hostile);
        scenario.points[0].checks[0].expected.clone_from(&hostile);
        scenario.points[0].limiters[1].limiter = hostile;
        for report in [report.clone(), twice(report)] {
            let html = page(&report, Some("replicas"));
            assert!(!html.contains("<script"));
            assert!(!html.contains("=\"\">"), "an attribute was closed");
            for outside in ["http:", "https:", "src=", "@import", "url("] {
                assert!(!html.contains(outside), "{outside}");
            }
            assert!(!html.contains("NaN"));
        }
    }

    #[test]
    fn elements_are_closed() {
        let html = page(&twice(samples::report()), None);
        for element in [
            "details", "figure", "table", "svg", "section", "div", "text", "g", "tbody",
        ] {
            let opened = html.matches(&format!("<{element}>")).count()
                + html.matches(&format!("<{element} ")).count();
            let closed = html.matches(&format!("</{element}>")).count();
            assert_eq!(opened, closed, "{element}");
        }
    }

    #[test]
    fn the_same_report_makes_the_same_page() {
        assert_eq!(
            page(&samples::report(), None),
            page(&samples::report(), None)
        );
    }

    fn twice(mut report: Report) -> Report {
        let again = report.scenarios[0].clone();
        report.scenarios.push(again);
        report
    }
}
