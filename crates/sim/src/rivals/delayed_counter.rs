//! The limiter that counts at once and adds up later: each replica decides on the total it last
//! heard and what it spent since, and exchanges both with the store at an interval.
//!
//! So work Kong's `rate-limiting` with `sync_rate`, APISIX with `sync_interval`, limitador's
//! `redis_cached`, gubernator's GLOBAL mode, trypema's hybrid and Databricks' counters. All let
//! through about what arrives at the other replicas within an interval, beyond the limit: every
//! replica takes the whole remainder for its own. A key it has never heard of counts from zero.
//!
//! # What is simplified
//!
//! One message carries all keys that were touched since the last one, and only one is under way at
//! a time; a slow store stretches the interval. Replies say which window of the store's clock they
//! mean and how much of it is left, so no clock of a replica matters (Kong uses its own wall
//! clock), and spending is counted in the window it belongs to (limitador once billed it to the
//! next). A key whose spending was sent off is not read again until it is touched again.
//!
//! # Invariant
//!
//! Without failures each token spent is pushed once, to the window that it was spent in or to none
//! if that is past; and `known + own` is never below what this replica spent in the window.

mod count;
mod store;

use std::sync::Arc;

use leasehold_core::{Instant, Limit};
use serde::Deserialize;

use self::count::Count;
pub use self::store::DelayedCounterStore;
use super::beat::Beat;
use super::meter::Refusal;
use super::quota::{Counts, Quota};
use super::table::{Slot, Table};
use crate::model::{Decision, Demand, LimiterModel, Outbox, ReplicaModel, Ticket};
use crate::units::Span;

/// How a delayed counter is set up.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DelayedCounterConfig {
    /// Time between two exchanges of a replica with the store.
    pub interval: Span,
    /// The length of a window; by default the period of the limit.
    pub window: Option<Span>,
    /// How tokens are counted within it.
    pub counts: Counting,
    /// The fate of counts whose exchange failed.
    pub lost: Lost,
}

/// How a delayed counter counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Counting {
    /// From one full period of the store's clock to the next.
    #[default]
    FixedWindow,
    /// The current window and the one before, weighted by how much of it still counts.
    SlidingWindowCounter,
}

/// The fate of counts that a replica sent and that were not confirmed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// The replica takes counts for lost, as Kong and gubernator do: the store may never hear of
    /// them.
    #[default]
    Drop,
    /// The replica sends counts again, as limitador and trypema do: the store may count them twice.
    Resend,
}

impl Default for DelayedCounterConfig {
    fn default() -> Self {
        Self {
            interval: Span::from_millis(100),
            window: None,
            counts: Counting::default(),
            lost: Lost::default(),
        }
    }
}

impl DelayedCounterConfig {
    pub(super) fn check(&self, limits: &[Limit]) -> Result<(), String> {
        if self.interval.0 == 0 {
            return Err("`interval` is 0: write a time such as \"100ms\"".to_owned());
        }
        let Some(window) = self.window else {
            return Ok(());
        };
        match limits
            .iter()
            .find(|limit| Quota::within(limit, window).tokens == 0)
        {
            None => Ok(()),
            Some(limit) => Err(format!(
                "`window` of {window} yields no whole token of \"{limit}\": write at least {:?}, \
                 or leave it out for the period of the limit",
                limit.time_for(1)
            )),
        }
    }

    fn quota(&self, limit: &Limit) -> Quota {
        self.window
            .map_or_else(|| Quota::of(limit), |window| Quota::within(limit, window))
    }

    fn quotas(&self, limits: &[Limit]) -> Arc<[Quota]> {
        limits.iter().map(|limit| self.quota(limit)).collect()
    }
}

/// A limiter that counts at once and adds up later.
#[derive(Clone, Debug)]
pub struct DelayedCounter {
    config: DelayedCounterConfig,
}

impl DelayedCounter {
    /// A limiter set up like this.
    pub const fn new(config: DelayedCounterConfig) -> Self {
        Self { config }
    }
}

impl LimiterModel for DelayedCounter {
    type Message = DelayedCounterMessage;
    type Answer = DelayedCounterAnswer;
    type Replica = DelayedCounterReplica;
    type Store = DelayedCounterStore;

    fn replica(&self, id: u64, seed: u64, limits: &[Limit]) -> DelayedCounterReplica {
        DelayedCounterReplica {
            quotas: self.config.quotas(limits),
            config: self.config.clone(),
            counts: Table::new(),
            touched: Vec::new(),
            beat: Beat::new(self.config.interval, seed, id),
            in_flight: false,
        }
    }

    fn store(&self, _: &[Limit]) -> DelayedCounterStore {
        DelayedCounterStore::new()
    }
}

/// Tokens spent of each key since the last message.
#[derive(Clone, Debug)]
pub struct DelayedCounterMessage {
    pushes: Vec<Push>,
    quotas: Arc<[Quota]>,
}

/// The totals of the keys of a message, in its order.
#[derive(Clone, Debug)]
pub struct DelayedCounterAnswer(Vec<Total>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Push {
    slot: Slot,
    /// The window it was spent in, if the replica has heard of one.
    index: Option<u64>,
    delta: u64,
}

/// The store's word on a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Total {
    counts: Counts,
    /// How much of the window is left, in microseconds.
    left_us: u64,
}

