//! Reading a limit from text.
//!
//! ```text
//! limit  = rate [ "burst" tokens ] [ "overshoot" budget ] [ "advance" budget ]
//! budget = tokens | percent "%"                                       (of the burst)
//! rate   = number "/" [ number ] unit
//! unit   = "us" | "ms" | "s" | "min" | "h" | "day"          (and their longer names)
//! number = digits, "_" allowed between them, with up to nine decimals, with "k", "M" or "G" for
//!          thousands
//! tokens = a number that is whole, as are `2000` and `1.5k`
//! ```
//!
//! Decimals are exact: `0.5/s` is `1/2s`, and no float is involved.

use alloc::string::String;
use core::str::FromStr;

use crate::limit::{Limit, Rate};
use crate::limit_error::{LimitError, Problem};
use crate::scale::gcd;
use crate::time::Micros;

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let mut words = text.split_whitespace();
        let rate_word = words
            .next()
            .ok_or_else(|| LimitError::at(Problem::Empty, text, text))?;
        let (rate, usual_burst) = parse_rate(text, rate_word)?;
        let (mut burst, mut overshoot, mut advance) = (None, None, None);
        while let Some(word) = words.next() {
            let slot = match word {
                "burst" => &mut burst,
                "overshoot" => &mut overshoot,
                "advance" => &mut advance,
                _ => return Err(LimitError::at(Problem::UnknownWord, text, word)),
            };
            let value = words
                .next()
                .ok_or_else(|| LimitError::at(Problem::NoValue, text, word))?;
            if slot.replace(value).is_some() {
                return Err(LimitError::at(Problem::Twice, text, word));
            }
        }
        let burst_tokens = burst.map_or(Ok(usual_burst), |word| parse_tokens(text, word))?;
        let budget = |word| parse_budget(text, word, burst_tokens);
        let overshoot_tokens = overshoot.map_or(Ok(0), budget)?;
        let advance_tokens = advance.map_or(Ok(0), budget)?;
        let limit = Limit::new(rate, burst_tokens, overshoot_tokens);
        let limit = limit.and_then(|limit| limit.with_advance(advance_tokens));
        limit.map_err(|error| {
            let part = match error.problem() {
                Problem::ZeroBurst => burst.unwrap_or(rate_word),
                Problem::AllAdvanced => advance.unwrap_or(rate_word),
                Problem::TooLarge => text,
                _ => rate_word,
            };
            LimitError::at(error.problem(), text, part)
        })
    }
}

impl FromStr for Rate {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        parse_rate(text, text.trim()).map(|(rate, _)| rate)
    }
}

impl TryFrom<&str> for Limit {
    type Error = LimitError;

    fn try_from(text: &str) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl TryFrom<&String> for Limit {
    type Error = LimitError;

    fn try_from(text: &String) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl TryFrom<String> for Limit {
    type Error = LimitError;

    fn try_from(text: String) -> Result<Self, LimitError> {
        text.parse()
    }
}

/// `word` within `text`, as tokens per period; and the burst where none is given: the tokens of a
/// period as it is written, rounded up.
pub(crate) fn parse_rate(text: &str, word: &str) -> Result<(Rate, u64), LimitError> {
    if word.is_empty() {
        return Err(LimitError::at(Problem::Empty, text, text));
    }
    let Some((tokens, period)) = word.split_once('/') else {
        // A word that is no number is a mistake of its own; a number only lacks its period.
        parse_number(text, word)?;
        return Err(LimitError::at(Problem::NoPeriod, text, word));
    };
    let tokens = parse_number(text, tokens)?;
    let period = parse_period(text, period)?;
    if tokens.numerator == 0 {
        return Err(LimitError::at(Problem::ZeroRate, text, word));
    }
    if period.numerator == 0 {
        return Err(LimitError::at(Problem::ZeroPeriod, text, word));
    }
    // Both times the denominators, so that both are whole.
    let exact = |number: Number, factor| bounded(number.numerator.checked_mul(factor));
    let rate = exact(tokens, period.denominator).zip(exact(period, tokens.denominator));
    let (whole, micros) = rate.ok_or_else(|| LimitError::at(Problem::TooLarge, text, word))?;
    let rate = Rate {
        tokens: whole,
        period: Micros(micros),
    };
    Ok((rate, tokens.numerator.div_ceil(tokens.denominator)))
}

/// A period in microseconds.
fn parse_period(text: &str, word: &str) -> Result<Number, LimitError> {
    let unit_at = word
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(word.len());
    let (count, unit) = word.split_at(unit_at);
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "min" | "minute" | "minutes" | "m" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "day" | "days" | "d" => 86_400_000_000,
        "" => return Err(LimitError::at(Problem::NoPeriod, text, word)),
        _ => return Err(LimitError::at(Problem::UnknownUnit, text, unit)),
    };
    if count.is_empty() {
        return Ok(Number::whole(micros));
    }
    let period = parse_number(text, count)?.times(micros);
    period.ok_or_else(|| LimitError::at(Problem::NumberTooLarge, text, word))
}

/// A number that need not be whole, in lowest terms.
#[derive(Clone, Copy)]
struct Number {
    numerator: u64,
    denominator: u64,
}

impl Number {
    const fn whole(numerator: u64) -> Self {
        Self {
            numerator,
            denominator: 1,
        }
    }

