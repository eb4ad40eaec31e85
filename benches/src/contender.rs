//! Contenders: anything that decides about keys, asked through one loop for all.
//!
//! # Invariant
//!
//! Every contender pays for the same loop and no more: the key comes in as a service has it, a
//! `String` that was just read; the verdict goes out as whether the request is allowed, and is
//! counted. The loop is compiled for each contender, so nothing is called through a pointer but
//! once for a batch.

use std::hint::black_box;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::report::Kind;

/// Decides about requests.
pub trait Subject: Send + Sync {
    /// Whether one more request of this key is allowed.
    #[expect(
        clippy::ptr_arg,
        reason = "some rivals look keys up by the very type they own"
    )]
    fn decide(&self, key: &String) -> bool;

    /// Brings the keys back to where the last build or measurement left them, where that passes by
    /// itself: other rows have had their turns since. Takes no part in any figure.
    fn prepare(&self, _keys: &[String]) {}
}

/// A [`Subject`] that is asked in batches.
pub trait Asked: Send + Sync {
    /// Asks about each of these keys, one after the other; says how many were allowed. `fenced`
    /// waits for each answer before the next question, as a request handler does that has other
    /// work between: without it the processor overlaps the cache misses of several keys.
    fn ask(&self, keys: &[String], fenced: bool) -> u64;

    /// [`Subject::prepare`].
    fn prepare(&self, keys: &[String]);
}

impl<S: Subject> Asked for S {
    fn ask(&self, keys: &[String], fenced: bool) -> u64 {
        let mut allowed = 0;
        if fenced {
            for key in keys {
                allowed += u64::from(black_box(self.decide(black_box(key))));
                fence(Ordering::SeqCst);
            }
        } else {
            for key in keys {
                allowed += u64::from(black_box(self.decide(black_box(key))));
            }
        }
        allowed
    }

    fn prepare(&self, keys: &[String]) {
        Subject::prepare(self, keys);
    }
}

/// A row of the table before it is built.
#[derive(Clone, Copy)]
pub struct Contender {
    /// Its name, the same in every report.
    pub name: &'static str,
    /// Whose it is.
    pub kind: Kind,
    /// Which questions it can be asked.
    pub reach: Reach,
    /// Builds it. What must know its keys before it is asked has learnt them when it comes back.
    pub build: fn(&Setup<'_>) -> Box<dyn Asked>,
    /// Facts that a comparison needs.
    pub note: Option<&'static str>,
}

/// Which questions apply to a contender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// It decides about keys.
    Keyed,
    /// It decides, and knows no keys.
    Unkeyed,
    /// It never refuses: a part of the work, and no limiter.
    Part,
    /// It does nothing, whatever it is asked.
    Nothing,
}

impl Reach {
    /// Whether it makes a difference which key it is asked about.
    pub fn knows_keys(self) -> bool {
        matches!(self, Self::Keyed | Self::Nothing)
    }

    /// Whether it ever refuses.
    pub fn limits(self) -> bool {
        matches!(self, Self::Keyed | Self::Unkeyed)
    }
}

/// The setting that a contender is built for.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Each key once.
    pub keys: &'a [String],
    /// The limit of each key.
    pub rule: Rule,
}

/// A limit in the words that all limiters have: so many in a time, so many at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Requests in each period; also the most at once. Window limiters know no other burst.
    pub requests: u32,
    /// The period.
    pub period: Duration,
}

impl Rule {
    /// Nobody asks that much: every request is allowed.
    pub const AMPLE: Self = Self {
        requests: 1_000_000_000,
        period: Duration::from_secs(1),
    };

    /// Used up at once, and for longer than any measurement takes.
    pub const TIGHT: Self = Self {
        requests: 10,
        period: Duration::from_secs(3600),
    };
}

impl Setup<'_> {
    /// Builds the contender, which has been asked about every key when it comes back: once, or, if
    /// the rule is tight, until nothing is left of it.
    ///
    /// # Panics
    ///
    /// If the contender allows more than its rule: what limits nothing is not worth measuring.
    pub fn build(&self, contender: &Contender) -> Box<dyn Asked> {
        let built = (contender.build)(self);
        if self.rule == Rule::AMPLE {
            built.ask(self.keys, false);
        }
        if self.rule == Rule::TIGHT && contender.reach.limits() {
            for key in self.keys {
                let requests = u64::from(self.rule.requests);
                let allowed = (0..=requests).map(|_| built.ask(std::slice::from_ref(key), false));
                let (allowed, name) = (allowed.sum::<u64>(), contender.name);
                assert!(
                    allowed <= requests,
                    "{name} allowed {allowed} of {requests} requests"
                );
            }
        }
        built
    }
}
