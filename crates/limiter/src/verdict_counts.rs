//! The tokens of decided requests by limit: where they were allowed, and why they were denied.
//!
//! # Invariant
//!
//! Each token is counted once, and the request path pays nothing for those it decides from what is
//! here: the cells of the cache count them anyway, and the sync task reads the cells. The other
//! requests are counted by whoever tells the caller. What the sync task finds spent contains both
//! kinds, so the first is what is left of it without the second ([`Row::not_local`]).
//!
//! # Orderings
//!
//! All `Relaxed`: each number stands for itself. A count that grows by subtraction is published as
//! the largest seen, so no count ever shrinks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use leasehold_cache::LimitId;
use leasehold_core::{Decided, Reason, Verdict};
use leasehold_sync::{Counted, NamedLimit, Tokens};

/// The counts of one limiter: a row for each limit, and one for requests that no limit decided.
#[derive(Debug)]
pub(crate) struct VerdictCounts {
    rows: Box<[Row]>,
    no_limit: Row,
}

#[derive(Debug, Default)]
struct Row {
    allowed: [AtomicU64; Decided::ALL.len()],
    denied: [AtomicU64; Reason::ALL.len()],
    /// Denied for want of tokens by what is known here, and of keys in fallback.
    exhausted_here: AtomicU64,
    unavailable_here: AtomicU64,
    /// Tokens that the sync task finds spent, and that were allowed elsewhere or to nobody.
    not_local: AtomicU64,
    /// Allowed, and never told to the sync task.
    uncharged: AtomicU64,
    /// Tokens that the cache counts as denied for want of tokens, or of keys in fallback for want
    /// of the store, and that were denied for another reason.
    not_exhausted: AtomicU64,
    not_unavailable: AtomicU64,
}

/// The tokens of requests under one limit, by verdict: see [`Stats::by_limit`](crate::Stats).
///
/// Counts are in tokens: a request of cost 3 counts 3. A request under several limits counts the
/// cost under each limit if it is allowed, and only the cost under the limit that denied it if it
/// is denied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct LimitStats {
    /// The name of the limit; `None` for requests that no limit decided, such as those that name a
    /// limit which is not there.
    pub limit: Option<Box<str>>,
    allowed: [u64; Decided::ALL.len()],
    denied: [u64; Reason::ALL.len()],
}

impl LimitStats {
    /// Tokens of requests that were allowed, by where they were decided.
    ///
    /// A request that its thread decides by itself ([`Decided::Local`]) is counted when the sync
    /// task next looks at the key: within [`Tuning::idle_after`](crate::Tuning) at the latest. The
    /// other requests are counted at once.
    pub const fn allowed(&self, decided: Decided) -> u64 {
        self.allowed[decided.index()]
    }

    /// Tokens of requests that were denied, by reason. Nothing was spent on them.
    ///
    /// Denials of keys that are known here to have no tokens ([`Reason::Exhausted`]) are counted
    /// when the sync task next looks at the key: within [`Tuning::idle_after`](crate::Tuning) at
    /// the latest. The other requests are counted at once.
    pub const fn denied(&self, reason: Reason) -> u64 {
        self.denied[reason.index()]
    }

    /// Tokens of all requests that were allowed.
    pub fn allowed_in_all(&self) -> u64 {
        sum(&self.allowed)
    }

    /// Tokens of all requests that were denied.
    pub fn denied_in_all(&self) -> u64 {
        sum(&self.denied)
    }
}

impl VerdictCounts {
    pub(crate) fn new(limits: usize) -> Self {
        Self {
            rows: (0..limits).map(|_| Row::default()).collect(),
            no_limit: Row::default(),
        }
    }

    fn row(&self, limit: Option<LimitId>) -> &Row {
        let row = limit.and_then(|LimitId(index)| self.rows.get(index as usize));
        row.unwrap_or(&self.no_limit)
    }

