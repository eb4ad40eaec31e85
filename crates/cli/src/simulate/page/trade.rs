//! Accuracy against load, in one picture: a mark for each limiter and setting, further left asks
//! less of the store, further down is nearer to one exact bucket.

use std::collections::BTreeSet;

use leasehold_plot::axis::Axis;
use leasehold_plot::frame::{Area, line};
use leasehold_plot::markup::{at, cut, put, text};
use leasehold_plot::{Names, Style};
use leasehold_sim::metrics::{self, Shown};
use leasehold_sim::report::{LimiterReport, Report, ScenarioReport};

use super::settings::{others, setting, size};
use crate::simulate::number;
use crate::simulate::pareto::{self, Cost};

/// A picture of accuracy against load.
pub(super) struct Trade {
    traces: Vec<Trace>,
    /// The unit of the horizontal axis.
    load: &'static str,
    /// The field that tells the places of a trace apart, if they have an order.
    along: Option<String>,
}

/// The places of one limiter, joined by a line if they have an order.
struct Trace {
    limiter: String,
    /// The settings beside the field along the line.
    others: String,
    places: Vec<Place>,
}

struct Place {
    cost: Cost,
    /// The value of the field along the line.
    value: String,
    /// The settings, in words.
    label: String,
    /// Whether an operator could choose it, and nothing beats it.
    is_best: bool,
}

impl Trade {
    /// The picture of a scenario, a line per limiter over `field`; `None` if it has one mark only.
    pub(super) fn of(scenario: &ScenarioReport, field: Option<&str>) -> Option<Self> {
        let groups = pareto::groups(scenario);
        let ordered = field.filter(|field| {
            let mut points = scenario.points.iter();
            points.all(|point| size(setting(point, field)).is_some())
        });
        let mut traces: Vec<Trace> = Vec::new();
        for group in &groups {
            for member in &group.members {
                let point = &scenario.points[member.point];
                let place = Place {
                    cost: member.cost,
                    value: field.map_or("", |field| setting(point, field)).to_owned(),
                    label: point.label.clone(),
                    // In many circumstances, everything would be ringed.
                    is_best: groups.len() == 1 && scenario.points.len() > 1 && member.best,
                };
                let others = ordered.map_or_else(String::new, |field| others(point, field));
                add(
                    &mut traces,
                    &point.limiters[member.limiter].limiter,
                    others,
                    place,
                );
            }
        }
        let marks: usize = traces.iter().map(|trace| trace.places.len()).sum();
        (marks > 1).then(|| Self {
            traces,
            load: "store calls per second",
            along: ordered.map(str::to_owned),
        })
    }

    /// The picture of many scenarios, whose loads differ: calls are counted per request.
    pub(super) fn of_all(report: &Report) -> Self {
        let mut traces: Vec<Trace> = Vec::new();
        for scenario in &report.scenarios {
            for point in &scenario.points {
                for limiter in &point.limiters {
                    let Some(cost) = per_request(limiter) else {
                        continue;
                    };
                    let place = Place {
                        cost,
                        value: String::new(),
                        label: format!("{} {}", scenario.name, point.label),
                        is_best: false,
                    };
                    add(&mut traces, &limiter.limiter, String::new(), place);
                }
            }
        }
        Self {
            traces,
            load: "store calls per request",
            along: None,
        }
    }

