//! `--html`: the whole report as one page that needs nothing else: no network, no script.
//!
//! A page shows its picture first, then what it comes to in a few sentences, then more pictures;
//! tables are folded below. `--svg` writes the first picture alone.

mod conclusion;
mod over_field;
mod over_time;
mod settings;
pub(crate) mod tables;
mod trade;

use leasehold_plot::frame::{document, picture};
use leasehold_plot::markup::{put, text};
use leasehold_sim::report::{Report, ScenarioReport};

use self::trade::Trade;
use super::{number, table};

/// The page. `lead` is the field that plots of a sweep run over, if it varies.
pub(crate) fn page(report: &Report, lead: Option<&str>) -> String {
    let heading = match report.scenarios.as_slice() {
        [only] => text(&only.title).to_string(),
        all => number::plural(all.len(), "scenario"),
    };
    let title = match report.scenarios.as_slice() {
        [only] => format!("{} – leasehold simulation", text(&only.name)),
        _ => "leasehold simulation".to_owned(),
    };
    let mut main = String::new();
    match report.scenarios.as_slice() {
        [only] => main.push_str(&section(only, lead)),
        all => {
            let trade = Trade::of_all(report);
            main.push_str(&hero(&figure(&trade), &conclusion::of_all(report)));
            for scenario in all {
                main.push_str(&folded(scenario, lead));
            }
        }
    }
    let footer = format!(
        "<p class=\"aside\">{}. {}</p><p class=\"aside\">{WORDS}</p>",
        table::counts(report),
        seeds(report)
    );
    whole("leasehold simulation", &title, &heading, &main, &footer)
}

/// A page, complete in one file. The texts are markup already.
pub(crate) fn whole(kind: &str, title: &str, heading: &str, main: &str, footer: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         {NO_ICON}\n<title>{title}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<p class=\"kind\">{kind}</p>\n<h1>{heading}</h1>\n</header>\n\
         <main>\n{main}</main>\n<footer>{footer}</footer>\n</body>\n</html>\n",
        leasehold_plot::STYLE
    )
}

/// The first picture of a report of one scenario, as a document of its own; `None` if there is
/// nothing to compare.
pub(crate) fn svg(report: &Report, lead: Option<&str>) -> Option<String> {
    let trade = match report.scenarios.as_slice() {
        [only] => Trade::of(only, settings::leading(only, lead))?,
        _ => Trade::of_all(report),
    };
    let (width, height, content) = trade.draw();
    Some(document(width, height, &trade.says(), &content))
}

fn seeds(report: &Report) -> String {
    let points = report.scenarios.iter().flat_map(|it| &it.points);
    let limiters = points.flat_map(|point| &point.limiters);
    let seeds = || limiters.clone().flat_map(|it| &it.runs).map(|run| run.seed);
    match (seeds().min(), seeds().max()) {
        (Some(first), Some(last)) if first == last => format!("Seed {first}."),
        (Some(first), Some(last)) => format!(
            "Seeds {first} to {last}. Numbers are means over seeds, ± half the width of the 95 % \
             confidence interval; overshoot is the worst seed's. Plots over time are of seed \
             {first}."
        ),
        _ => String::new(),
    }
}

/// The first screen: a picture, and what it comes to.
pub(crate) fn hero(picture: &str, conclusion: &[String]) -> String {
    let mut html = format!("<div class=\"hero\">{picture}<div class=\"conclusion\">");
    for says in conclusion {
        put!(html, "<p>{}</p>", text(says));
    }
    html + "</div></div>\n"
}

fn figure(trade: &Trade) -> String {
    let (width, height, content) = trade.draw();
    format!(
        "<figure>{}<figcaption class=\"aside\">{}</figcaption></figure>",
        picture(width, height, &trade.says(), &content),
        text(&trade.reading())
    )
}

/// One scenario of many: a line, open if an expectation of it failed.
fn folded(scenario: &ScenarioReport, lead: Option<&str>) -> String {
    let checks = || scenario.points.iter().flat_map(|point| &point.checks);
    let met = checks().all(|check| check.met);
    let outcome = match checks().count() {
        0 => String::new(),
        _ => tables::outcome(met).to_owned(),
    };
    format!(
        "<details class=\"scenario\"{}><summary><b>{}</b> {outcome}<span>{}</span></summary>\n\
         {}</details>\n",
        if met { "" } else { " open" },
        text(&scenario.name),
        text(&scenario.title),
        section(scenario, lead)
    )
}

