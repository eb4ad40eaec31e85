//! Ranks by Zipf's law: rank k of n is drawn in proportion to `k^-exponent`.
//!
//! # Invariant
//!
//! A rank is from 0 to n - 1, 0 being the most frequent. Neither memory nor time grows with n.
//!
//! By rejection from an inverse (Hörmann and Derflinger, 1996). The area under the curve `x^-s`
//! is cut into one strip of width 1 around each rank, and a point of that area is drawn by its
//! inverse integral. A strip holds a little more than its rank is worth; a draw that falls into
//! the excess is repeated. Nearly all draws are accepted by one comparison, so that a draw costs
//! one power. The distribution of the same name in `rand_distr` needs three and repeats more.

use rand::RngExt;

use crate::stream::Stream;

/// Draws ranks by Zipf's law.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    curve: Curve,
    ranks: u32,
    /// The area is that between these two, the greater one first.
    area_end: f64,
    area_start: f64,
    /// A point that lies no further than this to the left of its rank is always accepted.
    margin: f64,
}

impl Zipf {
    /// Ranks below `ranks`, of which there is at least one; `exponent` is above 0.
    pub(super) fn new(ranks: u32, exponent: f64) -> Self {
        let curve = Curve::new(exponent);
        Self {
            curve,
            ranks,
            area_end: curve.area(f64::from(ranks) + 0.5),
            area_start: curve.area(1.5) - 1.0,
            margin: 2.0 - curve.place(curve.area(2.5) - curve.height(2.0)),
        }
    }

    /// The next rank.
    #[inline]
    pub(super) fn draw(&self, random: &mut Stream) -> u32 {
        loop {
            let chance: f64 = random.random();
            let area = self.area_end + chance * (self.area_start - self.area_end);
            let place = self.curve.place(area);
            let rank = nearest(place).clamp(1, self.ranks);
            if f64::from(rank) - place <= self.margin || self.curve.is_within(area, rank) {
                return rank - 1;
            }
        }
    }
}

/// The curve `x^-exponent`, its integral from 1 to x, and the inverse of that.
#[derive(Clone, Copy, Debug)]
struct Curve {
    exponent: f64,
    /// One less the exponent; 0 if that is so close to 1 that the integral is a logarithm.
    power: f64,
    /// Its inverse.
    root: f64,
}

impl Curve {
    fn new(exponent: f64) -> Self {
        let power = if (1.0 - exponent).abs() < LOGARITHM {
            0.0
        } else {
            1.0 - exponent
        };
        Self {
            exponent,
            power,
            root: power.recip(),
        }
    }

    /// Whether the point of the area belongs to the rank in whose strip it lies, and not to the
    /// excess.
    fn is_within(self, area: f64, rank: u32) -> bool {
        let rank = f64::from(rank);
        area >= self.area(rank + 0.5) - self.height(rank)
    }

    fn height(self, place: f64) -> f64 {
        place.powf(-self.exponent)
    }

    fn area(self, place: f64) -> f64 {
        if self.power == 0.0 {
            place.ln()
        } else {
            (place.powf(self.power) - 1.0) * self.root
        }
    }

    fn place(self, area: f64) -> f64 {
        if self.power == 0.0 {
            area.exp()
        } else {
            // Below 0 by rounding only, where a steep curve ends.
            (1.0 + area * self.power).max(0.0).powf(self.root)
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the whole part is meant; the cast saturates"
)]
fn nearest(place: f64) -> u32 {
    (place + 0.5) as u32
}

/// Closer to 1 than this, powers lose more digits than taking them for a logarithm does.
const LOGARITHM: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::chi_square_is_plausible;
    use crate::stream::stream;

    #[test]
    fn ranks_follow_the_law() {
        for (ranks, exponent) in [
            (1, 1.0),
            (2, 0.6),
            (50, 0.6),
            (1000, 0.8),
            (1000, 0.99),
            (1000, 1.0),
            (1000, 1.0 + 1e-7),
            (1000, 1.2),
            (1000, 3.0),
        ] {
            let zipf = Zipf::new(ranks, exponent);
            let mut random = stream(7, "test", 0);
            let mut counts = vec![0.0; ranks as usize];
            for _ in 0..DRAWS {
                counts[zipf.draw(&mut random) as usize] += 1.0;
            }
            let weight = |rank: u32| f64::from(rank).powf(-exponent);
            let all: f64 = (1..=ranks).map(weight).sum();
            let expected: Vec<f64> = (1..=ranks)
                .map(|rank| f64::from(DRAWS) * weight(rank) / all)
                .collect();
            assert!(
                chi_square_is_plausible(&counts, &expected),
                "{ranks} ranks, {exponent}"
            );
        }
    }

    #[test]
    fn no_rank_is_out_of_range_however_steep_or_long_the_curve() {
        for exponent in [1e-9, 0.5, 1.0, 2.0, 20.0] {
            let zipf = Zipf::new(u32::MAX, exponent);
            let mut random = stream(7, "test", 0);
            for _ in 0..10_000 {
                assert!(zipf.draw(&mut random) < u32::MAX);
            }
        }
    }

    const DRAWS: u32 = 300_000;
}
