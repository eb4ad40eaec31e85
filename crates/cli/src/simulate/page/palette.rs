//! One colour and one mark per limiter, the same on the whole page.
//!
//! Colours are Okabe's and Ito's, which colour-blind people can tell apart, a little darker on
//! paper and a little lighter at night; see `style.css`. Marks differ in shape and dashes too.

use std::collections::BTreeSet;

use leasehold_sim::report::Report;
use leasehold_sim::scenario::LEASED;

use super::markup::at;

/// The limiters of a report: ours, then the rivals by name.
#[derive(Clone, Debug)]
pub(super) struct Palette(Vec<String>);

impl Palette {
    pub(super) fn of(report: &Report) -> Self {
        let points = report.scenarios.iter().flat_map(|it| &it.points);
        let limiters = points.flat_map(|point| &point.limiters);
        let names: BTreeSet<&str> = limiters.map(|limiter| limiter.limiter.as_str()).collect();
        let rivals = names.into_iter().filter(|name| *name != LEASED);
        Self(
            [LEASED]
                .into_iter()
                .chain(rivals)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// The class of everything that is drawn for a limiter.
    pub(super) fn class(&self, limiter: &str) -> String {
        format!("l{}", self.position(limiter) % COLOURS)
    }

    /// A mark at a place; `title` shows when it is pointed at, and must be escaped.
    pub(super) fn mark(&self, limiter: &str, x: f64, y: f64, title: &str) -> String {
        let (class, x, y) = (self.class(limiter), at(x), at(y));
        match OUTLINES[self.position(limiter) % OUTLINES.len()] {
            None => format!(
                "<circle class=\"mark {class}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"><title>{title}</title></circle>"
            ),
            Some(outline) => format!(
                "<path class=\"mark {class}\" d=\"M{x} {y}{outline}\"><title>{title}</title></path>"
            ),
        }
    }

    fn position(&self, limiter: &str) -> usize {
        let found = self.0.iter().position(|known| known == limiter);
        found.unwrap_or_default()
    }
}

/// Colours in the style sheet. Whoever compares more limiters tells them apart by their names.
const COLOURS: usize = 7;

/// A circle; from the middle, a square, a triangle, a diamond, a triangle upside down, a cross and a
/// bar.
const OUTLINES: [Option<&str>; COLOURS] = [
    None,
    Some("m-3.6-3.6h7.2v7.2h-7.2z"),
    Some("m0-4.8l4.6 8h-9.2z"),
    Some("m0-5l5 5-5 5-5-5z"),
    Some("m0 4.8l4.6-8h-9.2z"),
    Some("m-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"),
    Some("m-5-1.8h10v3.6h-10z"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::samples;

    #[test]
    fn ours_comes_first_and_each_limiter_keeps_its_colour() {
        let palette = Palette::of(&samples::report());
        assert_eq!(palette.class("leased"), "l0");
        assert_eq!(palette.class("central"), "l1");
        assert!(palette.mark("leased", 1.0, 2.0, "x").contains("circle"));
        assert!(palette.mark("central", 1.0, 2.0, "x").starts_with("<path"));
    }
}
