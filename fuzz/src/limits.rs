//! Limits, as text and in JSON.
//!
//! # Invariant
//!
//! What is a limit is exact, and reads as it is written. What is none is told with a place in the
//! text that is at fault.

use leasehold_core::{Limit, LimitError, Rate};

/// Reads the input as a rate, as a limit and as JSON.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match text.parse::<Limit>() {
        Ok(limit) => holds(&limit),
        Err(error) => tells(&error, &text),
    }
    match text.parse::<Rate>() {
        Ok(rate) => assert_eq!(rate.to_string().parse(), Ok(rate)),
        Err(error) => tells(&error, &text),
    }
    if let Ok(limit) = serde_json::from_slice::<Limit>(input) {
        holds(&limit);
        let json = serde_json::to_string(&limit).expect("a limit is text");
        let again: Limit = serde_json::from_str(&json).expect("it was just written");
        assert_eq!(again, limit);
    }
}

fn holds(limit: &Limit) {
    assert_eq!(limit.to_string().parse(), Ok(*limit), "{limit}");
    let scale = limit.scale();
    // The rate itself: drain per tick over weight, as fractions.
    let drained = u128::from(scale.drain) * u128::from(limit.rate().period.0);
    let yielded = u128::from(limit.rate().tokens) * u128::from(scale.weight);
    assert_eq!(drained, yielded * u128::from(scale.tick), "{limit}");
    let most = u128::from(limit.capacity()) + u128::from(limit.burst());
    assert!(most * u128::from(scale.weight) < 1 << 52, "{limit}");
    assert!(limit.burst() > 0 && limit.rate().tokens > 0);
    // No text makes these overflow.
    assert!(limit.time_for(limit.capacity()) >= limit.time_for(1));
    assert!(limit.capacity_level() >= limit.capacity());
}

fn tells(error: &LimitError, text: &str) {
    assert_eq!(error.text(), text);
    assert!(text.get(error.span()).is_some(), "a part of the text");
    assert!(error.to_string().ends_with(error.advice()));
}