    /// The size and the content of the picture.
    pub(super) fn draw(&self) -> (f64, f64, String) {
        let costs = || {
            let places = self.traces.iter().flat_map(|trace| &trace.places);
            places.map(|place| place.cost)
        };
        let calls: Vec<f64> = costs().map(|cost| cost.calls).collect();
        let errors: Vec<f64> = costs().map(|cost| cost.error).collect();
        let (number, percent) = (number::ticks(Shown::Number), number::ticks(Shown::Percent));
        let x = Axis::log(&calls, number, AREA.left + 12.0, AREA.right - 12.0);
        let (bottom, top) = (AREA.bottom - 10.0, AREA.top);
        let most = errors.iter().copied().fold(0.0, f64::max);
        let y = if most > 10.0 * NOTABLE {
            Axis::log_above(NOTABLE, LANE, &errors, percent, bottom, top)
        } else {
            Axis::linear(most, percent, bottom, top)
        };
        let mut svg = String::from("<g class=\"large\">");
        svg.push_str(&AREA.y_axis(&y, "error (lower is better)"));
        svg.push_str(&AREA.x_axis(&x, &format!("{} (further left is better)", self.load)));
        let place = |place: &Place| (x.at(place.cost.calls), y.at(place.cost.error));
        // Ours comes first, and so is drawn last: on top.
        for trace in self.traces.iter().rev() {
            let style = Style::of(&trace.limiter);
            if self.along.is_some() {
                let places: Vec<(f64, f64)> = trace.places.iter().map(place).collect();
                let (class, path) = (style.class(), line(&places));
                put!(svg, "<path class=\"line dashed {class}\" d=\"{path}\"/>");
            }
            for each in &trace.places {
                let (x, y) = place(each);
                if each.is_best {
                    let (x, y) = (at(x), at(y));
                    put!(
                        svg,
                        "<circle class=\"best\" cx=\"{x}\" cy=\"{y}\" r=\"8\"/>"
                    );
                }
                let says = format!(
                    "{} {}: {} {}, error {}",
                    trace.limiter,
                    each.label,
                    number::shown(Shown::Number, each.cost.calls),
                    self.load,
                    number::shown(Shown::Percent, each.cost.error)
                );
                svg.push_str(&style.mark(x, y, &text(&says).to_string()));
            }
        }
        svg.push_str(&self.names(place));
        svg.push_str("</g>");
        (WIDTH, HEIGHT, svg)
    }

    /// Names each limiter once, and says at the ends of its line which values they are of.
    fn names(&self, at_place: impl Fn(&Place) -> (f64, f64)) -> String {
        let mut names = Names::within(Area {
            right: WIDTH,
            ..AREA
        });
        for place in self.traces.iter().flat_map(|trace| &trace.places) {
            let (x, y) = at_place(place);
            names.take_mark(x, y);
        }
        let mut svg = String::new();
        let mut put_name = |class: &str, name: &str, (x, y): (f64, f64)| {
            let letters = name.chars().count();
            let found = match class {
                VALUE => names.above(x, y, letters),
                _ => names.beside(x, y, letters),
            };
            let Some((x, y)) = found else {
                return false;
            };
            let (x, y, name) = (at(x), at(y), text(name));
            put!(
                svg,
                "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{name}</text>"
            );
            true
        };
        let alone = self.limiters().len() == 1;
        let mut done = BTreeSet::new();
        for trace in &self.traces {
            let class = format!("label {}", Style::of(&trace.limiter).class());
            if alone && self.along.is_none() {
                for place in &trace.places {
                    put_name(&class, &cut(&place.label, NAME_LETTERS), at_place(place));
                }
            } else if !done.contains(&trace.limiter) {
                let name = cut(&trace.limiter, NAME_LETTERS);
                let mut places = trace.places.iter().rev().map(&at_place);
                if places.any(|place| put_name(&class, &name, place)) {
                    done.insert(&trace.limiter);
                }
            }
        }
        // Everybody's line runs the same way: one shows it.
        if let (Some(_), Some(first)) = (&self.along, self.traces.first())
            && let [from, .., to] = first.places.as_slice()
        {
            for place in [from, to] {
                put_name(VALUE, &place.value, at_place(place));
            }
        }
        svg
    }

    /// The picture in words.
    pub(super) fn says(&self) -> String {
        let limiters = self.limiters().into_iter().collect::<Vec<_>>().join(", ");
        let load = self.load;
        format!("Error against {load}, a mark per setting of each limiter: {limiters}.")
    }

