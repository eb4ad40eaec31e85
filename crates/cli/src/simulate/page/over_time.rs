//! Pictures over time, one per limiter: volumes, and below them the store's load and the tokens
//! that lie at replicas. All pictures of a point have the same scales.

use leasehold_plot::Style;
use leasehold_plot::axis::Axis;
use leasehold_plot::frame::{Area, picture, spread, steps};
use leasehold_plot::markup::{at, put};
use leasehold_sim::metrics::Shown;
use leasehold_sim::numbers::float;
use leasehold_sim::report::{LimiterReport, PointReport, Slice};

use super::tables::{named, numbers};
use crate::simulate::number;

/// The pictures of a point, with their numbers; empty if nothing was measured over time.
pub(super) fn over_time(point: &PointReport) -> String {
    let series: Vec<(&LimiterReport, Vec<Slice>)> = point
        .limiters
        .iter()
        .filter_map(|limiter| {
            let series = whole(&limiter.runs.first()?.series);
            Some((limiter, thinned(series, SLICES_MAX)))
        })
        .filter(|(_, series)| !series.is_empty())
        .collect();
    let Some(scales) = Scales::of(&series) else {
        return String::new();
    };
    let mut html = String::from("<div class=\"plots\">");
    for (limiter, slices) in &series {
        put!(
            html,
            "<figure><figcaption>{}</figcaption>{}{}</figure>",
            named(&limiter.limiter),
            scales.draw(limiter, slices),
            table(&limiter.runs[0].series)
        );
    }
    html.push_str("</div>");
    html
}

/// Reads the number of a slice that is drawn.
type Read = fn(&Slice) -> f64;

/// The scales that all limiters of a point share.
struct Scales {
    time: Axis,
    start: f64,
    volume: Axis,
    calls: Axis,
    held: Axis,
    /// The most that was offered, if that leaves the plot.
    beyond: Option<f64>,
}

impl Scales {
    fn of(series: &[(&LimiterReport, Vec<Slice>)]) -> Option<Self> {
        let slices = || series.iter().flat_map(|(_, slices)| slices);
        let first = slices().next()?;
        let most = |read: Read| slices().map(read).fold(0.0, f64::max);
        let end = most(|slice| slice.at);
        // A slice says when it ended: the first is as long as the second.
        let start = series[0]
            .1
            .get(1)
            .map_or(0.0, |second| 2.0 * first.at - second.at);
        let start = start.max(0.0);
        let served = most(|slice| slice.admitted.max(slice.ideal));
        let offered = most(|slice| slice.offered);
        let top = offered.max(served).min(volume_top(series, served));
        let calls: Vec<f64> = series
            .iter()
            .map(|(_, slices)| slices.iter().map(|slice| slice.calls).fold(0.0, f64::max))
            .collect();
        let busy = calls.iter().copied().filter(|calls| *calls > 0.0);
        let (least, most_calls) = busy.fold((f64::INFINITY, 0.0_f64), |(least, most), calls| {
            (least.min(calls), most.max(calls))
        });
        let calls = if most_calls > least * RATIO_LINEAR {
            let all: Vec<f64> = slices().map(|slice| slice.calls).collect();
            Axis::log(&all, number::ticks(Shown::Number), CALLS.bottom, CALLS.top)
        } else {
            Axis::linear(
                most_calls,
                number::ticks(Shown::Number),
                CALLS.bottom,
                CALLS.top,
            )
        };
        let volume = Axis::linear(top, number::ticks(Shown::Number), VOLUME.bottom, VOLUME.top);
        Some(Self {
            time: Axis::between(
                start,
                end,
                number::ticks(Shown::Number),
                VOLUME.left,
                VOLUME.right,
            ),
            start,
            beyond: (offered > volume.high()).then_some(offered),
            volume,
            calls,
            held: Axis::linear(
                most(|slice| float(slice.held)),
                number::ticks(Shown::Number),
                HELD.bottom,
                HELD.top,
            ),
        })
    }

