//! What happened in a run, one thing after the other, for whoever wants to judge it themselves.

use serde::Serialize;

use crate::scheme::Demand;

/// Takes down what happens.
pub trait Recorder {
    /// Something happened.
    fn record(&mut self, happening: &Happening<'_>);
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "snake_case"
)]
pub enum Happening<'a> {
    /// A request has its verdict.
    Decision {
        /// When it was decided.
        at_ns: u64,
        /// When it arrived.
        arrived_ns: u64,
        /// When its tokens were taken; that of a store's own spend lies before the verdict.
        taken_ns: Option<u64>,
        /// By which replica.
        replica: u32,
        /// What it asked for.
        demands: &'a [Demand],
        /// Whether it was allowed.
        allowed: bool,
        /// Where it was decided: `local`, `store`, or `budget` if nobody answered in time.
        decided: &'a str,
        /// Advised time until the next try.
        retry_after_ns: Option<u64>,
        /// How often the replica's limits had been changed.
        rule_version: u32,
    },
    /// A replica sent a message to the store.
    Sent {
        /// When.
        at_ns: u64,
        /// Numbers the message.
        call: u64,
        /// By which replica.
        replica: u32,
        /// What it asks for.
        keys: Vec<Asked>,
    },
    /// The store executed a message, or a copy of it.
    Executed {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// What it answers.
        keys: Vec<Answered>,
    },
    /// A replica heard the answer.
    Heard {
        /// When.
        at_ns: u64,
        /// To which message.
        call: u64,
        /// Which replica.
        replica: u32,
    },
    /// A replica gave up on a message.
    Failed {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// Which replica.
        replica: u32,
    },
    /// The fleet changed, or a fault began or ended.
    Fault {
        /// When.
        at_ns: u64,
        /// What.
        what: &'a str,
    },
}

/// What a message asks for one key. Counts of a lease are in all since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Asked {
    /// Which limit.
    pub limit: u32,
    /// Which key.
    pub key: u32,
    /// Tokens wanted on lease, or to be spent at once.
    pub asked: u64,
    /// Tokens of the lease that were spent.
    pub spent: u64,
    /// Tokens of the lease that are given back.
    pub returned: u64,
}

/// What the store answers for one key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Answered {
    /// Which limit.
    pub limit: u32,
    /// Which key.
    pub key: u32,
    /// Tokens of the lease granted, in all since it began; or spent by the store.
    pub granted: u64,
    /// Tokens outstanding on all leases of the key.
    pub outstanding: u64,
}
