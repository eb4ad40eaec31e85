//! The limiter by assigned shares: each replica reports how much was asked of it, is assigned a
//! part of the rate for a while, and applies it by a bucket of its own.
//!
//! So work Google's Doorman (leases of capacity, by proportional share), Envoy's RLQS (assignments
//! of token buckets with a time to live) and, with drop ratios in place of rates, Uber's global
//! rate limiter. No request asks the store, and the sum of the parts is kept to the whole; but a
//! share follows demand by an interval or two, and one that lies idle is stuck until it expires.
//!
//! # What is simplified
//!
//! One server, not a tree of them. Demand is what came in the last interval, unsmoothed. Shares are
//! in proportion to it, counted in 65536ths of the limit, and never more than the others have left,
//! so a newcomer waits until they have come down (Doorman's rule). A part of a burst is at least
//! one token, so that small bursts add up to more than the limit's. A key is reported when
//! something was asked under it, and a replica that stops does not say so: its shares expire. There
//! is no learning period after a restart of the store.
//!
//! # Invariant
//!
//! At the store, the parts of a key that have not expired sum to the whole at most. A replica's
//! part ends later than the store's record of it only by the time the answer took.

mod store;

use std::sync::Arc;

use leasehold_core::{Instant, Limit};
use serde::Deserialize;

pub use self::store::ShareStore;
use super::beat::Beat;
use super::leaky_bucket::LeakyBucket;
use super::meter::{Refusal, limit_of};
use super::part::part_of;
use super::table::{Slot, Table};
use crate::model::{Decision, Demand, LimiterModel, Outbox, ReplicaModel, Ticket};
use crate::units::Span;

/// How a limiter by assigned shares is set up.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShareConfig {
    /// Time between two reports of a replica.
    pub interval: Span,
    /// How long a share lasts after it was assigned.
    pub expiry: Span,
    /// The limit that a replica applies while it has no share.
    pub unassigned: Unassigned,
}

/// The limit that a replica applies to a key while it has no share of it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unassigned {
    /// The limit divided by the number of replicas at the start, as Doorman's safe capacity.
    #[default]
    Equal,
    /// The whole limit.
    Whole,
    /// Nothing: it denies.
    Nothing,
}

impl Default for ShareConfig {
    fn default() -> Self {
        Self {
            interval: Span::from_secs(1),
            expiry: Span::from_secs(5),
            unassigned: Unassigned::default(),
        }
    }
}

impl ShareConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.interval.0 == 0 {
            return Err("`interval` is 0: write a time such as \"1s\"".to_owned());
        }
        if self.expiry <= self.interval {
            return Err(format!(
                "`expiry` of {} is no longer than `interval`, so shares would end before they are \
                 renewed: write at least {}",
                self.expiry,
                Span(self.interval.0.saturating_mul(2))
            ));
        }
        Ok(())
    }
}

/// A limiter by assigned shares.
#[derive(Clone, Debug)]
pub struct Share {
    config: ShareConfig,
    replicas: u32,
}

impl Share {
    /// A limiter set up like this, in a fleet that starts with so many replicas.
    pub const fn new(config: ShareConfig, replicas: u32) -> Self {
        Self { config, replicas }
    }

    /// The limit that a replica goes by while it has no share.
    fn fallback(&self, limit: &Limit) -> Option<Limit> {
        match self.config.unassigned {
            Unassigned::Equal => Some(part_of(limit, 1, self.replicas.max(1))),
            Unassigned::Whole => Some(*limit),
            Unassigned::Nothing => None,
        }
    }
}

impl LimiterModel for Share {
    type Message = ShareMessage;
    type Answer = ShareAnswer;
    type Replica = ShareReplica;
    type Store = ShareStore;

    fn replica(&self, id: u64, seed: u64, limits: &[Limit]) -> ShareReplica {
        ShareReplica {
            model: self.clone(),
            id,
            limits: limits.into(),
            version: 0,
            portions: Table::new(),
            touched: Vec::new(),
            beat: Beat::new(self.config.interval, seed, id),
            in_flight: false,
        }
    }

    fn store(&self, _: &[Limit]) -> ShareStore {
        ShareStore::new()
    }
}

/// Demand at one replica since its last report.
#[derive(Clone, Debug)]
pub struct ShareMessage {
    replica: u64,
    /// Tokens asked of each key.
    offered: Arc<[(Slot, u64)]>,
    /// How long the shares are to last.
    lasts_us: u64,
}

/// The part of each key of a message, in 65536ths.
#[derive(Clone, Debug)]
pub struct ShareAnswer(Vec<u32>);

/// A replica that applies shares.
#[derive(Debug)]
pub struct ShareReplica {
    model: Share,
    id: u64,
    limits: Arc<[Limit]>,
    /// How often the limits have changed.
    version: u32,
    portions: Table<Portion>,
    /// Keys of which something was asked since the last report, each once.
    touched: Vec<Slot>,
    beat: Beat,
    in_flight: bool,
}

/// The part of one key that one replica may spend.
#[derive(Clone, Debug, Default)]
struct Portion {
    bucket: LeakyBucket,
    assigned: Option<Assigned>,
    /// The limit that it goes by while nothing is assigned.
    fallback: Option<Limit>,
    /// The version of the limits that it was reckoned by.
    version: Option<u32>,
    /// Tokens asked since the last report.
    offered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Assigned {
    parts: u32,
    /// The limit of a part; `None` for no part at all.
    limit: Option<Limit>,
    until: Instant,
}

impl Portion {
    fn limit(&self, now: Instant) -> Option<&Limit> {
        match &self.assigned {
            Some(assigned) if now < assigned.until => assigned.limit.as_ref(),
            _ => self.fallback.as_ref(),
        }
    }

