//! Scenarios, with all that can be written in them.
//!
//! # Invariant
//!
//! A file is refused with a message, or gives the same points each time, each with a tuning that a
//! limiter can work with. A number with a unit reads as it is written.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use leasehold_sim::scenario::{Points, Vary};
use leasehold_sim::units::{Count, PerSecond, Share, Span};

/// Reads the input as a scenario file, and each of its lines as a number with a unit and as what
/// varies.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Points::parse(FILE, &text, &[]) {
        Ok(points) => {
            let again = Points::parse(FILE, &text, &[]).expect("it was read before");
            assert_eq!(points.points.len(), again.points.len());
            for (point, again) in points.points.iter().zip(&again.points) {
                assert_eq!(point.label(), again.label());
                // But for what is no number, and equal to nothing.
                assert_eq!(format!("{point:?}"), format!("{again:?}"));
                let tuning = point.scenario.tuning.tuning();
                assert_eq!(tuning.check(), Ok(()), "{}", point.scenario.tuning);
            }
        }
        Err(error) => assert!(error.to_string().contains(FILE), "{error}"),
    }
    for line in text.lines().take(LINES_MAX) {
        reads_as_written::<Span>(line);
        reads_as_written::<Count>(line);
        if let Ok(share) = line.parse::<Share>() {
            assert!((0.0..=1.0).contains(&share.get()), "{line}");
        }
        if let Ok(rate) = line.parse::<PerSecond>() {
            assert!(rate.0 >= 0.0, "{line}");
        }
        // What it varies is for a scenario to say.
        let _: Result<Vary, _> = line.parse();
    }
}

fn reads_as_written<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else {
        return;
    };
    let written = value.to_string();
    let again = written.parse::<T>();
    assert_eq!(again.ok().as_ref(), Some(&value), "{text} is {written}");
}

const FILE: &str = "fuzz.toml";
/// Enough for each kind.
const LINES_MAX: usize = 20;
