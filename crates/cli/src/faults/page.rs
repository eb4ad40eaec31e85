//! The fault matrix as a page: a picture first, the conclusion, more pictures, and the table
//! folded.
//!
//! # Invariant
//!
//! A bar is as long as what was measured, as a part of the most that was promised: a full frame is
//! a promise that is just kept.

use leasehold_plot::frame::picture;
use leasehold_plot::markup::{at, put, text};
use leasehold_sim::metrics::Shown;
use leasehold_sim::numbers::float;

use super::findings::{Findings, LONGER_MS, RECOVERY};
use super::report::{HEADER, Report, Tried};
use crate::simulate::number;
use crate::simulate::page::{hero, tables, whole};

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let figures = MEASURES.iter().map(|measure| measure.figure(report));
    let (pictures, sentences): (Vec<_>, Vec<_>) = figures.partition(|it| it.contains("<svg"));
    let figures = [pictures, sentences].concat();
    let mut conclusion = vec![report.verdict()];
    conclusion.extend(report.broken());
    let mut main = hero(&figures[0], &conclusion);
    put!(
        main,
        "<div class=\"plots\">{}</div>\n",
        figures[1..].concat()
    );
    let rows = report.rows.iter().map(Tried::cells);
    main.push_str(&tables::numbers(&HEADER, rows));
    let heading = number::plural(report.rows.len(), "fault") + " on real servers and processes";
    let footer = format!("<p class=\"aside\">{}</p>", text(&report.about()));
    whole(
        "leasehold faults",
        "leasehold faults",
        &heading,
        &main,
        &footer,
    )
}

/// A number that a row measures and holds against the most that was promised.
struct Measure {
    title: &'static str,
    shown: Shown,
    /// None if it never came to an end.
    measured: fn(&Findings) -> Option<f64>,
    most: fn(&Findings) -> f64,
}

const MEASURES: [Measure; 3] = [
    Measure {
        title: "Tokens admitted beyond the limit, of those that the fault may add",
        shown: Shown::Number,
        measured: |it| Some(float(it.excess_tokens)),
        most: |it| float(it.bound_tokens),
    },
    Measure {
        title: "Time from the fault's end until the limit was used in full again",
        shown: Shown::Time,
        measured: |it| it.recovery_seconds,
        most: |_| RECOVERY.as_secs_f64(),
    },
    Measure {
        title: "Longest decision on a request that may wait",
        shown: Shown::Time,
        measured: |it| Some(it.longest_decision_ms / 1e3),
        most: |it| (it.deadline_ms + LONGER_MS) / 1e3,
    },
];

impl Measure {
    /// A bar for each row; a sentence if nothing was measured but 0.
    fn figure(&self, report: &Report) -> String {
        let title = self.title;
        let is_zero = |row: &Tried| {
            let found = row.findings.as_ref();
            found.is_some_and(|found| (self.measured)(found) == Some(0.0))
        };
        if report.rows.iter().all(is_zero) {
            return format!(
                "<figure><figcaption>{title}</figcaption><p>0 in every row.</p></figure>"
            );
        }
        let mut svg = String::new();
        let mut y = LINE;
        for row in &report.rows {
            let (share, says) = match &row.findings {
                None => (0.0, "could not be tried".to_owned()),
                Some(found) => self.share(found),
            };
            let class = if share > 1.0 { "bar over" } else { "bar c0" };
            let (top, base) = (at(y - BAR - 2.0), at(y - BAR - 7.0));
            let width = at(share.clamp(0.0, 1.0) * WIDTH);
            put!(
                svg,
                "<text class=\"name\" x=\"0\" y=\"{base}\">{}</text>\
                 <text class=\"value end\" x=\"{WIDTH}\" y=\"{base}\">{}</text>\
                 <rect class=\"frame\" x=\"0\" y=\"{top}\" width=\"{WIDTH}\" height=\"{BAR}\"/>\
                 <rect class=\"{class}\" x=\"0\" y=\"{top}\" width=\"{width}\" height=\"{BAR}\"/>",
                text(row.name),
                text(&says),
            );
            y += LINE;
        }
        let svg = picture(WIDTH, y - LINE, title, &svg);
        format!("<figure><figcaption>{title}</figcaption>{svg}</figure>")
    }

    /// The measured number as a part of the most, and both in words.
    fn share(&self, found: &Findings) -> (f64, String) {
        let most = (self.most)(found);
        let shown = |value| number::shown(self.shown, value);
        let Some(measured) = (self.measured)(found) else {
            return (f64::INFINITY, format!("never; at most {}", shown(most)));
        };
        let share = if measured > 0.0 { measured / most } else { 0.0 };
        (share, format!("{} of {}", shown(measured), shown(most)))
    }
}

/// The width of a phone, without its margins.
const WIDTH: f64 = 360.0;

/// A name above its bar.
const LINE: f64 = 34.0;
const BAR: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::findings::tests::kept;
    use crate::faults::report::tests::{report, tried};

    #[test]
    fn the_page_shows_a_picture_then_the_verdict_and_folds_the_table() {
        let html = page(&report(&[tried(Ok(kept()))]));
        let place = |what: &str| html.find(what).unwrap_or_else(|| panic!("{what}: {html}"));
        assert!(place("<figure>") < place("The row kept its bound"));
        assert!(place("The row kept its bound") < place("<details"));
        assert!(html[place("<details")..].contains("<th scope=\"col\">recovery</th>"));
        assert!(html.contains("1 fault on real servers"));
        assert!(!html.contains("bar over"), "{html}");
        // Nothing was admitted beyond the limit: no picture of that, and not in the first place.
        assert_eq!(html.matches("<svg").count(), 2);
        assert!(place("Time from the fault") < place("Tokens admitted beyond"));
        assert!(html.contains("<p>0 in every row.</p>"), "{html}");
    }

    #[test]
    fn what_exceeds_its_promise_is_marked_and_said() {
        let mut found = kept();
        (found.excess_tokens, found.recovery_seconds) = (3, None);
        let html = page(&report(&[
            tried(Ok(found)),
            tried(Err("no server".to_owned())),
        ]));
        assert!(html.contains(">3 of 0<"), "{html}");
        assert!(html.contains("never; at most 2 s"), "{html}");
        assert_eq!(html.matches("bar over").count(), 2);
        assert_eq!(html.matches("could not be tried").count(), 3);
        assert!(
            html.contains("A BOUND WAS EXCEEDED in 1 of 2 rows"),
            "{html}"
        );
        assert!(html.contains("excess 3 is above the bound, 0"), "{html}");
    }
}