    /// Whether `cost` may be spent; a key without any part may be tried again after `interval_ns`.
    fn room(&mut self, cost: u64, now: Instant, interval_ns: u64) -> Result<(), Refusal> {
        match self.limit(now).copied() {
            Some(limit) => self.bucket.room(cost, &limit, now.as_nanos() / 1000),
            None => Err(Refusal::after_us(interval_ns.div_ceil(1000))),
        }
    }

    fn matters(&self, now: Instant) -> bool {
        let assigned = self.assigned.is_some_and(|assigned| now < assigned.until);
        let level = |limit| self.bucket.matters(limit, now.as_nanos() / 1000);
        self.offered > 0 || assigned || self.limit(now).is_some_and(level)
    }
}

impl ShareReplica {
    fn open(&mut self, slot: Slot) -> &mut Portion {
        let portion = self.portions.open(slot, Portion::default);
        if portion.version != Some(self.version) {
            // What lies in the bucket stays: it weighs itself anew.
            portion.version = Some(self.version);
            let limit = limit_of(&self.limits, slot);
            portion.fallback = self.model.fallback(limit);
            if let Some(assigned) = &mut portion.assigned {
                assigned.limit = portion_of(limit, assigned.parts);
            }
        }
        portion
    }

    /// Notes what is asked, whether or not it is there: that is the demand.
    fn note(&mut self, demand: &Demand, now: Instant) {
        let slot = Slot::from(demand);
        let portion = self.open(slot);
        let first = portion.offered == 0;
        portion.offered += u64::from(demand.cost);
        if first {
            self.touched.push(slot);
            self.arm(now);
        }
    }

    fn arm(&mut self, now: Instant) {
        if !self.in_flight && !self.touched.is_empty() {
            self.beat.arm(now);
        }
    }

    fn report(&mut self, out: &mut Outbox<ShareMessage>) {
        self.beat.stop();
        if self.in_flight || self.touched.is_empty() {
            return;
        }
        let portions = &mut self.portions;
        let offered = |slot| {
            let portion = portions.find_mut(slot).expect("touched keys are kept");
            (slot, std::mem::take(&mut portion.offered))
        };
        let offered = self.touched.drain(..).map(offered).collect();
        self.in_flight = true;
        out.messages.push(ShareMessage {
            replica: self.id,
            offered,
            lasts_us: self.model.config.expiry.0 / 1000,
        });
    }
}

impl ReplicaModel for ShareReplica {
    type Message = ShareMessage;
    type Answer = ShareAnswer;

    fn acquire(
        &mut self,
        demands: &[Demand],
        _: Ticket,
        _: Instant,
        now: Instant,
        out: &mut Outbox<ShareMessage>,
    ) -> Decision {
        self.portions
            .sweep_if_grown(|_, portion| portion.matters(now));
        let interval_ns = self.model.config.interval.0;
        let due = self.beat.due();
        let rooms = demands.iter().map(|demand| {
            self.note(demand, now);
            let portion = self.open(demand.into());
            portion.room(demand.cost.into(), now, interval_ns)
        });
        let refusal = Refusal::longest(rooms);
        out.stirred |= self.beat.due() != due;
        if let Some(refusal) = refusal {
            let retry_after_ns = refusal.retry_after_ns();
            return Decision::Deny { retry_after_ns };
        }
        for demand in demands {
            let portion = self.open(demand.into());
            let limit = *portion.limit(now).expect("there was room");
            portion.bucket.charge(demand.cost.into(), &limit);
        }
        Decision::Allow
    }

    fn handle_answer(
        &mut self,
        message: &ShareMessage,
        answer: &ShareAnswer,
        now: Instant,
        _: &mut Outbox<ShareMessage>,
    ) {
        assert_eq!(
            message.offered.len(),
            answer.0.len(),
            "the store answers each key"
        );
        self.in_flight = false;
        let until = now + self.model.config.expiry.as_duration();
        for (&(slot, _), &parts) in message.offered.iter().zip(&answer.0) {
            let limit = portion_of(limit_of(&self.limits, slot), parts);
            let assigned = Assigned {
                parts,
                limit,
                until,
            };
            self.open(slot).assigned = Some(assigned);
        }
        self.arm(now);
    }

    /// Shares last until they expire, and the next report tells of new demand only.
    fn handle_failure(&mut self, _: &ShareMessage, now: Instant, _: &mut Outbox<ShareMessage>) {
        self.in_flight = false;
        self.arm(now);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox<ShareMessage>) {
        if self.beat.is_due(now) {
            self.report(out);
        }
    }

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.beat.due()
    }

    fn shut_down(&mut self, _: Instant, _: &mut Outbox<ShareMessage>) {}

    fn is_drained(&self) -> bool {
        true
    }

    fn set_limits(&mut self, limits: &[Limit], _: Instant) {
        self.limits = limits.into();
        self.version += 1;
    }
}

/// The part of `limit` that `parts` of [`WHOLE`] are, if any.
fn portion_of(limit: &Limit, parts: u32) -> Option<Limit> {
    (parts > 0).then(|| part_of(limit, parts, WHOLE))
}

/// A share is a number of parts of the whole, and these are all of them.
const WHOLE: u32 = 1 << 16;

#[cfg(test)]
mod tests;
