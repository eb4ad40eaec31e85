//! Admissions in order of the time at which their tokens were taken.
//!
//! # Invariant
//!
//! Only what a caller was told is judged, at the instant at which its tokens were taken. A store
//! that spends tokens by itself takes them when it executes the message, and the caller is told
//! later or never. Until that is known, the spend and all that was taken after it are held back.
//! Memory so goes by what is taken while an answer is under way.

use std::collections::VecDeque;

use super::promise::{LimitFindings, Promise};
use super::sliding::SlidingSecond;
use crate::Demand;
use crate::limit::JudgedLimit;
use crate::tally::Volumes;

/// Names tokens that the store has spent by itself, of which a caller may be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spend(u64);

/// The admissions under all limits.
#[derive(Debug)]
pub(super) struct Admitted {
    promises: Vec<Promise>,
    second: SlidingSecond,
    /// Entries that cannot be judged yet. The first is a spend that nobody has heard of.
    held: VecDeque<Held>,
    /// The number of the first entry.
    first: u64,
}

/// Something that is held back.
#[derive(Debug)]
struct Held {
    at_ns: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Tokens that a caller knows to be admitted.
    Told(Demand),
    /// Tokens that the store has spent.
    Open(Demand),
    /// Tokens that the store spent on nobody.
    Void,
    /// The next numbers of this limit come into force.
    Change(u32),
}

impl Admitted {
    /// Limits with the numbers that come into force one after the other, and how many keys each
    /// has.
    pub(super) fn new(limits: impl IntoIterator<Item = (Vec<JudgedLimit>, u32)>) -> Self {
        let promises = limits.into_iter();
        Self {
            promises: promises
                .map(|(numbers, keys)| Promise::new(numbers, keys))
                .collect(),
            second: SlidingSecond::default(),
            held: VecDeque::new(),
            first: 0,
        }
    }

    /// Tokens are taken, and the caller knows.
    pub(super) fn take(&mut self, at_ns: u64, demand: Demand) {
        self.handle(at_ns, What::Told(demand));
    }

    /// The store takes tokens; whether a caller hears of it is open.
    pub(super) fn spend(&mut self, at_ns: u64, demand: Demand) -> Spend {
        let number = self.first + self.held.len() as u64;
        self.held.push_back(Held {
            at_ns,
            what: What::Open(demand),
        });
        Spend(number)
    }

    /// A caller has been told of a spend, or nobody ever will be.
    pub(super) fn settle(&mut self, Spend(number): Spend, told: bool) {
        let place = number.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let held = place.and_then(|place| self.held.get_mut(place));
        let what = &mut held.expect("a spend is settled once").what;
        *what = match *what {
            What::Open(demand) if told => What::Told(demand),
            What::Open(_) => What::Void,
            _ => panic!("a spend is settled once"),
        };
        self.judge_settled();
    }

    /// The next numbers of a limit come into force.
    pub(super) fn change(&mut self, at_ns: u64, limit: u32) {
        self.handle(at_ns, What::Change(limit));
    }

    /// The run ends: what nobody has been told of until now was admitted to nobody.
    pub(super) fn finish(mut self, volumes: Vec<Volumes>) -> Vec<LimitFindings> {
        for held in &mut self.held {
            if matches!(held.what, What::Open(_)) {
                held.what = What::Void;
            }
        }
        self.judge_settled();
        let both = self.promises.into_iter().zip(volumes);
        both.map(|(promise, volumes)| promise.finish(volumes))
            .collect()
    }

    #[inline]
    fn handle(&mut self, at_ns: u64, what: What) {
        if self.held.is_empty() {
            self.judge(&Held { at_ns, what });
        } else {
            self.held.push_back(Held { at_ns, what });
        }
    }

    fn judge_settled(&mut self) {
        while let Some(held) = self.held.front()
            && !matches!(held.what, What::Open(_))
        {
            let held = self.held.pop_front().expect("just seen");
            self.first += 1;
            self.judge(&held);
        }
    }

    #[inline]
    fn judge(&mut self, held: &Held) {
        match held.what {
            What::Told(demand) => {
                self.second.take(held.at_ns, demand, &mut self.promises);
                let promise = &mut self.promises[demand.limit as usize];
                promise.admit(held.at_ns, demand.key, demand.cost);
            }
            What::Change(limit) => {
                self.second.forget(limit);
                self.promises[limit as usize].change();
            }
            What::Void => {}
            What::Open(_) => unreachable!("it is held back until it is settled"),
        }
    }
}
