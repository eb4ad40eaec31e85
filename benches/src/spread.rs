//! A figure and how far it scatters: the median of the rounds and the middle half around it.
//!
//! # Invariant
//!
//! `low <= median <= high`, whatever the rounds were.

use std::fmt;

use serde::Serialize;

/// The spread of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the rounds are below.
    pub median: f64,
    /// A quarter of the rounds are below.
    pub low: f64,
    /// A quarter of the rounds are above.
    pub high: f64,
    /// How many there were.
    pub rounds: usize,
}

impl Spread {
    /// The spread of these rounds; `None` if there are none.
    pub fn of(rounds: &[f64]) -> Option<Self> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.25)?,
            high: quantile(&sorted, 0.75)?,
            rounds: rounds.len(),
        })
    }

    /// Of what was measured once, or is counted and does not scatter.
    pub const fn one(figure: f64) -> Self {
        Self {
            median: figure,
            low: figure,
            high: figure,
            rounds: 1,
        }
    }

    /// Half of the middle half, as a part of the median.
    fn relative(&self) -> f64 {
        if self.median > 0.0 {
            (self.high - self.low) / 2.0 / self.median
        } else {
            0.0
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", number(self.median))?;
        if self.rounds > 1 {
            write!(f, " ±{:.0} %", self.relative() * 100.0)?;
        }
        Ok(())
    }
}

/// Linear between the two nearest.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "rounds are few")]
    let at = part * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the slice"
    )]
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * at.fract())
}

/// Three digits, and no more than a reader can use.
pub fn number(figure: f64) -> String {
    match figure.abs() {
        size if size < 9.995 => format!("{figure:.2}"),
        size if size < 99.95 => format!("{figure:.1}"),
        _ => grouped(&format!("{figure:.0}")),
    }
}

/// Thousands set apart, as in the documents.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.split_at(usize::from(digits.starts_with('-')));
    let mut text = sign.to_owned();
    for (index, digit) in digits.char_indices() {
        if index > 0 && digits.len() > 4 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_middle_half_are_found_in_any_order() {
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        let spread = Spread::of(&[4.0, 1.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn figures_have_three_digits_and_a_spread_where_there_were_rounds() {
        let texts = [0.314, 9.996, 46.72, 287.4, 2448.2, 9_389_514.0, -12_345.0].map(number);
        let expected = [
            "0.31",
            "10.0",
            "46.7",
            "287",
            "2448",
            "9 389 514",
            "-12 345",
        ];
        assert_eq!(texts, expected);
        assert_eq!(Spread::one(2.0).to_string(), "2.00");
        let spread = Spread::of(&[90.0, 100.0, 110.0]).unwrap();
        assert_eq!(spread.to_string(), "100 ±5 %");
    }
}
