//! Accuracy against load: each limiter and setting is a mark, further left asks less of the store,
//! further down is nearer to the ideal. What nothing beats is joined by a line and named.

use leasehold_sim::metrics::Shown;
use leasehold_sim::report::{PointReport, ScenarioReport};

use super::axis::{Axis, LETTER};
use super::markup::{at, cut, put, text};
use super::palette::Palette;
use super::plot::{Area, line, picture};
use super::tables::numbers;
use crate::simulate::number;
use crate::simulate::pareto::{self, Cost, Group, Member};

/// Pictures of a scenario, one per circumstance, all with the same scales; empty if there is
/// nothing to choose from.
pub(super) fn scatter(scenario: &ScenarioReport, palette: &Palette) -> String {
    let groups = pareto::groups(scenario);
    if !groups.iter().any(|group| group.members.len() > 1) {
        return String::new();
    }
    let shown = chosen(&groups, GROUPS_MAX);
    let single = shown.len() == 1;
    let (width, height) = if single { SINGLE } else { SEVERAL };
    let area = Area {
        left: 50.0,
        right: width - 14.0,
        top: 32.0,
        bottom: height - 42.0,
    };
    let costs = || {
        groups
            .iter()
            .flat_map(|group| &group.members)
            .map(|member| member.cost)
    };
    let calls: Vec<f64> = costs().map(|cost| cost.calls).collect();
    let errors: Vec<f64> = costs().map(|cost| cost.error).collect();
    let frame = Frame {
        scenario,
        palette,
        width,
        height,
        area,
        x: Axis::log(&calls, Shown::Number, area.left + 8.0, area.right - 40.0),
        y: Axis::fitting(&errors, Shown::Percent, area.bottom - 8.0, area.top),
    };
    let mut html = format!(
        "<div class=\"plots{}\">",
        if single { " single" } else { "" }
    );
    for group in &shown {
        html.push_str("<figure>");
        if !group.label.is_empty() {
            put!(html, "<figcaption>{}</figcaption>", text(&group.label));
        }
        put!(html, "{}{}</figure>", frame.draw(group), frame.table(group));
    }
    html.push_str("</div>");
    if shown.len() < groups.len() {
        let (some, all) = (shown.len(), groups.len());
        put!(
            html,
            "<p class=\"aside\">{some} of {all} are drawn; tables have all.</p>"
        );
    }
    html
}

/// So many of many, evenly spaced, the first and the last among them.
fn chosen(groups: &[Group], most: usize) -> Vec<&Group> {
    if groups.len() <= most {
        return groups.iter().collect();
    }
    let last = groups.len() - 1;
    (0..most)
        .map(|index| &groups[index * last / (most - 1)])
        .collect()
}

/// What the pictures of a scenario share.
struct Frame<'r> {
    scenario: &'r ScenarioReport,
    palette: &'r Palette,
    width: f64,
    height: f64,
    area: Area,
    x: Axis,
    y: Axis,
}

impl Frame<'_> {
    fn draw(&self, group: &Group) -> String {
        let title = if self.y.is_log() {
            "error, logarithmic"
        } else {
            "error"
        };
        let mut svg = self.area.y_axis(&self.y, title);
        svg.push_str(&self.area.x_axis(&self.x, "store calls per second"));
        let mut front: Vec<&Member> = group.members.iter().filter(|it| it.best).collect();
        front.sort_by(|a, b| a.cost.calls.total_cmp(&b.cost.calls));
        let places: Vec<(f64, f64)> = front.iter().map(|it| self.place(it.cost)).collect();
        put!(svg, "<path class=\"front\" d=\"{}\"/>", line(&places));
        // Ours comes first, and so is drawn last: on top.
        for member in group.members.iter().rev() {
            let (x, y) = self.place(member.cost);
            let (point, limiter) = self.of(member);
            let says = format!(
                "{}{}{}: {} calls/s, error {}",
                text(limiter),
                if point.label.is_empty() { "" } else { ", " },
                text(&point.label),
                number::shown(Shown::Number, member.cost.calls),
                number::shown(Shown::Percent, member.cost.error)
            );
            if member.best {
                put!(
                    svg,
                    "<circle class=\"best\" cx=\"{}\" cy=\"{}\" r=\"8\"/>",
                    at(x),
                    at(y)
                );
            }
            svg.push_str(&self.palette.mark(limiter, x, y, &says));
        }
        svg.push_str(&self.names(group));
        let label = format!(
            "Error against store calls per second{}{}. {} of {} marks are on the Pareto front.",
            if group.label.is_empty() { "" } else { " with " },
            group.label,
            front.len(),
            group.members.len()
        );
        picture(self.width, self.height, &label, &svg)
    }

    /// Names what is on the front, and each other limiter once, where there is room.
    fn names(&self, group: &Group) -> String {
        let mut room = Room::new(self.area, self.width);
        for member in &group.members {
            let (x, y) = self.place(member.cost);
            room.take(x - 5.0, y - 5.0, 10.0, 10.0);
        }
        let (best, others): (Vec<&Member>, Vec<&Member>) =
            group.members.iter().partition(|member| member.best);
        let mut named = Vec::new();
        let mut svg = String::new();
        for member in best.into_iter().chain(others) {
            let (point, limiter) = self.of(member);
            // What no choice moves is one mark, and has one name.
            let moves = group
                .members
                .iter()
                .any(|other| self.of(other).1 == limiter && other.cost != member.cost);
            if named.contains(&limiter) && !(member.best && moves) {
                continue;
            }
            let choices = pareto::choices(point);
            let name = if member.best && moves && !choices.is_empty() {
                format!("{limiter} {choices}")
            } else {
                limiter.to_owned()
            };
            let name = cut(&name, NAME_LETTERS);
            let (x, y) = self.place(member.cost);
            if let Some((x, y)) = room.beside(x, y, &name) {
                named.push(limiter);
                let class = self.palette.class(limiter);
                let (x, y) = (at(x), at(y));
                put!(
                    svg,
                    "<text class=\"label {class}\" x=\"{x}\" y=\"{y}\">{}</text>",
                    text(&name)
                );
            }
        }
        svg
    }

    fn place(&self, cost: Cost) -> (f64, f64) {
        (self.x.at(cost.calls), self.y.at(cost.error))
    }

    fn of(&self, member: &Member) -> (&PointReport, &str) {
        let point = &self.scenario.points[member.point];
        (point, &point.limiters[member.limiter].limiter)
    }

    fn table(&self, group: &Group) -> String {
        let rows = group.members.iter().map(|member| {
            let (point, limiter) = self.of(member);
            vec![
                point.label.clone(),
                limiter.to_owned(),
                number::shown(Shown::Number, member.cost.calls),
                number::shown(Shown::Percent, member.cost.error),
                if member.best { "on the front" } else { "" }.to_owned(),
            ]
        });
        numbers(&["point", "limiter", "calls /s", "error", ""], rows)
    }
}

