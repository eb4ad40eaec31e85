//! Reading a limit from text, and saying exactly what is wrong with a bad one.
//!
//! ```text
//! limit  = rate [ "burst" tokens ] [ "overshoot" ( tokens | percent "%" ) ]
//! rate   = tokens "/" [ count ] unit
//! unit   = "us" | "ms" | "s" | "min" | "h" | "day"          (and their longer names)
//! tokens = digits, "_" allowed between them, with "k", "M" or "G" for thousands
//! ```

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::limit::{Limit, Rate};
use crate::time::Micros;

/// Why a text or a set of numbers is not a limit.
#[derive(Clone, Eq, PartialEq)]
pub struct LimitError {
    problem: Problem,
    text: String,
    span: Range<usize>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Problem {
    Empty,
    NoPeriod,
    NotANumber,
    NumberTooLarge,
    Negative,
    UnknownUnit,
    UnknownWord,
    Twice,
    NoValue,
    ZeroRate,
    ZeroPeriod,
    ZeroBurst,
    PercentTooFine,
    TooLarge,
}

impl LimitError {
    pub(crate) fn of(problem: Problem) -> Self {
        Self {
            problem,
            text: String::new(),
            span: 0..0,
        }
    }

    fn at(problem: Problem, text: &str, part: &str) -> Self {
        // `part` is a slice of `text`, so the distance between their starts is its position.
        let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let start = start.min(text.len());
        let span = start..(start + part.len()).min(text.len());
        Self {
            problem,
            text: text.to_owned(),
            span,
        }
    }

    /// The text that was read; empty if the limit was given as numbers.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of [`text`](Self::text) that are at fault.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is wrong and how to mend it, without the text and the place.
    pub fn advice(&self) -> &'static str {
        match self.problem {
            Problem::Empty => "a limit is missing: write tokens per period, as in `1000/s`",
            Problem::NoPeriod => "a period is missing: write tokens per period, as in `1000/s`",
            Problem::NotANumber => "a whole number is expected here, as in `1000` or `50k`",
            Problem::NumberTooLarge => {
                "this number is too large: at most 2^63 tokens or microseconds"
            }
            Problem::Negative => "this cannot be negative",
            Problem::UnknownUnit => "unknown unit of time: use us, ms, s, min, h or day",
            Problem::UnknownWord => "only `burst` and `overshoot` may follow the rate",
            Problem::Twice => "this is given twice: keep one",
            Problem::NoValue => "a number must follow, as in `burst 2000`",
            Problem::ZeroRate => {
                "a rate of 0 admits nothing, ever: use at least 1 token per period"
            }
            Problem::ZeroPeriod => "a period of 0 is no period: use at least 1us",
            Problem::ZeroBurst => "a burst of 0 admits nothing, ever: use at least 1",
            Problem::PercentTooFine => "a percentage has at most three decimals",
            Problem::TooLarge => {
                "these numbers are too large together to be kept exact: use a smaller burst, \
                 or a rate in lower terms (`1/s` rather than `86399/day`)"
            }
        }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return f.write_str(self.advice());
        }
        write!(f, "in `{}`", self.text)?;
        let part = &self.text[self.span.clone()];
        if !part.is_empty() && part != self.text {
            write!(f, " at `{part}` (column {})", self.span.start + 1)?;
        }
        write!(f, ": {}", self.advice())
    }
}

impl Error for LimitError {}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let mut words = text.split_whitespace();
        let rate_word = words
            .next()
            .ok_or_else(|| LimitError::at(Problem::Empty, text, text))?;
        let rate = parse_rate(text, rate_word)?;
        let (mut burst, mut overshoot) = (None, None);
        while let Some(word) = words.next() {
            let slot = match word {
                "burst" => &mut burst,
                "overshoot" => &mut overshoot,
                _ => return Err(LimitError::at(Problem::UnknownWord, text, word)),
            };
            let value = words
                .next()
                .ok_or_else(|| LimitError::at(Problem::NoValue, text, word))?;
            if slot.replace(value).is_some() {
                return Err(LimitError::at(Problem::Twice, text, word));
            }
        }
        let burst_tokens = burst.map_or(Ok(rate.tokens), |word| parse_tokens(text, word))?;
        let overshoot_tokens =
            overshoot.map_or(Ok(0), |word| parse_overshoot(text, word, burst_tokens))?;
        Limit::new(rate, burst_tokens, overshoot_tokens).map_err(|error| {
            let part = match error.problem {
                Problem::ZeroBurst => burst.unwrap_or(rate_word),
                Problem::TooLarge => text,
                _ => rate_word,
            };
            LimitError::at(error.problem, text, part)
        })
    }
}

impl FromStr for Rate {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        parse_rate(text, text.trim())
    }
}

