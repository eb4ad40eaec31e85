//! The report as a picture: a panel for each column, a bar for each row, for light and dark pages.
//!
//! Floors are left out, except those that others are compared with. A bar is cut at a multiple of
//! the first baseline. Each panel says whether a long bar is good or bad.

use leasehold_plot::bars::{Bar, Panel, bars};

use crate::report::{Column, Kind, Report, Row};
use crate::spread::{Spread, number};

/// A complete SVG document.
pub fn svg(report: &Report) -> String {
    let panels = (0..report.columns.len()).map(|at| panel(report, at));
    let panels: Vec<Panel> = panels.filter(|panel| !panel.bars.is_empty()).collect();
    let machine = &report.machine;
    let about = format!(
        "{} x {}, {}, {}",
        machine.cores, machine.cpu, machine.rustc, machine.date
    );
    bars(&report.title, &about, &panels)
}

fn panel(report: &Report, at: usize) -> Panel {
    let is_baseline = |row: &Row| report.baselines.iter().any(|base| base.row == row.name);
    let rows = report.rows.iter();
    let rows = rows.filter(|row| row.kind != Kind::Floor || is_baseline(row));
    let bars = rows.filter_map(|row| Some(bar(row, row.cells[at]?)));
    let bars: Vec<Bar> = bars.collect();
    let first = report.baselines.first();
    let base = first.and_then(|base| bars.iter().find(|bar| bar.name == base.row));
    let cut = base.map_or(f64::INFINITY, |bar| bar.value * CUT);
    let Column {
        name,
        unit,
        less_is_better,
    } = &report.columns[at];
    let better = if *less_is_better { "less" } else { "more" };
    let head = format!("{name}: {unit}, {better} is better");
    Panel { head, bars, cut }
}

fn bar(row: &Row, spread: Spread) -> Bar {
    let class = match row.kind {
        Kind::Floor => "floor",
        Kind::Ours => "c0",
        Kind::Rival => "c6",
    };
    Bar {
        name: row.name.clone(),
        class,
        value: spread.median,
        half: (spread.low, spread.high),
        figure: number(spread.median),
    }
}

/// A bar ends at so many times the first baseline.
const CUT: f64 = 2.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn the_picture_has_a_bar_for_each_figure_that_is_no_mere_floor() {
        let picture = svg(&report());
        let bars = |class: &str| {
            picture
                .matches(&format!("<rect class=\"bar {class}\""))
                .count()
        };
        assert_eq!((bars("floor"), bars("c0"), bars("c6")), (0, 2, 1));
        assert!(picture.contains("they &lt;3"), "{picture}");
        assert!(picture.contains("hot: ns, less is better"), "{picture}");
    }

    #[test]
    fn what_is_far_beyond_the_baseline_is_cut_and_says_so() {
        let mut report = report();
        report.rows[1].cells[0] = Some(Spread::one(4000.0));
        assert!(svg(&report).contains("» 4000"), "{}", svg(&report));
    }
}
