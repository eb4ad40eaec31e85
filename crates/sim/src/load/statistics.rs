//! Whether draws are plausible under a law, for tests: each test here fails a right program with a
//! probability of about 0.001, and seeds are fixed.

/// Pearson's test of counts against what is expected. Cells that expect little are merged.
pub(crate) fn chi_square_is_plausible(counts: &[f64], expected: &[f64]) -> bool {
    assert_eq!(counts.len(), expected.len());
    let (mut sum, mut cells) = (0.0, 0);
    let (mut count, mut due) = (0.0, 0.0);
    let mut left: f64 = expected.iter().sum();
    for (one, expect) in counts.iter().zip(expected) {
        count += one;
        due += expect;
        left -= expect;
        if due >= CELL_MIN && (left >= CELL_MIN || left.abs() < 1e-6) {
            sum += (count - due) * (count - due) / due;
            cells += 1;
            (count, due) = (0.0, 0.0);
        }
    }
    if due > 1e-6 {
        sum += (count - due) * (count - due) / due;
        cells += 1;
    } else if count > 0.0 {
        return false;
    }
    let freedom = f64::from(cells - 1);
    if freedom == 0.0 {
        return sum < 1e-6;
    }
    // Wilson and Hilferty: the cube root is nearly normal.
    let spread = 2.0 / (9.0 * freedom);
    ((sum / freedom).cbrt() - (1.0 - spread)) / spread.sqrt() < Z
}

/// Kolmogorov's and Smirnov's test of draws against the law whose distribution is `below`.
pub(crate) fn ks_is_plausible(draws: &mut [f64], below: impl Fn(f64) -> f64) -> bool {
    draws.sort_unstable_by(f64::total_cmp);
    let number = float(draws.len());
    let distance = |(index, draw): (usize, &f64)| {
        let law = below(*draw);
        (law - float(index) / number).max(float(index + 1) / number - law)
    };
    let farthest = draws.iter().enumerate().map(distance).fold(0.0, f64::max);
    farthest * number.sqrt() < KS
}

/// Mean and variance.
pub(crate) fn moments(draws: &[f64]) -> (f64, f64) {
    let number = float(draws.len());
    let mean = draws.iter().sum::<f64>() / number;
    let squares: f64 = draws.iter().map(|draw| (draw - mean) * (draw - mean)).sum();
    (mean, squares / (number - 1.0))
}

/// Whether independent draws may have the mean `expected`.
pub(crate) fn mean_is_plausible(draws: &[f64], expected: f64) -> bool {
    let (mean, variance) = moments(draws);
    (mean - expected).abs() <= Z_BOTH_SIDES * (variance / float(draws.len())).sqrt()
}

/// The correlation of pairs.
pub(crate) fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let (one, other): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ((mean, variance), (mean_other, variance_other)) = (moments(&one), moments(&other));
    let products: f64 = pairs
        .iter()
        .map(|(a, b)| (a - mean) * (b - mean_other))
        .sum();
    products / (float(pairs.len()) - 1.0) / (variance * variance_other).sqrt()
}

/// Hill's estimate of the exponent of a tail, from the `tail` greatest of the draws.
pub(crate) fn hill(draws: &mut [f64], tail: usize) -> f64 {
    draws.sort_unstable_by(|a, b| b.total_cmp(a));
    let threshold = draws[tail];
    let sum: f64 = draws[..tail]
        .iter()
        .map(|draw| (draw / threshold).ln())
        .sum();
    float(tail) / sum
}

#[expect(clippy::cast_precision_loss, reason = "tests draw no 2^53 numbers")]
fn float(number: usize) -> f64 {
    number as f64
}

/// Below, a count is too far from normal.
const CELL_MIN: f64 = 8.0;

/// A normal number is above this with a probability of 0.001.
const Z: f64 = 3.09;

/// A normal number is above or below this with a probability of 0.001.
pub(crate) const Z_BOTH_SIDES: f64 = 3.29;

/// As Z, of Kolmogorov's distribution.
const KS: f64 = 1.949;