    /// How to read it, in words for the page.
    pub(super) fn reading(&self) -> String {
        let ends = || {
            let trace = self.traces.iter().max_by_key(|trace| trace.places.len())?;
            Some((&trace.places.first()?.value, &trace.places.last()?.value))
        };
        let mut says = match (&self.along, ends()) {
            (Some(field), Some((first, last))) => {
                let others: BTreeSet<&str> = self.traces.iter().map(|it| &*it.others).collect();
                let others = match others.len() {
                    0 | 1 => String::new(),
                    _ => format!(
                        ", one for each of {}",
                        others.into_iter().collect::<Vec<_>>().join(", ")
                    ),
                };
                format!("Each line is a limiter, from {field} = {first} to {last}{others}. ")
            }
            _ => "Each mark is a limiter at one setting. ".to_owned(),
        };
        let mut places = self.traces.iter().flat_map(|trace| &trace.places);
        if places.any(|place| place.is_best) {
            says.push_str("A ringed mark is beaten by no other in both respects. ");
        }
        says + ERROR
    }

    fn limiters(&self) -> BTreeSet<&str> {
        let names = self.traces.iter().map(|trace| trace.limiter.as_str());
        names.collect()
    }
}

/// Adds a place to the line that it belongs to.
fn add(traces: &mut Vec<Trace>, limiter: &str, others: String, place: Place) {
    let known = traces
        .iter_mut()
        .find(|trace| trace.limiter == limiter && trace.others == others);
    match known {
        Some(trace) => trace.places.push(place),
        None => traces.push(Trace {
            limiter: limiter.to_owned(),
            others,
            places: vec![place],
        }),
    }
}

fn per_request(limiter: &LimiterReport) -> Option<Cost> {
    let cost = Cost::of(limiter)?;
    let offered = metrics::find("offered").expect("a measure of ours");
    let calls = cost.calls / limiter.spread(offered)?.mean;
    calls.is_finite().then_some(Cost { calls, ..cost })
}

const ERROR: &str = "Error: what was admitted over the limit, as a share of the burst, or what was \
missing of what one exact bucket admits, whichever is larger.";

/// Errors below a hundredth are told apart on a linear scale: their ratios are noise.
const NOTABLE: f64 = 0.01;

/// The room that they take.
const LANE: f64 = 64.0;

/// The class of a value at the end of a line.
const VALUE: &str = "value";

/// Letters of a limiter's name that have room beside a mark.
const NAME_LETTERS: usize = 24;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 380.0;

const AREA: Area = Area {
    left: 58.0,
    right: WIDTH - 14.0,
    top: 34.0,
    bottom: HEIGHT - 46.0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::{self, limiter, point, scenario};

    #[test]
    fn one_picture_has_every_limiter_at_every_setting_and_names_each_once() {
        let report = samples::report();
        let trade = Trade::of(&report.scenarios[0], Some("replicas")).unwrap();
        let (_, _, svg) = trade.draw();
        assert_eq!(svg.matches("class=\"mark").count(), 4, "{svg}");
        assert_eq!(svg.matches("class=\"line dashed").count(), 2);
        for name in ["leased", "central"] {
            assert_eq!(svg.matches(&format!(">{name}</text>")).count(), 1, "{name}");
        }
        assert!(trade.reading().contains("from replicas = 1 to 10"));
    }

    #[test]
    fn with_nothing_to_compare_there_is_no_picture() {
        let alone = scenario(vec![point(&[], vec![limiter("leased", 1.0, 0.0)])]);
        assert!(Trade::of(&alone, None).is_none());
    }

    #[test]
    fn what_nothing_beats_is_ringed_where_one_can_choose() {
        let at = |interval, calls, error| {
            let limiters = vec![limiter("leased", calls, error)];
            point(&[("interval", interval)], limiters)
        };
        let points = vec![at("10ms", 9.0, 0.0), at("1s", 1.0, 0.2), at("2s", 2.0, 0.3)];
        let trade = Trade::of(&scenario(points), Some("interval")).unwrap();
        let (_, _, svg) = trade.draw();
        assert_eq!(svg.matches("class=\"best\"").count(), 2, "{svg}");
        assert!(trade.reading().contains("ringed"));
    }
}