/// Where in a picture something stands already.
struct Room {
    taken: Vec<[f64; 4]>,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Room {
    fn new(area: Area, width: f64) -> Self {
        Self {
            taken: Vec::new(),
            left: area.left,
            right: width,
            top: area.top - 10.0,
            bottom: area.bottom,
        }
    }

    fn take(&mut self, x: f64, y: f64, width: f64, height: f64) {
        self.taken.push([x, y, x + width, y + height]);
    }

    /// Where a name may begin: right of a mark, above, below or left of it, if there is room.
    fn beside(&mut self, x: f64, y: f64, name: &str) -> Option<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let width = name.chars().count() as f64 * LETTER;
        let middle = x - width / 2.0;
        let places = [
            (x + 13.0, y + 4.0),
            (middle, y - 11.0),
            (middle, y + 19.0),
            (x - 13.0 - width, y + 4.0),
        ];
        let found = places
            .into_iter()
            .find(|(x, y)| self.is_free(*x, *y, width))?;
        self.take(found.0, found.1 - 10.0, width, 13.0);
        Some(found)
    }

    fn is_free(&self, x: f64, y: f64, width: f64) -> bool {
        let [left, top, right, bottom] = [x, y - 10.0, x + width, y + 3.0];
        let inside = left >= self.left && right <= self.right;
        let inside = inside && top >= self.top && bottom <= self.bottom;
        let apart = |other: &[f64; 4]| {
            right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top
        };
        inside && self.taken.iter().all(apart)
    }
}

/// More pictures than these nobody compares.
const GROUPS_MAX: usize = 9;

/// What has room beside a mark.
const NAME_LETTERS: usize = 34;

const SINGLE: (f64, f64) = (700.0, 360.0);
const SEVERAL: (f64, f64) = (344.0, 250.0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples::{self, limiter, point, scenario};

    #[test]
    fn names_never_lie_on_each_other_or_outside() {
        let area = Area {
            left: 0.0,
            right: 200.0,
            top: 10.0,
            bottom: 100.0,
        };
        let mut room = Room::new(area, 200.0);
        room.take(95.0, 45.0, 10.0, 10.0);
        let first = room.beside(100.0, 50.0, "leased").unwrap();
        let second = room.beside(100.0, 50.0, "leased").unwrap();
        assert_ne!(first, second);
        assert_eq!(first, (113.0, 54.0));
        assert_eq!(room.beside(195.0, 12.0, &"x".repeat(50)), None);
    }

    #[test]
    fn one_picture_per_circumstance() {
        let report = samples::report();
        let html = scatter(&report.scenarios[0], &Palette::of(&report));
        assert_eq!(html.matches("<svg role=\"img\"").count(), 2);
        assert!(html.contains("<figcaption>replicas=10</figcaption>"));
        assert_eq!(html.matches("class=\"best\"").count(), 2);
    }

    #[test]
    fn with_nothing_to_choose_from_there_is_no_picture() {
        let alone = scenario(vec![point(&[], vec![limiter("leased", 1.0, 0.0)])]);
        assert_eq!(scatter(&alone, &Palette::of(&samples::report())), "");
    }

    #[test]
    fn of_many_the_first_and_the_last_are_shown() {
        let group = |index: usize| Group {
            label: index.to_string(),
            members: Vec::new(),
        };
        let groups: Vec<Group> = (0..50).map(group).collect();
        let chosen = chosen(&groups, 9);
        assert_eq!(chosen.len(), 9);
        assert_eq!((&*chosen[0].label, &*chosen[8].label), ("0", "49"));
    }
}