/// `word` within `text`, as tokens per period.
fn parse_rate(text: &str, word: &str) -> Result<Rate, LimitError> {
    if word.is_empty() {
        return Err(LimitError::at(Problem::Empty, text, text));
    }
    let Some((tokens, period)) = word.split_once('/') else {
        // A word that is no number is a mistake of its own; a number only lacks its period.
        parse_tokens(text, word)?;
        return Err(LimitError::at(Problem::NoPeriod, text, word));
    };
    let rate = Rate {
        tokens: parse_tokens(text, tokens)?,
        period: parse_period(text, period)?,
    };
    match rate {
        Rate { tokens: 0, .. } => Err(LimitError::at(Problem::ZeroRate, text, word)),
        Rate {
            period: Micros(0), ..
        } => Err(LimitError::at(Problem::ZeroPeriod, text, word)),
        rate => Ok(rate),
    }
}

fn parse_period(text: &str, word: &str) -> Result<Micros, LimitError> {
    let unit_at = word
        .find(|c: char| !c.is_ascii_digit())
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
    let count = if count.is_empty() {
        1
    } else {
        parse_tokens(text, count)?
    };
    let period = bounded(count.checked_mul(micros));
    Ok(Micros(period.ok_or_else(|| {
        LimitError::at(Problem::NumberTooLarge, text, word)
    })?))
}

fn parse_tokens(text: &str, word: &str) -> Result<u64, LimitError> {
    let fail = |problem| LimitError::at(problem, text, word);
    if let Some(digits) = word.strip_prefix('-') {
        let negative = digits.starts_with(|c: char| c.is_ascii_digit());
        return Err(fail(if negative {
            Problem::Negative
        } else {
            Problem::NotANumber
        }));
    }
    let (digits, factor) = match word.as_bytes().last() {
        Some(b'k') => (&word[..word.len() - 1], 1_000),
        Some(b'M') => (&word[..word.len() - 1], 1_000_000),
        Some(b'G') => (&word[..word.len() - 1], 1_000_000_000),
        _ => (word, 1),
    };
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit());
    if !starts_well || digits.ends_with('_') {
        return Err(fail(Problem::NotANumber));
    }
    let mut number = 0u64;
    for digit in digits.bytes().filter(|byte| *byte != b'_') {
        if !digit.is_ascii_digit() {
            return Err(fail(Problem::NotANumber));
        }
        let next = number
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        number = next.ok_or_else(|| fail(Problem::NumberTooLarge))?;
    }
    bounded(number.checked_mul(factor)).ok_or_else(|| fail(Problem::NumberTooLarge))
}

/// Tokens, or a percentage of the burst rounded down.
pub(crate) fn parse_overshoot(text: &str, word: &str, burst: u64) -> Result<u64, LimitError> {
    let Some(percent) = word.strip_suffix('%') else {
        return parse_tokens(text, word);
    };
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, "0"));
    if decimals.len() > 3 {
        return Err(LimitError::at(Problem::PercentTooFine, text, word));
    }
    let scale = 10u128.pow(u32::try_from(decimals.len()).expect("at most three decimals"));
    let whole = u128::from(parse_tokens(text, whole)?);
    let decimals = u128::from(parse_tokens(text, decimals)?);
    let tokens = u128::from(burst) * (whole * scale + decimals) / (100 * scale);
    let tokens = bounded(u64::try_from(tokens).ok());
    tokens.ok_or_else(|| LimitError::at(Problem::NumberTooLarge, text, word))
}

/// Numbers up to 2^63 keep every later sum of two within `u64`.
fn bounded(number: Option<u64>) -> Option<u64> {
    number.filter(|number| *number <= 1 << 63)
}

crate::debug_by_display!(LimitError);

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
            ("ten/s", "ten", "a whole number is expected"),
            ("0.5/s", "0.5", "a whole number is expected"),
            ("1__/s", "1__", "a whole number is expected"),
            ("/s", "", "a whole number is expected"),
            ("-/s", "-", "a whole number is expected"),
            ("é/s", "é", "a whole number is expected"),
            (
                "99999999999999999999/s",
                "99999999999999999999",
                "too large",
            ),
            ("-5/s", "-5", "cannot be negative"),
            ("5/fortnight", "fortnight", "unknown unit"),
            ("5/s bust 3", "bust", "only `burst` and `overshoot`"),
            ("5/s burst", "burst", "a number must follow"),
            ("5/s burst 3 burst 4", "burst", "given twice"),
            ("0/s", "0/s", "a rate of 0"),
            ("5/0s", "5/0s", "a period of 0"),
            ("5/s burst 0", "0", "a burst of 0"),
            ("5/s burst -1", "-1", "cannot be negative"),
            ("5/s overshoot 0.0001%", "0.0001%", "at most three decimals"),
            ("5/s overshoot x%", "x", "a whole number is expected"),
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
    fn a_message_names_text_place_and_mend() {
        let error = "5/s burst -1".parse::<Limit>().unwrap_err();
        let message = "in `5/s burst -1` at `-1` (column 11): this cannot be negative";
        assert_eq!(error.to_string(), message);
    }
}