    fn draw(&self, limiter: &LimiterReport, slices: &[Slice]) -> String {
        let class = Style::of(&limiter.limiter).class();
        let mut svg = VOLUME.y_axis(&self.volume, "tokens per second");
        if let Some(most) = self.beyond {
            let (x, y) = (at(VOLUME.right), at(VOLUME.top - 14.0));
            let most = number::ticks(Shown::Number)(most);
            put!(
                svg,
                "<text class=\"note end\" x=\"{x}\" y=\"{y}\">offered up to {most} ↑</text>"
            );
        }
        let kinds: [(&str, Read); 3] = [
            ("offered", |slice| slice.offered),
            ("admitted", |slice| slice.admitted),
            ("ideal", |slice| slice.ideal),
        ];
        let mut wanted = Vec::new();
        for (kind, read) in kinds {
            let path = self.path(slices, &self.volume, read);
            put!(
                svg,
                "<path class=\"line {kind} {class}\" d=\"{path}\"><title>{kind}</title></path>"
            );
            wanted.push(self.volume.at(last(slices, read)) + 3.5);
        }
        let places = spread(&wanted, LABEL, VOLUME.top + 3.5, VOLUME.bottom);
        for ((kind, _), y) in kinds.iter().zip(places) {
            let x = at(VOLUME.right + 6.0);
            put!(
                svg,
                "<text class=\"label {kind} {class}\" x=\"{x}\" y=\"{}\">{kind}</text>",
                at(y)
            );
        }
        let calls: Read = |slice| slice.calls;
        let logarithmic = if self.calls.is_log() && slices.iter().any(|slice| calls(slice) > 0.0) {
            ", logarithmic"
        } else {
            ""
        };
        let title = format!("store calls per second{logarithmic}");
        svg.push_str(&self.strip(&CALLS, &self.calls, &title, slices, calls, &class));
        let held: Read = |slice| float(slice.held);
        svg.push_str(&self.strip(&HELD, &self.held, "tokens held", slices, held, &class));
        svg.push_str(&HELD.x_axis(&self.time, "seconds"));
        let label = format!(
            "Over time, {}: offered, admitted and ideal tokens per second, store calls per second \
             and tokens held by replicas.",
            limiter.limiter
        );
        picture(WIDTH, HEIGHT, &label, &svg)
    }

    /// One line with its mean beside it.
    fn strip(
        &self,
        area: &Area,
        axis: &Axis,
        title: &str,
        slices: &[Slice],
        read: Read,
        class: &str,
    ) -> String {
        if slices.iter().all(|slice| read(slice) == 0.0) {
            let (x, y) = (at(area.left), at(area.top - 14.0));
            return format!(
                "<text class=\"measure\" x=\"{x}\" y=\"{y}\">{title}: 0 all the time</text>"
            );
        }
        let mut svg = area.y_axis(axis, title);
        let path = self.path(slices, axis, read);
        put!(
            svg,
            "<path class=\"line admitted {class}\" d=\"{path}\"><title>{title}</title></path>"
        );
        let mean = slices.iter().map(read).sum::<f64>() / float(slices.len() as u64);
        let (x, y) = (at(area.right + 6.0), at(axis.at(mean) + 3.5));
        let mean = number::ticks(Shown::Number)(mean);
        put!(
            svg,
            "<text class=\"label {class}\" x=\"{x}\" y=\"{y}\">mean {mean}</text>"
        );
        svg
    }

    fn path(&self, slices: &[Slice], axis: &Axis, read: Read) -> String {
        let places = slices
            .iter()
            .map(|slice| (self.time.at(slice.at), axis.at(read(slice))));
        let places: Vec<_> = places.collect();
        steps(self.time.at(self.start), &places)
    }
}

/// A flood may leave the plot, so that what was admitted of it can be seen. What was admitted may
/// leave it too if that lasted only a moment.
fn volume_top(series: &[(&LimiterReport, Vec<Slice>)], served: f64) -> f64 {
    let slices = series.iter().flat_map(|(_, slices)| slices);
    let mut usual: Vec<f64> = slices
        .map(|slice| slice.admitted.max(slice.ideal))
        .collect();
    usual.sort_by(f64::total_cmp);
    let usual = usual[usual.len() / 2];
    if usual > 0.0 {
        (usual * FLOOD)
            .max(served * 1.05)
            .min(usual * FLOOD * FLOOD)
    } else {
        f64::INFINITY
    }
}

/// A run ends a moment after its load; a last slice of that moment would look like an outage.
fn whole(series: &[Slice]) -> &[Slice] {
    match series {
        [slices @ .., before, last] if last.offered < before.offered / 10.0 => {
            &series[..=slices.len()]
        }
        series => series,
    }
}

