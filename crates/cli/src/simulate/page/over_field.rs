//! Plots of a sweep: measures over the field that varies, a line per limiter.

use leasehold_plot::Style;
use leasehold_plot::axis::Axis;
use leasehold_plot::frame::{Area, line, picture, spread};
use leasehold_plot::markup::{at, cut, put, text};
use leasehold_sim::metrics::{self, Metric, Shown};
use leasehold_sim::numbers::float;
use leasehold_sim::report::{PointReport, ScenarioReport, Spread};

use super::settings::{others, setting, size};
use super::tables::numbers;
use crate::simulate::number;

/// Pictures of all measures over `field`, a row for each combination of the other settings.
pub(super) fn over_field(scenario: &ScenarioReport, field: &str) -> String {
    let mut rows: Vec<(String, Vec<&PointReport>)> = Vec::new();
    for point in &scenario.points {
        let others = others(point, field);
        match rows.iter_mut().find(|(label, _)| *label == others) {
            Some((_, points)) => points.push(point),
            None => rows.push((others, vec![point])),
        }
    }
    let mut html = String::new();
    for (label, points) in rows.iter().take(ROWS_MAX) {
        if !label.is_empty() {
            put!(html, "<h4>{}</h4>", text(label));
        }
        let plots = MEASURES.map(|(name, title)| Plot {
            field,
            metric: metrics::find(name).expect("a measure of ours"),
            title,
            points,
        });
        let (flat, drawn): (Vec<_>, Vec<_>) = plots.iter().partition(|plot| plot.is_zero());
        html.push_str("<div class=\"plots\">");
        for plot in drawn {
            html.push_str(&plot.figure());
        }
        html.push_str("</div>\n");
        for plot in flat {
            let zero = number::shown(plot.metric.shown, 0.0);
            put!(
                html,
                "<p class=\"flat\">{}: {zero}, for every limiter at every point.</p>\n",
                plot.title
            );
        }
    }
    if rows.len() > ROWS_MAX {
        let all = rows.len();
        put!(
            html,
            "<p class=\"aside\">{ROWS_MAX} of {all} combinations are drawn; tables have all.</p>"
        );
    }
    html
}

/// One measure over the field.
struct Plot<'p> {
    field: &'p str,
    metric: &'static Metric,
    title: &'static str,
    points: &'p [&'p PointReport],
}

/// A limiter's measurements at the values of the field.
struct Trace<'p> {
    limiter: &'p str,
    places: Vec<Measured<'p>>,
}

struct Measured<'p> {
    value: &'p str,
    x: f64,
    spread: Spread,
}

