//! The error of numbers or a text that make no limit: what is wrong, where, and how to mend it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::convert::Infallible;
use core::error::Error;
use core::fmt;
use core::ops::Range;

/// Why a text or a set of numbers is not a limit.
#[derive(Clone, Eq, PartialEq)]
pub struct LimitError {
    problem: Problem,
    text: String,
    span: Range<usize>,
}

/// The mistake in a text or a set of numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Problem {
    Empty,
    NoPeriod,
    NotANumber,
    NotWhole,
    TooFine,
    NumberTooLarge,
    Negative,
    UnknownUnit,
    UnknownWord,
    Twice,
    NoValue,
    ZeroRate,
    ZeroPeriod,
    ZeroBurst,
    AllAdvanced,
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

    pub(crate) fn at(problem: Problem, text: &str, part: &str) -> Self {
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

    pub(crate) const fn problem(&self) -> Problem {
        self.problem
    }

    /// The text that was read; empty if the limit was given as numbers.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of [`text`](Self::text) that are at fault.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The mistake and how to mend it, without the text and the place.
    pub fn advice(&self) -> &'static str {
        match self.problem {
            Problem::Empty => "a limit is missing: write tokens per period, as in `1000/s`",
            Problem::NoPeriod => "a period is missing: write tokens per period, as in `1000/s`",
            Problem::NotANumber => "a number is expected here, as in `1000`, `50k` or `0.5`",
            Problem::NotWhole => "a whole number of tokens is expected here, as in `1000` or `50k`",
            Problem::TooFine => "this has more than nine decimals: use fewer, or a longer period",
            Problem::NumberTooLarge => {
                "this number is too large: at most 2^63 tokens or microseconds"
            }
            Problem::Negative => "this cannot be negative",
            Problem::UnknownUnit => "unknown unit of time: use us, ms, s, min, h or day",
            Problem::UnknownWord => "only `burst`, `overshoot` and `advance` may follow the rate",
            Problem::Twice => "this is given twice: keep one",
            Problem::NoValue => "a number must follow, as in `burst 2000`",
            Problem::ZeroRate => {
                "a rate of 0 admits nothing, ever: use at least 1 token per period"
            }
            Problem::ZeroPeriod => "a period of 0 is no period: use at least 1us",
            Problem::ZeroBurst => "a burst of 0 admits nothing, ever: use at least 1",
            Problem::AllAdvanced => {
                "an advance as large as burst and overshoot leaves nothing to grant: use a tenth"
            }
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

/// A `Limit` becomes a `Limit` without fail.
impl From<Infallible> for LimitError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

crate::debug_by_display!(LimitError);