/// At most so many slices, each the mean of its part of the time, and of what was held the most.
fn thinned(series: &[Slice], most: usize) -> Vec<Slice> {
    let size = series.len().div_ceil(most).max(1);
    let mean =
        |part: &[Slice], read: Read| part.iter().map(read).sum::<f64>() / float(part.len() as u64);
    let thin = |part: &[Slice]| Slice {
        at: part.last().map_or(0.0, |slice| slice.at),
        offered: mean(part, |slice| slice.offered),
        admitted: mean(part, |slice| slice.admitted),
        ideal: mean(part, |slice| slice.ideal),
        calls: mean(part, |slice| slice.calls),
        held: part.iter().map(|slice| slice.held).max().unwrap_or(0),
    };
    series.chunks(size).map(thin).collect()
}

fn table(series: &[Slice]) -> String {
    let rows = thinned(series, ROWS_MAX).into_iter().map(|slice| {
        let number = |value| number::shown(Shown::Number, value);
        vec![
            format!("{:.1} s", slice.at),
            number(slice.offered),
            number(slice.admitted),
            number(slice.ideal),
            number(slice.calls),
            number::count(slice.held),
        ]
    });
    let heads = [
        "until",
        "offered /s",
        "admitted /s",
        "ideal /s",
        "calls /s",
        "held, most",
    ];
    numbers(&heads, rows)
}

fn last(slices: &[Slice], read: Read) -> f64 {
    // The end of a line wavers; its label stands at the mean of the last tenth.
    let tail = &slices[slices.len() - slices.len().div_ceil(10)..];
    tail.iter().map(read).sum::<f64>() / float(tail.len() as u64)
}

/// Two steps for each pixel at most.
const SLICES_MAX: usize = 480;

/// Rows of the table behind a picture.
const ROWS_MAX: usize = 20;

/// How far beyond the usual volume the plot reaches.
const FLOOD: f64 = 2.5;

/// Limiters whose store load differs more are drawn on a logarithmic scale.
const RATIO_LINEAR: f64 = 20.0;

const WIDTH: f64 = 344.0;
const HEIGHT: f64 = 384.0;
/// Height of a label.
const LABEL: f64 = 13.0;

const VOLUME: Area = strip_from(26.0, 132.0);
const CALLS: Area = strip_from(200.0, 56.0);
const HELD: Area = strip_from(298.0, 48.0);

const fn strip_from(top: f64, height: f64) -> Area {
    Area {
        left: 40.0,
        right: 280.0,
        top,
        bottom: top + height,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "means of equal numbers are exact")]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn thinning_keeps_volumes_and_the_most_held() {
        let slice = |index: u32| Slice {
            at: f64::from(index),
            offered: f64::from(index),
            held: u64::from(index % 7),
            ..Slice::default()
        };
        let series: Vec<Slice> = (1..=1000).map(slice).collect();
        let thin = thinned(&series, 100);
        assert_eq!(thin.len(), 100);
        assert_eq!((thin[0].at, thin[0].offered, thin[0].held), (10.0, 5.5, 6));
        assert_eq!(thin[99].at, 1000.0);
        assert_eq!(thinned(&series[..50], 100).len(), 50);
        assert_eq!(thinned(&[], 100).len(), 0);
    }

    #[test]
    fn the_moment_after_the_load_is_not_drawn() {
        let slice = |offered| Slice {
            offered,
            ..Slice::default()
        };
        let series = [100.0, 90.0, 2.0].map(slice);
        assert_eq!(whole(&series), &series[..2]);
        assert_eq!(whole(&series[..2]), &series[..2]);
        assert_eq!(whole(&series[..1]), &series[..1]);
    }

    #[test]
    fn a_picture_and_a_table_per_limiter() {
        let report = samples::report();
        let html = over_time(&report.scenarios[0].points[0]);
        assert_eq!(html.matches("<svg role=\"img\"").count(), 2);
        assert_eq!(html.matches("<table").count(), 2);
        assert!(!html.contains("NaN"), "{html}");
    }

    #[test]
    fn a_strip_in_which_all_is_zero_becomes_a_sentence() {
        let mut report = samples::report();
        let point = &mut report.scenarios[0].points[0];
        assert!(!over_time(point).contains("0 all the time"));
        for slice in &mut point.limiters[1].runs[0].series {
            slice.held = 0;
        }
        let html = over_time(point);
        assert_eq!(
            html.matches("tokens held: 0 all the time").count(),
            1,
            "{html}"
        );
    }

    #[test]
    fn without_series_there_is_no_picture() {
        let mut report = samples::report();
        let point = &mut report.scenarios[0].points[0];
        for limiter in &mut point.limiters {
            limiter.runs[0].series.clear();
        }
        assert_eq!(over_time(point), "");
    }
}