    /// `None` if it is too large.
    fn times(self, factor: u64) -> Option<Self> {
        let common = gcd(factor, self.denominator);
        let numerator = bounded(self.numerator.checked_mul(factor / common))?;
        Some(Self {
            numerator,
            denominator: self.denominator / common,
        })
    }
}

fn parse_number(text: &str, word: &str) -> Result<Number, LimitError> {
    let fail = |problem| LimitError::at(problem, text, word);
    if let Some(digits) = word.strip_prefix('-') {
        let negative = digits.starts_with(|c: char| c.is_ascii_digit());
        return Err(fail(if negative {
            Problem::Negative
        } else {
            Problem::NotANumber
        }));
    }
    let (number, factor) = match word.as_bytes().last() {
        Some(b'k') => (&word[..word.len() - 1], 1_000),
        Some(b'M') => (&word[..word.len() - 1], 1_000_000),
        Some(b'G') => (&word[..word.len() - 1], 1_000_000_000),
        _ => (word, 1),
    };
    let (whole, decimals) = match number.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (number, None),
    };
    let is_number = |digits: &str| {
        let starts_well = digits.starts_with(|c: char| c.is_ascii_digit());
        let all = digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
        starts_well && all && !digits.ends_with('_')
    };
    if !is_number(whole) || decimals.is_some_and(|decimals| !is_number(decimals)) {
        return Err(fail(Problem::NotANumber));
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let decimals = decimals.unwrap_or_default().trim_end_matches(['0', '_']);
    let places = decimals.bytes().filter(|byte| *byte != b'_').count();
    if places > DECIMALS_MAX {
        return Err(fail(Problem::TooFine));
    }
    let digits = whole.as_bytes().iter().chain(decimals.as_bytes());
    let numerator = digits.filter_map(digit).try_fold(0u64, |number, digit| {
        number
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(digit))
    });
    let denominator = (0..places).fold(1, |denominator, _| denominator * 10);
    let number = numerator.and_then(|numerator| {
        let common = gcd(numerator, denominator);
        let number = Number {
            numerator: numerator / common,
            denominator: denominator / common,
        };
        number.times(factor)
    });
    number.ok_or_else(|| fail(Problem::NumberTooLarge))
}

fn parse_tokens(text: &str, word: &str) -> Result<u64, LimitError> {
    match parse_number(text, word)? {
        Number {
            numerator,
            denominator: 1,
        } => Ok(numerator),
        _ => Err(LimitError::at(Problem::NotWhole, text, word)),
    }
}

/// Tokens, or a percentage of the burst rounded down.
pub(crate) fn parse_budget(text: &str, word: &str, burst: u64) -> Result<u64, LimitError> {
    let Some(percent) = word.strip_suffix('%') else {
        return parse_tokens(text, word);
    };
    let percent = parse_number(text, percent)?;
    if 1000 % percent.denominator != 0 {
        return Err(LimitError::at(Problem::PercentTooFine, text, word));
    }
    let parts = u128::from(burst) * u128::from(percent.numerator);
    let tokens = parts / (100 * u128::from(percent.denominator));
    let tokens = bounded(u64::try_from(tokens).ok());
    tokens.ok_or_else(|| LimitError::at(Problem::NumberTooLarge, text, word))
}

/// Numbers up to 2^63 keep every later sum of two within `u64`.
fn bounded(number: Option<u64>) -> Option<u64> {
    number.filter(|number| *number <= 1 << 63)
}

