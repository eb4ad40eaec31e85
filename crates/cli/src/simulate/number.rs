//! Numbers as people read them: `1.2 k`, `99.93 %`, `3.4 ms`.
//!
//! # Invariant
//!
//! What is not quite all never reads as `100 %`, and what is not quite nothing never reads as `0`:
//! with limiters, that is the difference that counts.

use leasehold_plot::axis::Label;
use leasehold_sim::metrics::Shown;
use leasehold_sim::numbers::float;

/// A measured number.
pub(crate) fn shown(how: Shown, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match how {
        Shown::Number => plain(value),
        Shown::Percent => percent(value),
        Shown::Time => time(value),
    }
}

/// A mean and half the width of its confidence interval.
pub(crate) fn with_margin(how: Shown, mean: f64, margin: f64) -> String {
    let value = shown(how, mean);
    // What is less comes of rounding.
    if margin <= mean.abs() * 1e-6 || margin.is_nan() {
        return value;
    }
    let margin = rough(how, margin);
    // A unit that both have is said once.
    match (value.rsplit_once(' '), margin.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} ± {margin}"),
        _ => format!("{value} ± {margin}"),
    }
}

/// Writes numbers beside ticks of an axis, where neighbours say how exact they are.
pub(crate) fn ticks(how: Shown) -> Label {
    match how {
        Shown::Number => |value| scaled(value, 1.0, THOUSANDS),
        Shown::Percent => |value| match value {
            10.0.. => scaled(value * 100.0, 1.0, THOUSANDS) + " %",
            _ => trimmed(value * 100.0, 3) + " %",
        },
        Shown::Time => time,
    }
}

/// A whole number, its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

/// A count of many, in words short enough for a line: `41 M`.
pub(crate) fn many(number: u64) -> String {
    let number = float(number);
    scaled(number, 1.0, THOUSANDS)
}

/// `1 scenario`, `2 scenarios`.
pub(crate) fn plural(number: usize, thing: &str) -> String {
    plural_of(number as u64, thing)
}

/// As [`plural`], for counts of 64 bits.
pub(crate) fn plural_of(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number))
}

/// Times in seconds that stand side by side, all in one unit.
pub(crate) fn times_alike(seconds: &[f64]) -> Vec<String> {
    let sizes = || seconds.iter().copied().filter(|time| *time > 0.0);
    let (least, most) = (
        sizes().fold(f64::INFINITY, f64::min),
        sizes().fold(0.0, f64::max),
    );
    // Between the smallest and the largest, so that neither has many zeros.
    let middle = if most > 0.0 {
        (least * most).sqrt()
    } else {
        1.0
    };
    let (mut worth, mut unit) = (1e-9, TIMES[0]);
    for prefix in &TIMES[1..] {
        if middle * 1.0005 < worth * 1000.0 {
            break;
        }
        (worth, unit) = (worth * 1000.0, prefix);
    }
    let each = seconds
        .iter()
        .map(|time| format!("{} {unit}s", trimmed(time / worth, 3)));
    each.collect()
}

fn plain(value: f64) -> String {
    match value.abs() {
        whole if whole < 10_000.0 && value.fract() == 0.0 => trimmed(value, 0),
        0.0..10_000.0 => trimmed(value, 3),
        _ => scaled(value, 1.0, THOUSANDS),
    }
}

fn percent(value: f64) -> String {
    let percent = value * 100.0;
    match percent.abs() {
        // The nearest doubles to 1 are what division makes of equal numbers.
        _ if (percent - 100.0).abs() < 1e-9 => "100 %".to_owned(),
        99.995..100.0 if value > 0.0 => "> 99.99 %".to_owned(),
        0.1..1000.0 => format!("{percent:.2} %"),
        1000.0.. => format!("{} %", plain(percent.round())),
        _ => format!("{} %", trimmed(percent, 2)),
    }
}

fn time(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0 s".to_owned(),
        600.0.. => format!("{} min", trimmed(seconds / 60.0, 3)),
        _ => scaled(seconds, 1e-9, TIMES) + "s",
    }
}

/// Two digits are enough for what is uncertain.
fn rough(how: Shown, value: f64) -> String {
    match how {
        Shown::Number if value.abs() < 10_000.0 => trimmed(value, 2),
        Shown::Percent if value.abs() < 10.0 => trimmed(value * 100.0, 2) + " %",
        how => shown(how, value),
    }
}