    /// Counts a verdict that the cache has not counted, or under another reason.
    pub(crate) fn count(&self, verdict: &Verdict, cost: u32, counted: Counted) {
        let row = self.row(verdict.limit());
        match verdict.denial() {
            None => add(&row.allowed[verdict.decided().index()], cost),
            Some(denial) => {
                add(&row.denied[denial.reason.index()], cost);
                match counted {
                    Counted::AsExhausted => add(&row.not_exhausted, cost),
                    Counted::AsUnavailable => add(&row.not_unavailable, cost),
                    Counted::No => {}
                }
            }
        }
    }

    /// Prepares for a verdict that the sync task is about to give, because the task finds the
    /// tokens spent before the caller has counted them. If nobody hears it, they are counted as
    /// nobody's.
    pub(crate) fn expect_from_task(&self, limit: LimitId, verdict: &Verdict, cost: u32) {
        if verdict.is_allowed() && verdict.decided() != Decided::Local {
            add(&self.row(Some(limit)).not_local, cost);
        }
    }

    /// Counts a verdict that the sync task gave and has [expected](Self::expect_from_task).
    pub(crate) fn count_from_task(&self, verdict: &Verdict, cost: u32) {
        if !verdict.is_allowed() || verdict.decided() != Decided::Local {
            self.count(verdict, cost, Counted::No);
        }
    }

    /// Counts tokens that were allowed elsewhere, and that the task finds spent.
    pub(crate) fn count_elsewhere(&self, limit: LimitId, decided: Decided, cost: u32) {
        let row = self.row(Some(limit));
        // First: until the next look it is not among those spent, and must not seem local then.
        add(&row.not_local, cost);
        add(&row.allowed[decided.index()], cost);
    }

    /// Counts tokens that were allowed and that the sync task was never told of.
    pub(crate) fn count_uncharged(&self, limit: LimitId, cost: u32) {
        add(&self.row(Some(limit)).uncharged, cost);
    }

    /// Publishes what the sync task has found so far under one limit: tokens of the store, and
    /// those that this replica granted itself.
    pub(crate) fn publish(&self, limit: LimitId, leased: Tokens, granted_here: Tokens) {
        let row = self.row(Some(limit));
        let spent = leased.spent.saturating_add(granted_here.spent);
        let spent = spent.saturating_add(row.uncharged.load(Relaxed));
        let local = spent.saturating_sub(row.not_local.load(Relaxed));
        row.allowed[Decided::Local.index()].fetch_max(local, Relaxed);
        let exhausted = leased.denied;
        let exhausted = exhausted.saturating_sub(row.not_exhausted.load(Relaxed));
        row.exhausted_here.fetch_max(exhausted, Relaxed);
        let unavailable = granted_here.denied;
        let unavailable = unavailable.saturating_sub(row.not_unavailable.load(Relaxed));
        row.unavailable_here.fetch_max(unavailable, Relaxed);
    }

    /// The counts of all limits, and last those of requests that no limit decided.
    pub(crate) fn read(&self, limits: &[NamedLimit]) -> Vec<LimitStats> {
        let named = limits.iter().map(|named| Some(named.name.clone()));
        let rows = self.rows.iter().chain([&self.no_limit]);
        let read = |(limit, row): (Option<Box<str>>, &Row)| row.read(limit);
        named.chain([None]).zip(rows).map(read).collect()
    }
}

impl Row {
    fn read(&self, limit: Option<Box<str>>) -> LimitStats {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let allowed = self.allowed.each_ref().map(load);
        let mut denied = self.denied.each_ref().map(load);
        let here = [
            (Reason::Exhausted, &self.exhausted_here),
            (Reason::StoreUnavailable, &self.unavailable_here),
        ];
        for (reason, count) in here {
            let denied = &mut denied[reason.index()];
            *denied = denied.saturating_add(load(count));
        }
        LimitStats {
            limit,
            allowed,
            denied,
        }
    }
}

fn add(count: &AtomicU64, tokens: u32) {
    count.fetch_add(u64::from(tokens), Relaxed);
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(0, u64::saturating_add)
}