/// A replica that counts.
#[derive(Debug)]
pub struct DelayedCounterReplica {
    config: DelayedCounterConfig,
    quotas: Arc<[Quota]>,
    counts: Table<Count>,
    /// Keys with something to push, each once.
    touched: Vec<Slot>,
    beat: Beat,
    in_flight: bool,
}

impl DelayedCounterReplica {
    fn quota(&self, slot: Slot) -> Quota {
        self.quotas[slot.limit as usize]
    }

    /// Whether there is room for `demand`, as far as is known here.
    fn room(&mut self, demand: &Demand, now: Instant) -> Result<(), Refusal> {
        let slot = Slot::from(demand);
        let quota = self.quota(slot);
        let count = self.counts.open(slot, || Count::blank(quota, now));
        count.settle(quota, now);
        count.room(demand.cost.into(), quota, self.config.counts, now)
    }

    fn charge(&mut self, demand: &Demand, now: Instant) {
        let slot = Slot::from(demand);
        let count = self.counts.find_mut(slot).expect("opened by the check");
        count.spend(demand.cost.into());
        if count.touch() {
            self.touched.push(slot);
            self.arm(now);
        }
    }

    /// Sets the beat going, if there is something to push and nothing under way.
    fn arm(&mut self, now: Instant) {
        if !self.in_flight && !self.touched.is_empty() {
            self.beat.arm(now);
        }
    }

    fn push(&mut self, now: Instant, out: &mut Outbox<DelayedCounterMessage>) {
        self.beat.stop();
        if self.in_flight || self.touched.is_empty() {
            return;
        }
        let mut pushes = Vec::with_capacity(self.touched.len());
        for slot in self.touched.drain(..) {
            let quota = self.quotas[slot.limit as usize];
            let count = self.counts.find_mut(slot).expect("touched keys are kept");
            count.settle(quota, now);
            count.push(slot, &mut pushes);
        }
        if pushes.is_empty() {
            return; // All of it belonged to windows long past.
        }
        self.in_flight = true;
        let quotas = Arc::clone(&self.quotas);
        out.messages.push(DelayedCounterMessage { pushes, quotas });
    }
}

impl ReplicaModel for DelayedCounterReplica {
    type Message = DelayedCounterMessage;
    type Answer = DelayedCounterAnswer;

    fn acquire(
        &mut self,
        demands: &[Demand],
        _: Ticket,
        _: Instant,
        now: Instant,
        out: &mut Outbox<DelayedCounterMessage>,
    ) -> Decision {
        let quotas = &self.quotas;
        self.counts
            .sweep_if_grown(|slot, count| count.matters(quotas[slot.limit as usize], now));
        let rooms = demands.iter().map(|demand| self.room(demand, now));
        if let Some(refusal) = Refusal::longest(rooms) {
            let retry_after_ns = refusal.retry_after_ns();
            return Decision::Deny { retry_after_ns };
        }
        let due = self.beat.due();
        for demand in demands {
            self.charge(demand, now);
        }
        out.stirred |= self.beat.due() != due;
        Decision::Allow
    }

    fn handle_answer(
        &mut self,
        message: &DelayedCounterMessage,
        answer: &DelayedCounterAnswer,
        now: Instant,
        _: &mut Outbox<DelayedCounterMessage>,
    ) {
        assert_eq!(
            message.pushes.len(),
            answer.0.len(),
            "the store answers each key"
        );
        self.in_flight = false;
        for (push, total) in message.pushes.iter().zip(&answer.0) {
            let quota = self.quota(push.slot);
            let count = self.counts.find_mut(push.slot);
            let count = count.expect("keys under way are kept");
            count.settle(quota, now);
            count.learn(push, total, now);
        }
        self.arm(now);
    }

    fn handle_failure(
        &mut self,
        message: &DelayedCounterMessage,
        now: Instant,
        _: &mut Outbox<DelayedCounterMessage>,
    ) {
        self.in_flight = false;
        for push in &message.pushes {
            let quota = self.quota(push.slot);
            let count = self.counts.find_mut(push.slot);
            let count = count.expect("keys under way are kept");
            count.settle(quota, now);
            count.lose(push, self.config.lost);
            if count.is_unpushed() && count.touch() {
                self.touched.push(push.slot);
            }
        }
        self.arm(now);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox<DelayedCounterMessage>) {
        if self.beat.is_due(now) {
            self.push(now, out);
        }
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.beat.due()
    }

    /// Pushes what was spent since the last exchange, at once.
    fn shut_down(&mut self, now: Instant, out: &mut Outbox<DelayedCounterMessage>) {
        self.push(now, out);
    }

    fn is_drained(&self) -> bool {
        !self.in_flight && self.touched.is_empty()
    }

    fn set_limits(&mut self, limits: &[Limit], _: Instant) {
        self.quotas = self.config.quotas(limits);
    }

    /// Panics if something is to be pushed and nothing will push it.
    fn check(&self) {
        let served = self.in_flight || self.beat.due().is_some();
        assert!(served || self.touched.is_empty());
    }
}

#[cfg(test)]
mod tests;
