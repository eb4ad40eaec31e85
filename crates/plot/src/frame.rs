//! The frame of a plot: its axes, lines in it, and labels in a column that do not collide.

use crate::STYLE;
use crate::axis::Axis;
use crate::markup::{at, put, text};

/// Where a plot lies in its picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The edge at which the scale stands.
    pub left: f64,
    /// The opposite edge.
    pub right: f64,
    /// The edge of the largest value.
    pub top: f64,
    /// The edge of the least value.
    pub bottom: f64,
}

impl Area {
    /// The scale at the left with lines across, and what it measures above it.
    pub fn y_axis(&self, axis: &Axis, title: &str) -> String {
        let mut svg = String::from("<g class=\"axis\">");
        for tick in &axis.ticks {
            let (y, left, right) = (at(tick.at), at(self.left), at(self.right));
            put!(svg, "<path class=\"grid\" d=\"M{left} {y}H{right}\"/>");
            let (x, y) = (at(self.left - 6.0), at(tick.at + 3.5));
            put!(
                svg,
                "<text class=\"end\" x=\"{x}\" y=\"{y}\">{}</text>",
                text(&tick.label)
            );
        }
        if let Some(gap) = axis.gap() {
            let (left, right) = (at(self.left), at(self.right));
            for y in [at(gap - 2.0), at(gap + 2.0)] {
                put!(svg, "<path class=\"break\" d=\"M{left} {y}H{right}\"/>");
            }
            let (x, y) = (at(self.left - 4.0), at(gap + 5.0));
            put!(svg, "<path class=\"torn\" d=\"M{x} {y}l8-6m-8 2l8-6\"/>");
        }
        let y = at(self.top - 14.0);
        put!(
            svg,
            "<text class=\"measure\" x=\"0\" y=\"{y}\">{}</text></g>",
            text(title)
        );
        svg
    }

    /// The scale at the bottom, and what it measures below it.
    pub fn x_axis(&self, axis: &Axis, title: &str) -> String {
        let mut svg = String::from("<g class=\"axis\">");
        let (left, right, bottom) = (at(self.left), at(self.right), at(self.bottom));
        put!(svg, "<path class=\"base\" d=\"M{left} {bottom}H{right}\"/>");
        if let Some(gap) = axis.gap() {
            let (top, bottom) = (at(self.top), at(self.bottom));
            for x in [at(gap - 2.0), at(gap + 2.0)] {
                put!(svg, "<path class=\"break\" d=\"M{x} {bottom}V{top}\"/>");
            }
            let (x, y) = (at(gap - 5.0), at(self.bottom + 4.0));
            put!(svg, "<path class=\"torn\" d=\"M{x} {y}l6-8m-2 8l6-8\"/>");
        }
        for tick in &axis.ticks {
            let (x, y) = (at(tick.at), at(self.bottom + 16.0));
            put!(svg, "<path class=\"base\" d=\"M{x} {bottom}v4\"/>");
            put!(
                svg,
                "<text class=\"middle\" x=\"{x}\" y=\"{y}\">{}</text>",
                text(&tick.label)
            );
        }
        let middle = at(f64::midpoint(self.left, self.right));
        let y = at(self.bottom + 32.0);
        put!(
            svg,
            "<text class=\"middle\" x=\"{middle}\" y=\"{y}\">{}</text></g>",
            text(title)
        );
        svg
    }
}

/// A picture. `label` says in words what it shows.
pub fn picture(width: f64, height: f64, label: &str, content: &str) -> String {
    let (width, height) = (at(width), at(height));
    format!(
        "<svg role=\"img\" aria-label=\"{}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">{content}</svg>",
        text(label)
    )
}

/// A picture as a document of its own, with its style sheet and its paper.
pub fn document(width: f64, height: f64, label: &str, content: &str) -> String {
    let (left, top) = (at(-MARGIN), at(-MARGIN));
    let (width, height) = (at(width + 2.0 * MARGIN), at(height + 2.0 * MARGIN));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         viewBox=\"{left} {top} {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n<rect class=\"paper\" x=\"{left}\" \
         y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n{content}\n</svg>\n",
        text(label)
    )
}

/// A line through places.
pub fn line(places: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, (x, y)) in places.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        put!(path, "{command}{} {}", at(*x), at(*y));
    }
    path
}

/// A line that keeps each height from the place before to its own; the first begins at `x`.
pub fn steps(mut x: f64, places: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut height = None;
    let mut drawn_to = String::new();
    for (next, y) in places {
        let y = at(*y);
        match height {
            None => put!(path, "M{} {y}", at(x)),
            Some(ref old) if *old != y => put!(path, "H{}V{y}", at(x)),
            Some(_) => {}
        }
        height = Some(y);
        x = *next;
        drawn_to = at(x);
    }
    if height.is_some() {
        put!(path, "H{drawn_to}");
    }
    path
}

/// Moves labels of one column apart, so that each has `height`, all lie from `top` to `bottom`,
/// and none is further from where it wants to be than it must.
pub fn spread(wanted: &[f64], height: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut free = top;
    for index in &order {
        places[*index] = places[*index].max(free);
        free = places[*index] + height;
    }
    let mut free = bottom;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(free);
        free = places[*index] - height;
    }
    places
}

/// Paper around the picture of a document.
const MARGIN: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_height_and_take_few_letters() {
        let places = [(10.0, 5.0), (20.0, 5.0), (30.0, 7.0)];
        assert_eq!(steps(0.0, &places), "M0 5H20V7H30");
        assert_eq!(steps(0.0, &[]), "");
        assert_eq!(line(&[(0.0, 1.0), (2.0, 3.25)]), "M0 1L2 3.2");
    }

    #[test]
    fn labels_move_apart_and_stay_inside() {
        assert_eq!(spread(&[50.0, 10.0], 12.0, 0.0, 100.0), [50.0, 10.0]);
        assert_eq!(spread(&[50.0, 50.0], 12.0, 0.0, 100.0), [50.0, 62.0]);
        assert_eq!(spread(&[99.0, 98.0], 12.0, 0.0, 100.0), [100.0, 88.0]);
    }

    #[test]
    fn a_picture_is_named_in_words() {
        let svg = picture(10.0, 5.0, "a <b>", "");
        assert!(
            svg.contains("role=\"img\" aria-label=\"a &lt;b&gt;\""),
            "{svg}"
        );
    }
}
