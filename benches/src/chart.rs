//! The report as a picture: a panel for each column, a bar for each row, for light and dark pages.
//!
//! Floors are left out but for those that others are held against. The middle half of the rounds is
//! a line across the end of the bar. What is far beyond the first baseline is cut, and its figure
//! says how long it would be. For a reader, the longest bar is the worst or the best; each panel
//! says which.

use std::fmt::Write as _;

use crate::report::{Column, Kind, Report, Row};
use crate::spread::{Spread, number};

/// A complete SVG document.
pub fn svg(report: &Report) -> String {
    let panels: Vec<_> = (0..report.columns.len())
        .map(|at| Panel::new(report, at))
        .collect();
    let panels: Vec<_> = panels
        .into_iter()
        .filter(|panel| !panel.bars.is_empty())
        .collect();
    let mut body = String::new();
    let mut top = HEAD;
    for pair in panels.chunks(PANELS_A_LINE) {
        for (panel, left) in pair.iter().zip([MARGIN, MARGIN + PANEL]) {
            panel.draw(&mut body, left, top);
        }
        top += pair.iter().map(Panel::height).fold(0.0, f64::max);
    }
    let machine = &report.machine;
    let about = format!(
        "{} x {}, {}, {}",
        machine.cores, machine.cpu, machine.rustc, machine.date
    );
    let (title, about) = (escaped(&report.title), escaped(&about));
    let (width, height) = (WIDTH, top + MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n\
         <text class=\"soft\" x=\"{MARGIN}\" y=\"46\">{about}</text>\n{body}</svg>\n"
    )
}

struct Panel<'a> {
    column: &'a Column,
    bars: Vec<(&'a Row, Spread)>,
    /// The value at the right edge.
    full: f64,
}

impl<'a> Panel<'a> {
    fn new(report: &'a Report, at: usize) -> Self {
        let is_baseline = |row: &Row| report.baselines.iter().any(|base| base.row == row.name);
        let shown = |row: &&Row| row.kind != Kind::Floor || is_baseline(row);
        let rows = report.rows.iter().filter(shown);
        let bars: Vec<_> = rows.filter_map(|row| Some((row, row.cells[at]?))).collect();
        let longest = bars
            .iter()
            .map(|(_, spread)| spread.high)
            .fold(0.0, f64::max);
        let first = report.baselines.first();
        let base = first.and_then(|base| bars.iter().find(|(row, _)| row.name == base.row));
        let most = base.map_or(f64::INFINITY, |(_, spread)| spread.median * CUT);
        Self {
            column: &report.columns[at],
            bars,
            full: longest.min(most).max(f64::MIN_POSITIVE),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bars are few")]
    fn height(&self) -> f64 {
        PANEL_HEAD + self.bars.len() as f64 * LINE + PANEL_GAP
    }

    fn draw(&self, body: &mut String, left: f64, top: f64) {
        let Column {
            name,
            unit,
            less_is_better,
        } = self.column;
        let better = if *less_is_better { "less" } else { "more" };
        let head = escaped(&format!("{name}: {unit}, {better} is better"));
        let y = top + 14.0;
        let _ = writeln!(
            body,
            "<text class=\"head\" x=\"{left}\" y=\"{y}\">{head}</text>"
        );
        let mut y = top + PANEL_HEAD;
        for (row, spread) in &self.bars {
            self.draw_bar(body, row, *spread, left, y);
            y += LINE;
        }
    }

    fn draw_bar(&self, body: &mut String, row: &Row, spread: Spread, left: f64, top: f64) {
        let class = match row.kind {
            Kind::Floor => "floor",
            Kind::Ours => "ours",
            Kind::Rival => "rival",
        };
        let (zero, text) = (left + NAMES, top + 11.0);
        let length = |figure: f64| (figure / self.full).clamp(0.0, 1.0) * BARS;
        let (low, high) = (zero + length(spread.low), zero + length(spread.high));
        let end = length(spread.median).max(1.0);
        let cut = if spread.median > self.full { "» " } else { "" };
        let figure = number(spread.median);
        let name = escaped(&row.name);
        let (right, after, middle) = (zero - 6.0, high.max(zero + end) + 5.0, top + 7.5);
        let _ = writeln!(
            body,
            "<text class=\"name\" x=\"{right:.1}\" y=\"{text:.1}\">{name}</text>\
             <rect class=\"{class}\" x=\"{zero:.1}\" y=\"{top:.1}\" width=\"{end:.1}\" height=\"{BAR}\"/>\
             <path class=\"half\" d=\"M{low:.1} {middle:.1}H{high:.1}\"/>\
             <text x=\"{after:.1}\" y=\"{text:.1}\">{cut}{figure}</text>"
        );
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// A bar ends at so many times the first baseline.
const CUT: f64 = 2.5;

const PANELS_A_LINE: usize = 2;
const MARGIN: f64 = 20.0;
const HEAD: f64 = 66.0;
/// A panel: the names, the bars, and room for a figure.
const PANEL: f64 = 530.0;
const NAMES: f64 = 240.0;
const BARS: f64 = 220.0;
const PANEL_HEAD: f64 = 24.0;
const PANEL_GAP: f64 = 18.0;
const LINE: f64 = 19.0;
const BAR: f64 = 15.0;
const WIDTH: f64 = 2.0 * PANEL + 2.0 * MARGIN;

const STYLE: &str = "
text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: #1b2026; }
.title { font-size: 17px; font-weight: 600; } .head { font-weight: 600; } .name { text-anchor: end; }
.soft { fill: #5c6670; } .paper { fill: #ffffff; } .half { stroke: #1b2026; stroke-width: 1.5; }
.ours { fill: #d55e00; } .rival { fill: #7fa8c9; } .floor { fill: #c3c9cf; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8eaec; } .soft { fill: #9aa4ae; } .paper { fill: #121518; } .half { stroke: #e8eaec; }
  .ours { fill: #ff8f45; } .rival { fill: #4f7fa6; } .floor { fill: #4a525a; }
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_picture_has_a_bar_for_each_figure_that_is_no_mere_floor() {
        let picture = svg(&report());
        let bars = |class: &str| picture.matches(&format!("<rect class=\"{class}\"")).count();
        assert_eq!((bars("floor"), bars("ours"), bars("rival")), (0, 2, 1));
        assert!(picture.contains("they &lt;3"), "{picture}");
        assert!(picture.contains("hot: ns, less is better"), "{picture}");
    }

    #[test]
    fn what_is_far_beyond_the_baseline_is_cut_and_says_so() {
        let mut report = report();
        report.rows[1].cells[0] = Some(Spread::one(4000.0));
        let picture = svg(&report);
        assert!(picture.contains("» 4000"), "{picture}");
        assert!(
            picture.contains(&format!("width=\"{BARS:.1}\"")),
            "{picture}"
        );
    }
}