/// Three digits, and the largest of `prefixes` that leaves at least 1 before the point. The first
/// prefix is worth `least`, each following one a thousand times more.
fn scaled(value: f64, least: f64, prefixes: &[&str]) -> String {
    // What rounds up to the next thousand takes the next prefix.
    let rounded = value.abs() * 1.0005;
    let mut worth = least;
    let mut chosen = prefixes[0];
    for prefix in &prefixes[1..] {
        if rounded < worth * 1000.0 {
            break;
        }
        worth *= 1000.0;
        chosen = prefix;
    }
    let digits = trimmed(value / worth, 3);
    match chosen {
        "" if least >= 1.0 => digits,
        prefix => format!("{digits} {prefix}"),
    }
}

/// So many significant digits at most, none of them a zero that says nothing, and never fewer than
/// the whole part has.
fn trimmed(value: f64, significant: i32) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a logarithm of a finite number"
    )]
    let whole = if value == 0.0 {
        1
    } else {
        value.abs().log10().floor() as i32 + 1
    };
    let decimals = usize::try_from(significant - whole).unwrap_or(0).min(12);
    // Adding zero makes a negative zero positive.
    let text = format!("{:.decimals$}", value + 0.0);
    let text = match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
        None => &text,
    };
    if text == "-0" { "0" } else { text }.to_owned()
}

const THOUSANDS: &[&str] = &["", "k", "M", "G", "T"];

const TIMES: &[&str] = &["n", "µ", "m", ""];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rates_and_times_read_well() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(many(41_234_567), "41.2 M");
        assert_eq!(many(999_960), "1 M");
        let number = |value| shown(Shown::Number, value);
        assert_eq!(number(0.0), "0");
        assert_eq!(number(-0.0), "0");
        assert_eq!(number(1234.0), "1234");
        assert_eq!(number(1234.4), "1234");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.001_234), "0.00123");
        assert_eq!(number(12_345.0), "12.3 k");
        assert_eq!(number(f64::NAN), "–");
        let time = |value| shown(Shown::Time, value);
        assert_eq!(time(0.0034), "3.4 ms");
        assert_eq!(time(1.5), "1.5 s");
        assert_eq!(time(82e-9), "82 ns");
        assert_eq!(time(0.25e-6), "250 ns");
        assert_eq!(time(900.0), "15 min");
        assert_eq!(plural(1, "run"), "1 run");
        assert_eq!(plural(1200, "run"), "1 200 runs");
    }

    #[test]
    fn times_side_by_side_have_one_unit() {
        assert_eq!(times_alike(&[83e-9]), ["83 ns"]);
        assert_eq!(times_alike(&[350e-9, 812.3e-6]), ["0.35 µs", "812 µs"]);
        assert_eq!(times_alike(&[0.0, 12e-3]), ["0 ms", "12 ms"]);
        assert_eq!(times_alike(&[0.0, 0.0]), ["0 s", "0 s"]);
    }

    #[test]
    fn not_quite_all_is_not_all_and_not_quite_nothing_is_not_nothing() {
        let percent = |value| shown(Shown::Percent, value);
        assert_eq!(percent(0.9993), "99.93 %");
        assert_eq!(percent(0.999_99), "> 99.99 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(1.0 + f64::EPSILON), "100 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.000_012), "0.0012 %");
        assert_eq!(percent(99.0), "9900 %");
        assert_eq!(percent(-0.001), "-0.10 %");
    }

    #[test]
    fn a_margin_has_two_digits() {
        assert_eq!(
            with_margin(Shown::Percent, 0.9993, 0.000_12),
            "99.93 ± 0.012 %"
        );
        assert_eq!(with_margin(Shown::Number, 105.3, 2.345), "105 ± 2.3");
        assert_eq!(with_margin(Shown::Time, 0.0015, 0.0), "1.5 ms");
        assert_eq!(with_margin(Shown::Time, 0.0015, 2e-6), "1.5 ms ± 2 µs");
        assert_eq!(with_margin(Shown::Number, 0.3, 1e-17), "0.3");
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(ticks(Shown::Number)(1500.0), "1.5 k");
        assert_eq!(ticks(Shown::Percent)(0.05), "5 %");
        assert_eq!(ticks(Shown::Percent)(100.0), "10 k %");
        assert_eq!(ticks(Shown::Time)(0.1), "100 ms");
    }
}
