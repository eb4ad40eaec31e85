//! One colour, one mark and one dash per limiter, the same on every page and in every picture.
//!
//! Colours are those of Okabe and Ito, which colour-blind readers can tell apart, a little darker
//! on paper and a little lighter at night: see `style.css`. A mark's shape and a line's dashes
//! repeat what the colour says.
//!
//! # Invariant
//!
//! A style depends on the limiter's name alone, never on what else a page shows.

use crate::markup::at;

/// How a limiter is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Style {
    colour: usize,
    shape: usize,
}

impl Style {
    /// The style of the limiter called `name`.
    pub fn of(name: &str) -> Self {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let (colour, shape) = known.map_or_else(
            || {
                let hash = name.bytes().fold(HASH, |hash, byte| {
                    (hash ^ usize::from(byte)).wrapping_mul(FACTOR) % MODULUS
                });
                // The first colour is ours.
                (1 + hash % (COLOURS - 1), hash / COLOURS % OUTLINES.len())
            },
            |(_, colour, shape)| (*colour, *shape),
        );
        Self { colour, shape }
    }

    /// The class of what is drawn for the limiter: colour and dashes.
    pub fn class(self) -> String {
        format!("c{} d{}", self.colour, self.shape)
    }

    /// A mark at a place; `title` shows when it is pointed at, and must be escaped.
    pub fn mark(self, x: f64, y: f64, title: &str) -> String {
        let outline = OUTLINES[self.shape];
        format!(
            "<path class=\"mark c{}\" d=\"M{} {}{outline}\"><title>{title}</title></path>",
            self.colour,
            at(x),
            at(y)
        )
    }

    /// The mark alone, to stand before a name in a text.
    pub fn swatch(self) -> String {
        let outline = OUTLINES[self.shape];
        format!(
            "<svg class=\"swatch\" aria-hidden=\"true\" width=\"12\" height=\"12\" \
             viewBox=\"-6 -6 12 12\"><path class=\"mark c{}\" d=\"M0 0{outline}\"/></svg>",
            self.colour
        )
    }
}

/// Colour and mark of every limiter of the catalogue. Those of one scenario differ in colour.
const KNOWN: &[(&str, usize, usize)] = &[
    ("leased", 0, 0),
    ("central", 1, 1),
    ("split", 2, 2),
    ("delayed-counter", 3, 3),
    ("local", 4, 4),
    ("local-only", 4, 4),
    ("block-lease", 5, 6),
    ("share", 6, 5),
    ("token-bucket", 1, 5),
    ("sliding-log", 2, 6),
    ("sliding-counter", 3, 1),
    ("fixed-window", 4, 2),
    ("block-200", 5, 1),
    ("block-soon", 5, 2),
    ("block-wait", 5, 3),
    ("reserve-30", 5, 4),
    ("block-late", 6, 3),
    ("block-deny", 6, 4),
    ("central-remembers", 2, 1),
    ("count-every-second", 3, 2),
];

/// Colours in the style sheet.
const COLOURS: usize = 7;

/// Marks about a place: a circle, a square, a triangle, a diamond, a triangle upside down, a cross
/// and a bar. Dashes in the style sheet follow the same order.
const OUTLINES: [&str; 7] = [
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "m-3.9-3.9h7.8v7.8h-7.8z",
    "m0-5l4.8 8.4h-9.6z",
    "m0-5.4l5.4 5.4-5.4 5.4-5.4-5.4z",
    "m0 5l4.8-8.4h-9.6z",
    "m-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
    "m-5.2-2h10.4v4h-10.4z",
];

/// Numbers of a small hash: all products stay below 2^31, so every machine agrees.
const HASH: usize = 5381;
const FACTOR: usize = 33;
const MODULUS: usize = 65_521;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limiter_has_one_style_and_no_two_known_ones_share_it() {
        for (index, (name, ..)) in KNOWN.iter().enumerate() {
            let others = KNOWN[..index].iter().map(|(other, ..)| *other);
            for other in others.filter(|other| (*other, *name) != ("local", "local-only")) {
                assert_ne!(Style::of(name), Style::of(other), "{name} and {other}");
            }
        }
        assert_eq!(Style::of("leased").class(), "c0 d0");
        assert_eq!(Style::of("of-somebody-else"), Style::of("of-somebody-else"));
    }

    #[test]
    fn a_stranger_never_takes_our_colour() {
        for index in 0..1000 {
            let style = Style::of(&format!("limiter-{index}"));
            assert!((1..COLOURS).contains(&style.colour), "{style:?}");
            assert!(style.shape < OUTLINES.len(), "{style:?}");
        }
    }
}
