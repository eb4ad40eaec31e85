//! A log of a run, step by step, for everybody who wants to judge it by other means.
//!
//! # Invariant
//!
//! The log is complete: from it alone, without the limiter's code, can be checked that tokens are
//! conserved. For each lease it tells what was granted, spent and released and when it ends; for
//! each key what is outstanding and charged; for each admission what covered it; and for each copy
//! of a message what became of it. `crates/sim/tests/it/conservation.rs` is such a check.

use serde::Serialize;

use crate::model::Demand;

/// Takes down what happens.
pub trait Recorder {
    /// Something happened.
    fn record(&mut self, happening: &Happening<'_>);
}

/// Something that happened. Times in `at_ns` are the world's and never fall from one to the next.
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
        /// When its tokens were taken, by the replica or by the store; absent if none were.
        taken_ns: Option<u64>,
        /// The replica that decided.
        replica: u32,
        /// How often the replica has started: a later life knows nothing of an earlier one.
        life: u64,
        /// The tokens that the request asked for, by limit and key.
        demands: &'a [Demand],
        /// Whether it was allowed.
        allowed: bool,
        /// Where it was decided: `local` at once, `store` after a wait for the sync task or the
        /// store, `budget` if it waited for too long.
        decided: &'a str,
        /// The tokens that cover the request; absent if it was denied.
        cover: Option<Cover>,
        /// The copy of a message that the store executed, if the store covers. Absent otherwise.
        copy: Option<u64>,
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
        /// The replica that sent it.
        replica: u32,
        /// How often the replica has started.
        life: u64,
        /// The birth of the store that the replica knows, in microseconds of the store's clock; 0
        /// if it knows none.
        known_birth_us: u64,
        /// How long leases of the message are to run, in microseconds.
        hold_us: u64,
        /// The limits that the message goes by, by position.
        limits: Vec<Numbers>,
        /// The requests of the message, key by key.
        keys: Vec<Asked>,
    },
    /// The network made a second copy of a message.
    Doubled {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// The number of the second copy.
        copy: u64,
    },
    /// A copy of a message, or the answer to it, is gone.
    Lost {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// Which copy; absent if it was lost before it had a number.
        copy: Option<u64>,
        /// The reason.
        why: Loss,
    },
    /// The store executed a copy of a message.
    Executed {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// Which copy.
        copy: u64,
        /// The store's clock, in microseconds.
        store_us: u64,
        /// The birth of the store, in microseconds of its clock.
        birth_us: u64,
        /// When every bucket counted as spent, in microseconds of the store's clock; 0 if never.
        emptied_us: u64,
        /// The answers, in the order in which the message asked.
        keys: Vec<Answered>,
    },
    /// A replica heard the answer.
    Heard {
        /// When.
        at_ns: u64,
        /// To which message.
        call: u64,
        /// To which copy.
        copy: u64,
        /// The replica that heard it.
        replica: u32,
    },
    /// A replica gave up on a message.
    Failed {
        /// When.
        at_ns: u64,
        /// Which message.
        call: u64,
        /// The replica that gave up.
        replica: u32,
    },
    /// The fleet changed, or a fault began or ended.
    Fault {
        /// When.
        at_ns: u64,
        /// The change in a few words.
        what: &'a str,
    },
}

/// The tokens that cover an allowed request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cover {
    /// Tokens that its replica held on lease.
    Lease,
    /// Tokens that the store spent by itself.
    Store,
    /// Nothing of the store's: the failure policy lets the replica grant itself tokens.
    Policy,
}

/// The end of a copy of a message that was not executed, or whose answer reached nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The network lost it on its way to the store.
    ToStore,
    /// The store refused it.
    Refused,
    /// The store's machine was gone.
    Swallowed,
    /// The store went down before it executed it.
    Dropped,
    /// The store had lost the script, and executed nothing.
    ScriptMissing,
    /// The network lost the answer.
    ToReplica,
    /// The answer found nobody who waited for it.
    Unawaited,
}

/// A limit in numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Numbers {
    /// Tokens that are added per period.
    pub tokens: u64,
    /// The period, in microseconds.
    pub period_us: u64,
    /// The burst.
    pub burst: u64,
    /// The budget for overshoot.
    pub overshoot: u64,
}

/// A message's request for one key. Counts of a lease are in all since it began.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "snake_case"
)]
pub enum Asked {
    /// A report on a lease, and what the replica would like.
    Lease {
        /// Which limit.
        limit: u32,
        /// Which key.
        key: u32,
        /// Names the lease; never used twice.
        lease: String,
        /// Tokens granted, as far as the replica has heard.
        granted: u64,
        /// Tokens spent.
        spent: u64,
        /// Tokens given back: they are gone from the replica.
        released: u64,
        /// Tokens that the replica would like outstanding.
        wanted: u64,
        /// Tokens of these that requests wait for.
        needed: u64,
        /// When the lease ends as far as the replica has heard, in microseconds of the store's
        /// clock; 0 if it has heard nothing.
        expiry_us: u64,
    },
    /// Tokens to be spent at once by the store itself.
    Spend {
        /// Which limit.
        limit: u32,
        /// Which key.
        key: u32,
        /// How many.
        cost: u64,
    },
    /// Tokens that the replica has granted itself while the store was away.
    Charge {
        /// Which limit.
        limit: u32,
        /// Which key.
        key: u32,
        /// How many.
        tokens: u64,
    },
}

impl Asked {
    /// Tokens that it speaks of: those that are asked for, spent or given back.
    pub fn tokens(&self) -> u64 {
        match self {
            Self::Lease {
                spent,
                released,
                wanted,
                needed,
                ..
            } => wanted.max(needed) + spent + released,
            Self::Spend { cost: tokens, .. } | Self::Charge { tokens, .. } => *tokens,
        }
    }

    /// Tokens that it gives back.
    pub const fn released(&self) -> u64 {
        match self {
            Self::Lease { released, .. } => *released,
            Self::Spend { .. } | Self::Charge { .. } => 0,
        }
    }
}

/// The store's answer for one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// Which limit.
    pub limit: u32,
    /// Which key.
    pub key: u32,
    /// The status of the request: `leased`, `reasserted`, `left`, `over`; `spent`, `denied`;
    /// `charged`.
    pub status: String,
    /// Tokens of the lease granted, in all since it began; 0 if there is none.
    pub granted: u64,
    /// When the lease ends, in microseconds of the store's clock; 0 if there is none.
    pub expiry_us: u64,
    /// Tokens charged and not yet drained.
    pub level: f64,
    /// Tokens outstanding on all leases of the key.
    pub outstanding: u64,
}

/// The store's answer to a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// The birth of the store, in microseconds of its clock.
    pub birth_us: u64,
    /// When every bucket counted as spent, in microseconds of the store's clock; 0 if never.
    pub emptied_us: u64,
    /// The answers, key by key.
    pub keys: Vec<Answered>,
}

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sending {
    /// The birth of the store that the sender knows, in microseconds of the store's clock.
    pub known_birth_us: u64,
    /// How long leases are to run, in microseconds.
    pub hold_us: u64,
    /// The limits that it goes by, by position.
    pub limits: Vec<Numbers>,
    /// The requests, key by key.
    pub keys: Vec<Asked>,
}