/// A billionth of a token or of a unit of time is finer than anything that is measured.
const DECIMALS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_written_forms_mean_what_they_say() {
        assert_eq!(limit("100/min").burst(), 100);
        assert_eq!(limit("100/min").rate().period, Micros(60_000_000));
        assert_eq!(limit("5/10s burst 50").rate().period, Micros(10_000_000));
        assert_eq!(limit("50k/s burst 1_000_000").burst(), 1_000_000);
        assert_eq!(limit("1000000/day burst 5000 overshoot 1%").overshoot(), 50);
        assert_eq!(limit("10/s burst 1000 overshoot 0.5%").overshoot(), 5);
        assert_eq!(limit("10/s overshoot 7 burst 9").overshoot(), 7);
    }

    #[test]
    fn each_bad_form_is_answered_with_what_and_where() {
        for (text, part, advice) in [
            ("", "", "a limit is missing"),
            ("1000", "1000", "a period is missing"),
            ("1000/", "", "a period is missing"),
            ("1000/10", "10", "a period is missing"),
            ("ten/s", "ten", "a number is expected"),
            (".5/s", ".5", "a number is expected"),
            ("5./s", "5.", "a number is expected"),
            ("0.5.1/s", "0.5.1", "a number is expected"),
            ("0._5/s", "0._5", "a number is expected"),
            ("1,000/s", "1,000", "a number is expected"),
            ("1e3/s", "1e3", "a number is expected"),
            ("1__/s", "1__", "a number is expected"),
            ("/s", "", "a number is expected"),
            ("-/s", "-", "a number is expected"),
            ("é/s", "é", "a number is expected"),
            ("-0.5/s", "-0.5", "cannot be negative"),
            ("10/.5s", ".5", "a number is expected"),
            ("10/1.5", "1.5", "a period is missing"),
            ("0.0000000001/s", "0.0000000001", "nine decimals"),
            ("0.0/s", "0.0/s", "a rate of 0"),
            ("10/0.0s", "10/0.0s", "a period of 0"),
            ("10/s burst 1.5", "1.5", "a whole number of tokens"),
            ("10/s overshoot 0.5", "0.5", "a whole number of tokens"),
            (
                "1.123456789/999999999999999us",
                "1.123456789/999999999999999us",
                "too large together",
            ),
            (
                "99999999999999999999/s",
                "99999999999999999999",
                "too large",
            ),
            ("-5/s", "-5", "cannot be negative"),
            ("5/fortnight", "fortnight", "unknown unit"),
            ("5/s bust 3", "bust", "only `burst`, `overshoot`"),
            ("5/s burst", "burst", "a number must follow"),
            ("5/s burst 3 burst 4", "burst", "given twice"),
            ("0/s", "0/s", "a rate of 0"),
            ("5/0s", "5/0s", "a period of 0"),
            ("5/s burst 0", "0", "a burst of 0"),
            ("5/s burst -1", "-1", "cannot be negative"),
            ("5/s overshoot 0.0001%", "0.0001%", "at most three decimals"),
            ("5/s overshoot x%", "x", "a number is expected"),
            (
                "999983/day burst 1G",
                "999983/day burst 1G",
                "too large together",
            ),
        ] {
            let error = text.parse::<Limit>().expect_err(text);
            assert_eq!(&error.text()[error.span()], part, "{text}");
            assert!(error.advice().contains(advice), "{text}: {error}");
        }
    }

    #[test]
    fn decimals_are_exact_and_read_back_as_they_are_shown() {
        for (text, shown) in [
            ("0.5/s", "1/2s burst 1"),
            ("0.1/s", "1/10s burst 1"),
            ("1.5/s", "3/2s burst 2"),
            ("2.50/10s", "5/20s burst 3"),
            ("10.0/s", "10/s burst 10"),
            ("10/1.5s", "10/1500ms burst 10"),
            ("0.5/1.5min burst 4", "1/3min burst 4"),
            ("10/0.5us", "20/us burst 10"),
            ("1/0.0001ms", "10/us burst 1"),
            ("1.5k/s burst 2.5k", "1500/s burst 2500"),
            ("100.001/s", "100001/1000s burst 101"),
            ("0.000000001/s", "1/1000000000s burst 1"),
            ("1_000.2_5/s", "4001/4s burst 1001"),
        ] {
            assert_eq!(limit(text).to_string(), shown, "{text}");
            assert_eq!(limit(shown), limit(text), "{text}");
        }
        assert_eq!(limit("10/s burst 1000 overshoot 0.50%").overshoot(), 5);
    }

    #[test]
    fn a_message_names_text_place_and_mend() {
        let error = "5/s burst -1".parse::<Limit>().unwrap_err();
        let message = "in `5/s burst -1` at `-1` (column 11): this cannot be negative";
        assert_eq!(error.to_string(), message);
    }
}