fn section(scenario: &ScenarioReport, lead: Option<&str>) -> String {
    let field = settings::leading(scenario, lead);
    let trade = Trade::of(scenario, field);
    let times = times(scenario);
    let conclusion = conclusion::of_scenario(scenario);
    let mut html = String::from("<section>\n");
    html.push_str(&match &trade {
        Some(trade) => hero(&figure(trade), &conclusion),
        None => hero(&times, &conclusion),
    });
    html.push_str(&tables::failed(scenario));
    if let Some(field) = field {
        let plots = over_field::over_field(scenario, field);
        put!(html, "<h3>Each measure over {}</h3>\n{plots}", text(field));
    }
    if trade.is_some() && !times.is_empty() {
        put!(html, "<h3>Over time</h3>\n{times}");
    }
    html.push_str("<h3>Tables</h3>\n");
    html.push_str(&tables::chief(scenario));
    html.push_str(&tables::all(scenario));
    html.push_str(&tables::met(scenario));
    html.push_str(&facts(scenario));
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
fn times(scenario: &ScenarioReport) -> String {
    let count = scenario.points.len();
    let drawn = count.min(TIMES_MAX);
    let mut html = String::new();
    for index in 0..drawn {
        // Evenly spaced, the first and the last among them.
        let point = &scenario.points[index * (count - 1) / (drawn - 1).max(1)];
        let plots = over_time::over_time(point);
        if plots.is_empty() || point.label.is_empty() {
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
    if drawn < count && !html.is_empty() {
        put!(
            html,
            "<p class=\"aside\">{drawn} of {count} points are drawn.</p>\n"
        );
    }
    html
}

const STYLE: &str = include_str!("style.css");

/// Without it, browsers ask for an icon.
const NO_ICON: &str = "<link rel=\"icon\" href=\"data:,\">";

/// Each point over time is some 50 kB of page.
const TIMES_MAX: usize = 4;

const WORDS: &str = "Ideal: what one bucket for the whole system admits of the same arrivals. \
Overshoot: tokens beyond burst + rate × window, in the worst window of the worst key. Deficit: \
what is missing of the ideal. False denial: denied although nothing was scarce. Local: decided \
without waiting for the store. p99, all: 99 % of all requests are decided within this time; p99, \
if waited: 99 % of those that had to wait.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use leasehold_sim::scenario::{LEASED, Points};

    use super::*;
    use crate::simulate::{catalogue, samples};

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
        let svg = svg(&report, Some("replicas")).unwrap();
        assert!(!svg.contains("<script"), "{svg}");
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
    fn the_picture_comes_first_then_the_conclusion_then_tables_each_in_a_box_that_scrolls() {
        let alone = {
            let mut report = samples::report();
            let scenario = &mut report.scenarios[0];
            scenario.points.truncate(1);
            scenario.points[0].limiters.truncate(1);
            report
        };
        for report in [samples::report(), alone, twice(samples::report())] {
            let html = page(&report, None);
            let first = |what: &str| html.find(what).unwrap_or_else(|| panic!("no {what}"));
            assert!(first("<svg role=\"img\"") < first("<div class=\"conclusion\">"));
            let shown = first("<div class=\"conclusion\">");
            let folded = html.match_indices("<table").filter(|(at, _)| *at < shown);
            for (at, _) in folded {
                let before = &html[..at];
                let open = before.matches("<details class=\"numbers\">").count();
                assert!(
                    open > before.matches("</details>").count(),
                    "a table before all"
                );
            }
            let tables = html.matches("<table").count();
            assert!(tables > 0);
            let boxes = html.matches("tabindex=\"0\"><table").count();
            assert_eq!(boxes, tables, "a table that does not scroll by itself");
        }
    }

    #[test]
    fn a_limiter_has_the_same_colour_on_every_page_whatever_else_is_there() {
        let all = samples::report();
        let mut few = all.clone();
        for point in &mut few.scenarios[0].points {
            point.limiters.remove(0);
        }
        let mark = format!("{}central", leasehold_plot::Style::of("central").swatch());
        for report in [&all, &few, &twice(all.clone())] {
            assert!(page(report, None).contains(&mark));
        }
    }

    #[test]
    fn limiters_of_one_scenario_of_the_catalogue_differ_in_colour() {
        for scenario in catalogue::all() {
            let points = Points::parse(scenario.name, scenario.text, &[]).unwrap();
            for point in points.points {
                let rivals = point.scenario.rivals.keys().map(String::as_str);
                let mut colours = BTreeMap::new();
                for limiter in [LEASED].into_iter().chain(rivals) {
                    let class = leasehold_plot::Style::of(limiter).class();
                    let colour = class.split(' ').next().unwrap().to_owned();
                    let taken = colours.insert(colour, limiter.to_owned());
                    assert_eq!(taken, None, "{}: {limiter}", scenario.name);
                }
            }
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
