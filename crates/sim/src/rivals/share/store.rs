//! The store of a limiter by shares: who wants how much of each key, and has which part.
//!
//! # Invariant
//!
//! The parts of a key that have not expired sum to the whole at most.

use leasehold_core::StoreTime;

use super::{ShareAnswer, ShareMessage, WHOLE};
use crate::model::{Demand, StoreModel, Weight};
use crate::rivals::resp;
use crate::rivals::table::Table;

/// The shares of all keys.
#[derive(Clone, Debug)]
pub struct ShareStore {
    holders: Table<Vec<Holder>>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    replica: u64,
    /// Tokens that were asked of it in its last interval.
    wants: u64,
    parts: u32,
    expires_us: u64,
}

impl ShareStore {
    pub(super) fn new() -> Self {
        Self {
            holders: Table::new(),
        }
    }
}

/// The part of a replica that wants so much beside others that want and have so much.
fn assign(wants: u64, others: &[Holder]) -> u32 {
    let all: u128 = others.iter().map(|other| u128::from(other.wants)).sum();
    let all = (all + u128::from(wants)).max(1);
    let fair = u128::from(wants) * u128::from(WHOLE) / all;
    let taken: u32 = others.iter().map(|other| other.parts).sum();
    let fair = u32::try_from(fair).expect("a part of the whole");
    fair.min(WHOLE - taken)
}

impl StoreModel for ShareStore {
    type Message = ShareMessage;
    type Answer = ShareAnswer;

    fn execute(
        &mut self,
        message: &ShareMessage,
        now: StoreTime,
        _: &mut dyn FnMut(Demand),
    ) -> ShareAnswer {
        let now_us = now.as_micros();
        let lives = |holder: &Holder| now_us < holder.expires_us;
        self.holders
            .sweep_if_grown(|_, holders| holders.iter().any(lives));
        let parts = message.offered.iter().map(|&(slot, wants)| {
            let holders = self.holders.open(slot, Vec::new);
            holders.retain(|holder| lives(holder) && holder.replica != message.replica);
            let parts = assign(wants, holders);
            holders.push(Holder {
                replica: message.replica,
                wants,
                parts,
                expires_us: now_us.saturating_add(message.lasts_us),
            });
            parts
        });
        ShareAnswer(parts.collect())
    }

    fn forget(&mut self) {
        self.holders.clear();
    }

    /// One call: of each key its name and what was asked; back come its part and how long it lasts.
    fn weigh(message: &ShareMessage) -> Weight {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "keys of a replica are numbered in 32 bits"
        )]
        let calls = message.offered.len() as u32;
        Weight {
            calls,
            bytes_in: resp::script_call(calls, 1 + calls),
            bytes_out: resp::integers(2 * calls),
        }
    }

    fn keys(&self) -> usize {
        self.holders.len()
    }
}