impl Plot<'_> {
    fn figure(&self) -> String {
        let (svg, logarithmic) = self.draw();
        let note = if logarithmic {
            " <span class=\"aside\">logarithmic</span>"
        } else {
            ""
        };
        let (title, table) = (self.title, self.table());
        format!("<figure><figcaption>{title}{note}</figcaption>{svg}{table}</figure>")
    }

    /// Whether there is nothing to see: every line would lie on zero.
    fn is_zero(&self) -> bool {
        let limiters = self.points.iter().flat_map(|point| &point.limiters);
        let mut spreads = limiters.filter_map(|limiter| limiter.spread(self.metric));
        spreads.all(|spread| spread.min == 0.0 && spread.max == 0.0)
    }

    fn draw(&self) -> (String, bool) {
        let (x_axis, sizes) = self.x_axis();
        let traces = self.traces(sizes.as_deref());
        let all = || traces.iter().flat_map(|trace| &trace.places);
        let heights: Vec<f64> = all().map(|it| self.height(&it.spread)).collect();
        let y_axis = Axis::fitting(
            &heights,
            number::ticks(self.metric.shown),
            AREA.bottom,
            AREA.top,
        );
        let mut svg = AREA.y_axis(&y_axis, "");
        svg.push_str(&AREA.x_axis(&x_axis, self.field));
        let mut ends = Vec::new();
        // Ours comes first, and so is drawn last: on top.
        for trace in traces.iter().rev() {
            let place = |it: &Measured| (x_axis.at(it.x), y_axis.at(self.height(&it.spread)));
            let places: Vec<(f64, f64)> = trace.places.iter().map(place).collect();
            let Some((_, end)) = places.last() else {
                continue;
            };
            ends.push((trace, *end));
            let class = Style::of(trace.limiter).class();
            if sizes.is_some() {
                put!(
                    svg,
                    "<path class=\"line dashed {class}\" d=\"{}\"/>",
                    line(&places)
                );
            }
            for (it, (x, y)) in trace.places.iter().zip(&places) {
                if it.spread.max > it.spread.min {
                    let (low, high) = (at(y_axis.at(it.spread.min)), at(y_axis.at(it.spread.max)));
                    put!(
                        svg,
                        "<path class=\"range {class}\" d=\"M{} {low}V{high}\"/>",
                        at(*x)
                    );
                }
                svg.push_str(&Style::of(trace.limiter).mark(*x, *y, &self.says(trace.limiter, it)));
            }
        }
        svg.push_str(&self.labels(&ends));
        let label = format!("{} over {}, a line per limiter.", self.title, self.field);
        (picture(WIDTH, HEIGHT, &label, &svg), y_axis.is_log())
    }

    /// Each line has its name and its last value at its end.
    fn labels(&self, ends: &[(&Trace<'_>, f64)]) -> String {
        let wanted: Vec<f64> = ends.iter().map(|(_, y)| y + 1.0).collect();
        let places = spread(&wanted, LABEL, AREA.top + 4.0, AREA.bottom - 6.0);
        let mut svg = String::new();
        for ((trace, _), y) in ends.iter().zip(places) {
            let class = Style::of(trace.limiter).class();
            let last = trace.places.last().expect("it has an end");
            let value = number::shown(self.metric.shown, self.height(&last.spread));
            put!(
                svg,
                "<text class=\"label {class}\" x=\"{x}\" y=\"{}\">{}\
                 <tspan class=\"value\" x=\"{x}\" dy=\"12\">{}</tspan></text>",
                at(y),
                text(&cut(trace.limiter, NAME_LETTERS)),
                text(&value),
                x = at(AREA.right + 10.0),
            );
        }
        svg
    }

    fn says(&self, limiter: &str, it: &Measured) -> String {
        let value = self.shown(&it.spread);
        let limiter = text(limiter);
        format!(
            "{limiter}, {}={}: {}",
            text(self.field),
            text(it.value),
            text(&value)
        )
    }

    /// The number of a spread that is drawn: the worst where one bad run is one too many, else the
    /// mean.
    fn height(&self, spread: &Spread) -> f64 {
        if self.is_worst() {
            spread.max
        } else {
            spread.mean
        }
    }

    fn shown(&self, spread: &Spread) -> String {
        let shown = self.metric.shown;
        if self.is_worst() {
            number::shown(shown, spread.max)
        } else {
            number::with_margin(shown, spread.mean, spread.margin)
        }
    }

    fn is_worst(&self) -> bool {
        self.metric.name.starts_with("overshoot")
    }

    /// The axis of the field, and where its values lie if they are numbers.
    fn x_axis(&self) -> (Axis, Option<Vec<f64>>) {
        let values: Vec<&str> = self
            .points
            .iter()
            .map(|it| setting(it, self.field))
            .collect();
        let labels: Vec<String> = values.iter().map(|value| cut(value, 12)).collect();
        let sizes: Option<Vec<f64>> = values.iter().map(|value| size(value)).collect();
        let (from, to) = (AREA.left + 8.0, AREA.right - 4.0);
        let Some(sizes) = sizes else {
            let order: Vec<f64> = (0..values.len() as u64).map(float).collect();
            let axis = Axis::ordinal(values.len(), from, to);
            return (axis.ticked_at(&order, &labels), None);
        };
        let least = sizes
            .iter()
            .copied()
            .filter(|it| *it > 0.0)
            .fold(f64::INFINITY, f64::min);
        let most = sizes.iter().copied().fold(0.0, f64::max);
        let low = sizes.iter().copied().fold(f64::INFINITY, f64::min);
        let axis = if most >= least * SPACED_BY_RATIO {
            Axis::log(&sizes, number::ticks(Shown::Number), from, to)
        } else {
            Axis::between(low, most, number::ticks(Shown::Number), from, to)
        };
        (axis.ticked_at(&sizes, &labels), Some(sizes))
    }

    fn traces(&self, sizes: Option<&[f64]>) -> Vec<Trace<'_>> {
        let mut traces: Vec<Trace<'_>> = Vec::new();
        for (index, point) in self.points.iter().enumerate() {
            let x = sizes.map_or(float(index as u64), |sizes| sizes[index]);
            for limiter in &point.limiters {
                let Some(spread) = limiter.spread(self.metric) else {
                    continue;
                };
                let place = Measured {
                    value: setting(point, self.field),
                    x,
                    spread,
                };
                let name = limiter.limiter.as_str();
                match traces.iter_mut().find(|trace| trace.limiter == name) {
                    Some(trace) => trace.places.push(place),
                    None => traces.push(Trace {
                        limiter: name,
                        places: vec![place],
                    }),
                }
            }
        }
        for trace in &mut traces {
            trace.places.sort_by(|a, b| a.x.total_cmp(&b.x));
        }
        traces
    }

    fn table(&self) -> String {
        let mut heads = vec![self.field];
        let limiters = &self.points[0].limiters;
        heads.extend(limiters.iter().map(|limiter| limiter.limiter.as_str()));
        let rows = self.points.iter().map(|point| {
            let spreads = point
                .limiters
                .iter()
                .map(|limiter| limiter.spread(self.metric));
            let cells = spreads.map(|it| it.map_or("–".to_owned(), |it| self.shown(&it)));
            [setting(point, self.field).to_owned()]
                .into_iter()
                .chain(cells)
                .collect()
        });
        numbers(&heads, rows)
    }
}

