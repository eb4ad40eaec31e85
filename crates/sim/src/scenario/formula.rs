//! Numbers that depend on the scenario: `1.2 * rate / burst`, `0.1 * central.store-calls`.
//!
//! Sums, products and brackets over numbers and names; a number may be a share (`5%`) or in
//! thousands (`2k`). Names stand for what the scenario sets, or for what another limiter measured.

use thiserror::Error;

/// A formula that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Formula {
    /// A number.
    Number(f64),
    /// A value of the scenario, or a measure of a rival.
    Name(String),
    /// Two formulas, joined.
    Join(Box<Formula>, Operator, Box<Formula>),
}

/// Operators that join two formulas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "they say what they are")]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Why a formula cannot be read, or has no value.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FormulaError {
    /// The text is not a formula.
    #[error("`{text}` is not a number or formula: {what}")]
    Syntax {
        /// The whole.
        text: String,
        /// Where it ends being one.
        what: String,
    },
    /// A name stands for nothing.
    #[error("nothing is called `{name}` here; known are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that would do.
        known: String,
    },
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    ///
    /// [`FormulaError::Syntax`] if it is none.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        let mut reader = Reader { rest: text.trim() };
        let syntax = |what| FormulaError::Syntax {
            text: text.trim().to_owned(),
            what,
        };
        let formula = reader.sum(0).map_err(syntax)?;
        if reader.rest.is_empty() {
            Ok(formula)
        } else {
            Err(syntax(format!("`{}` is left over", reader.rest)))
        }
    }

    /// Its value, where `name` says what names stand for.
    ///
    /// # Errors
    ///
    /// The first name that stands for nothing.
    pub fn value(&self, name: &dyn Fn(&str) -> Option<f64>) -> Result<f64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(text) => name(text).ok_or_else(|| text.clone()),
            Self::Join(left, operator, right) => {
                let (left, right) = (left.value(name)?, right.value(name)?);
                Ok(match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide => left / right,
                })
            }
        }
    }

    /// All names in it.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Number(_) => Vec::new(),
            Self::Name(name) => vec![name],
            Self::Join(left, _, right) => [left.names(), right.names()].concat(),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn sum(&mut self, depth: u32) -> Result<Formula, String> {
        let mut left = self.product(depth)?;
        while let Some(operator) = self.operator("+-") {
            left = Formula::Join(left.into(), operator, self.product(depth)?.into());
        }
        Ok(left)
    }

    fn product(&mut self, depth: u32) -> Result<Formula, String> {
        let mut left = self.atom(depth)?;
        while let Some(operator) = self.operator("*/") {
            left = Formula::Join(left.into(), operator, self.atom(depth)?.into());
        }
        Ok(left)
    }

    fn atom(&mut self, depth: u32) -> Result<Formula, String> {
        if depth > DEPTH_MAX {
            return Err("too many brackets".to_owned());
        }
        let word = |c: char| c.is_ascii_alphanumeric() || "._-%".contains(c);
        match self.rest.chars().next() {
            Some('(') => {
                self.skip(1);
                let inner = self.sum(depth + 1)?;
                if !self.rest.starts_with(')') {
                    return Err("a bracket is not closed".to_owned());
                }
                self.skip(1);
                Ok(inner)
            }
            Some(first) if word(first) => {
                let length = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
                let text = &self.rest[..length];
                let atom = if first.is_ascii_alphabetic() {
                    Formula::Name(text.to_owned())
                } else {
                    number(text).ok_or_else(|| format!("`{text}` is not a number"))?
                };
                self.skip(length);
                Ok(atom)
            }
            Some(other) => Err(format!("`{other}` stands where a number or name should")),
            None => Err("it ends too soon".to_owned()),
        }
    }

    fn operator(&mut self, allowed: &str) -> Option<Operator> {
        let first = self.rest.chars().next().filter(|c| allowed.contains(*c))?;
        self.skip(1);
        Some(match first {
            '+' => Operator::Add,
            '-' => Operator::Subtract,
            '*' => Operator::Multiply,
            _ => Operator::Divide,
        })
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest[length..].trim_start();
    }
}

fn number(text: &str) -> Option<Formula> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'%' => (&text[..text.len() - 1], 0.01),
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let number: f64 = digits.replace('_', "").parse().ok()?;
    number
        .is_finite()
        .then_some(Formula::Number(number * factor))
}

/// Deeper brackets are nobody's formula.
const DEPTH_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> f64 {
        let names = |name: &str| match name {
            "rate" => Some(1000.0),
            "central.store-calls" => Some(50.0),
            _ => None,
        };
        Formula::parse(text).unwrap().value(&names).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn formulas_have_the_value_that_school_taught() {
        assert_eq!(value("1 + 2 * 3 - 4 / 2"), 5.0);
        assert_eq!(value("(1 + 2) * 3"), 9.0);
        assert_eq!(value("1.5 * rate / 2k"), 0.75);
        assert_eq!(value("10% * central.store-calls"), 5.0);
        assert_eq!(value("-3 + 5"), 2.0);
    }

    #[test]
    fn what_is_no_formula_is_refused_in_words() {
        for text in [
            "",
            "1 +",
            "(1",
            "1 2",
            "rate rate",
            "1 ? 2",
            "1..2",
            "%",
            "é",
        ] {
            let error = Formula::parse(text).unwrap_err().to_string();
            assert!(error.contains("is not a number or formula"), "{error}");
        }
        assert!(Formula::parse(&"(".repeat(1000)).is_err());
        let unknown = Formula::parse("speed * 2").unwrap();
        assert_eq!(unknown.names(), ["speed"]);
        assert_eq!(unknown.value(&|_| None), Err("speed".to_owned()));
    }
}