/// The measures that are plotted, each with its title.
const MEASURES: [(&str, &str); 7] = [
    ("overshoot", "Tokens over the limit, worst seed"),
    ("deficit", "Missing of what one exact bucket admits"),
    ("false-denials", "Denied although nothing was scarce"),
    ("store-calls", "Store calls per second"),
    ("round-trips", "Round trips to the store per second"),
    ("latency-p99", "Time to decide, p99 of all requests"),
    ("wait-p99", "Time to decide, p99 of those that waited"),
];

/// More rows of pictures than these nobody looks at.
const ROWS_MAX: usize = 8;

/// Values of a field this far apart are spaced by their ratios: 1, 2, 5, 10, 20, 50.
const SPACED_BY_RATIO: f64 = 20.0;

/// Letters of a limiter's name that have room beside a plot.
const NAME_LETTERS: usize = 15;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 232.0;
/// Height of a name with its value.
const LABEL: f64 = 27.0;

const AREA: Area = Area {
    left: 50.0,
    right: 238.0,
    top: 14.0,
    bottom: 192.0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn a_measure_has_a_picture_and_a_table_or_a_sentence_if_all_of_it_is_zero() {
        let mut report = samples::report();
        let html = over_field(&report.scenarios[0], "replicas");
        // Of the samples, store calls alone are not zero.
        assert_eq!(html.matches("<svg role=\"img\"").count(), 1);
        assert_eq!(html.matches("<table").count(), 1);
        assert_eq!(
            html.matches("<p class=\"flat\">").count(),
            MEASURES.len() - 1
        );
        let sentence = "nothing was scarce: 0 %, for every limiter at every point";
        assert!(html.contains(sentence), "{html}");
        report.scenarios[0].points[1].limiters[1].runs[0]
            .summary
            .false_denial_share = 0.5;
        let html = over_field(&report.scenarios[0], "replicas");
        assert_eq!(html.matches("<svg role=\"img\"").count(), 2);
        assert!(!html.contains(sentence), "{html}");
        assert!(html.contains("leased, replicas=10: 10</title>"), "{html}");
    }
}
