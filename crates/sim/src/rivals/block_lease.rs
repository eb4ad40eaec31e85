//! The naive lease: a replica takes a block of tokens from the store's bucket and spends it, with
//! no account of what replicas hold.
//!
//! So work batching over Bucket4j as its users build it, the request routers of `DynamoDB` as
//! published, and most "hybrid" designs in articles: local buckets filled from Redis. Taken tokens
//! count as spent, so the rate is kept; but a bucket refills while its tokens lie at the replicas,
//! so that N replicas may spend N * (block + watermark) beyond the burst. When the bucket runs dry,
//! what a denied replica does next decides between many vain calls and unused tokens; see
//! [`Retry`].
//!
//! # What is simplified
//!
//! The store's bucket is exact. A block is granted whole or not at all, unless `partial` is set. A
//! block larger than the burst counts as the burst, and a request that costs more than a block asks
//! for its cost. Each key is asked for by a message of its own. A late or lost answer's tokens are
//! gone, as is what a replica holds when it stops. Without an expiry a key that still has tokens is
//! never forgotten.
//!
//! # Invariant
//!
//! Tokens granted = spent + dropped + held, at each replica. At most one message per key is under
//! way, and whoever waits for a key waits for that message.

mod retry;
mod stock;
mod store;

use std::collections::VecDeque;
use std::sync::Arc;

use leasehold_core::{Instant, Limit};
use serde::Deserialize;

pub use self::retry::Retry;
use self::stock::{Stock, Waiter};
pub use self::store::BlockLeaseStore;
use super::OnFailure;
use super::meter::limit_of;
use super::table::{Slot, Table};
use crate::model::{
    Decision, Demand, LimiterModel, Outbox, Outcome, ReplicaModel, Ticket, Verdict,
};
use crate::units::{Count, Span};

/// How a naive lease is set up.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BlockLeaseConfig {
    /// Tokens that a replica takes at a time.
    pub block: Count,
    /// The stock at which it takes the next block: with so many tokens left or fewer.
    pub watermark: Count,
    /// How long a stock may be spent after its last block; for ever if not set. What is left then
    /// is dropped, and not given back.
    pub expiry: Option<Span>,
    /// When a replica asks again that was denied a block.
    pub retry: Retry,
    /// The fate of a request whose tokens are not there.
    pub empty: Empty,
    /// Whether the store grants what there is of a block.
    pub partial: bool,
    /// The answer to requests that wait for a call that fails.
    pub on_failure: OnFailure,
}

/// The fate of a request whose tokens are not there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// The request waits for the block that is under way.
    #[default]
    Wait,
    /// The request is denied, and the block comes in for the next one.
    Deny,
}

impl Default for BlockLeaseConfig {
    fn default() -> Self {
        Self {
            block: Count(10),
            watermark: Count(0),
            expiry: None,
            retry: Retry::default(),
            empty: Empty::default(),
            partial: false,
            on_failure: OnFailure::default(),
        }
    }
}

impl BlockLeaseConfig {
    pub(super) fn check(&self, _: &[Limit]) -> Result<(), String> {
        if self.block.0 == 0 {
            return Err("`block` is 0: write at least 1".to_owned());
        }
        if self.expiry == Some(Span::ZERO) {
            return Err("`expiry` is 0: write a time such as \"1s\", or leave it out".to_owned());
        }
        Ok(())
    }
}

/// A limiter that takes blocks.
#[derive(Clone, Debug)]
pub struct BlockLease {
    config: BlockLeaseConfig,
    replicas: u32,
}

impl BlockLease {
    /// A limiter set up like this, in a fleet that starts with so many replicas.
    pub const fn new(config: BlockLeaseConfig, replicas: u32) -> Self {
        Self { config, replicas }
    }
}

impl LimiterModel for BlockLease {
    type Message = BlockLeaseMessage;
    type Answer = BlockLeaseAnswer;
    type Replica = BlockLeaseReplica;
    type Store = BlockLeaseStore;

    fn replica(&self, _: u64, _: u64, limits: &[Limit]) -> BlockLeaseReplica {
        BlockLeaseReplica {
            model: self.clone(),
            limits: limits.into(),
            stocks: Table::new(),
            expiries: VecDeque::new(),
            books: Books::default(),
        }
    }

    fn store(&self, _: &[Limit]) -> BlockLeaseStore {
        BlockLeaseStore::new()
    }
}

/// Asks for tokens of one key.
#[derive(Clone, Debug)]
pub struct BlockLeaseMessage {
    slot: Slot,
    want: u64,
    /// The least that will do if the store does not have all.
    least: u64,
    limits: Arc<[Limit]>,
}

/// The store's grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlockLeaseAnswer {
    granted: u64,
    /// If nothing: the time until the bucket has enough; `None` if it never will.
    retry_after_ns: Option<u64>,
}

/// A replica that spends blocks.
#[derive(Debug)]
pub struct BlockLeaseReplica {
    model: BlockLease,
    limits: Arc<[Limit]>,
    stocks: Table<Stock>,
    /// When which stock expires, in order: all live equally long. One whose stock was renewed
    /// since says nothing.
    expiries: VecDeque<(Instant, Slot)>,
    books: Books,
}

/// Tokens of all keys together, since the replica started.
#[derive(Clone, Copy, Debug, Default)]
struct Books {
    granted: u64,
    spent: u64,
    dropped: u64,
    held: u64,
}

impl BlockLeaseReplica {
    fn config(&self) -> &BlockLeaseConfig {
        &self.model.config
    }

    fn stock(&mut self, slot: Slot) -> &mut Stock {
        self.stocks.open(slot, Stock::default)
    }

    /// Spends all demands, if all are in stock; otherwise names the first that is not.
    fn spend(&mut self, demands: &[Demand]) -> Result<(), Demand> {
        for demand in demands {
            if self.stock(demand.into()).tokens < u64::from(demand.cost) {
                return Err(*demand);
            }
        }
        for demand in demands {
            let cost = u64::from(demand.cost);
            self.stock(demand.into()).tokens -= cost;
            self.books.held -= cost;
            self.books.spent += cost;
        }
        Ok(())
    }

    /// Asks for a block of each key that is at its watermark or below.
    fn refill(&mut self, demands: &[Demand], now: Instant, out: &mut Outbox<BlockLeaseMessage>) {
        let watermark = self.config().watermark.0;
        for demand in demands {
            if self.stock(demand.into()).tokens <= watermark {
                self.ask(demand.into(), 1, now, out);
            }
        }
    }

    /// Asks for a block, or for `cost` if that is more; unless that is being done, or it was
    /// denied and is not yet to be tried again. Whether an answer is to be expected.
    fn ask(
        &mut self,
        slot: Slot,
        cost: u64,
        now: Instant,
        out: &mut Outbox<BlockLeaseMessage>,
    ) -> bool {
        let (block, partial) = (self.config().block.0, self.config().partial);
        let burst = limit_of(&self.limits, slot).burst();
        let stock = self.stock(slot);
        if stock.asked {
            return true;
        }
        if now < stock.ask_from {
            return false;
        }
        stock.asked = true;
        let want = block.min(burst).max(cost);
        let missing = cost.saturating_sub(stock.tokens).max(1);
        out.messages.push(BlockLeaseMessage {
            slot,
            want,
            least: if partial { missing } else { want },
            limits: Arc::clone(&self.limits),
        });
        true
    }

    /// `demand` is not in stock: asks for it, and says what `waiter` meets until it is.
    fn meet_empty(
        &mut self,
        demand: Demand,
        waiter: Waiter,
        now: Instant,
        out: &mut Outbox<BlockLeaseMessage>,
    ) -> Decision {
        let slot = Slot::from(&demand);
        let cost = u64::from(demand.cost);
        let limit = *limit_of(&self.limits, slot);
        if cost > limit.burst() {
            return Decision::Deny {
                retry_after_ns: None,
            };
        }
        let asked = self.ask(slot, cost, now, out);
        if asked && self.config().empty == Empty::Wait {
            self.stock(slot).waiters.push_back(waiter);
            return Decision::Wait;
        }
        // Before the rate has yielded the cost there is no use in coming back.
        let wait = self
            .stock(slot)
            .ask_from
            .since(now)
            .max(limit.time_for(cost));
        Decision::Deny {
            retry_after_ns: Some(Span::from(wait).0),
        }
    }

    /// Serves those who wait for `slot` in their order, while there is enough.
    fn serve(&mut self, slot: Slot, now: Instant, out: &mut Outbox<BlockLeaseMessage>) {
        // A waiter that must wait on comes back to the end of a list, this one or another.
        let mut waiters = std::mem::take(&mut self.stock(slot).waiters);
        while let Some(waiter) = waiters.pop_front() {
            if waiter.deadline <= now {
                continue; // The world has answered.
            }
            let ticket = waiter.ticket;
            let outcome = match self.spend(waiter.demands.as_slice()) {
                Ok(()) => {
                    self.refill(waiter.demands.as_slice(), now, out);
                    Outcome::AllowedHere
                }
                Err(demand) => match self.meet_empty(demand, waiter, now, out) {
                    Decision::Wait => continue,
                    Decision::Deny { retry_after_ns } => Outcome::Denied { retry_after_ns },
                    Decision::Allow => unreachable!("there is not enough"),
                },
            };
            out.verdicts.push(Verdict { ticket, outcome });
        }
    }

    /// Tells all who wait for `slot` the same.
    fn dismiss(&mut self, slot: Slot, outcome: Outcome, out: &mut Outbox<BlockLeaseMessage>) {
        let waiters = std::mem::take(&mut self.stock(slot).waiters);
        let verdict = |waiter: Waiter| Verdict {
            ticket: waiter.ticket,
            outcome,
        };
        out.verdicts.extend(waiters.into_iter().map(verdict));
    }

    fn put(&mut self, slot: Slot, tokens: u64, now: Instant) {
        self.books.granted += tokens;
        self.books.held += tokens;
        let expires = self
            .config()
            .expiry
            .map(|expiry| now + expiry.as_duration());
        let stock = self.stock(slot);
        stock.tokens += tokens;
        if let Some(expires) = expires {
            stock.expires = expires;
            self.expiries.push_back((expires, slot));
        }
    }

    /// Drops what has expired; whether there was any, so that the next expiry is another one.
    fn expire(&mut self, now: Instant) -> bool {
        let due = self.expiries.len();
        while let Some(&(expires, slot)) = self.expiries.front()
            && expires <= now
        {
            self.expiries.pop_front();
            let stock = self.stocks.open(slot, Stock::default);
            if stock.expires <= now {
                let dropped = std::mem::take(&mut stock.tokens);
                self.books.held -= dropped;
                self.books.dropped += dropped;
            }
        }
        self.expiries.len() < due
    }
}

impl ReplicaModel for BlockLeaseReplica {
    type Message = BlockLeaseMessage;
    type Answer = BlockLeaseAnswer;

    fn acquire(
        &mut self,
        demands: &[Demand],
        ticket: Ticket,
        deadline: Instant,
        now: Instant,
        out: &mut Outbox<BlockLeaseMessage>,
    ) -> Decision {
        out.stirred |= self.expire(now);
        self.stocks.sweep_if_grown(|_, stock| stock.matters(now));
        match self.spend(demands) {
            Ok(()) => {
                self.refill(demands, now, out);
                Decision::Allow
            }
            Err(missing) => {
                let waiter = Waiter {
                    ticket,
                    deadline,
                    demands: demands.into(),
                };
                self.meet_empty(missing, waiter, now, out)
            }
        }
    }

    fn handle_answer(
        &mut self,
        message: &BlockLeaseMessage,
        answer: &BlockLeaseAnswer,
        now: Instant,
        out: &mut Outbox<BlockLeaseMessage>,
    ) {
        self.expire(now);
        let slot = message.slot;
        self.stock(slot).asked = false;
        if answer.granted > 0 {
            self.put(slot, answer.granted, now);
            self.serve(slot, now, out);
            return;
        }
        let (config, limit) = (self.config(), limit_of(&message.limits, slot));
        let pause = config
            .retry
            .pause(limit, config.block.0, self.model.replicas);
        self.stock(slot).ask_from = now + pause;
        let outcome = Outcome::Denied {
            retry_after_ns: answer.retry_after_ns,
        };
        self.dismiss(slot, outcome, out);
    }

    fn handle_failure(
        &mut self,
        message: &BlockLeaseMessage,
        now: Instant,
        out: &mut Outbox<BlockLeaseMessage>,
    ) {
        self.expire(now);
        self.stock(message.slot).asked = false;
        let outcome = self.config().on_failure.outcome();
        self.dismiss(message.slot, outcome, out);
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut Outbox<BlockLeaseMessage>) {
        self.expire(now);
    }

    /// When the next stock expires, so that what is held is told as it is.
    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        self.expiries.front().map(|(expires, _)| *expires)
    }

    /// Gives nothing back: there is no account of it at the store.
    fn shut_down(&mut self, _: Instant, _: &mut Outbox<BlockLeaseMessage>) {}

    fn is_drained(&self) -> bool {
        true
    }

    fn set_limits(&mut self, limits: &[Limit], _: Instant) {
        self.limits = limits.into();
    }

    fn held(&self) -> u64 {
        self.books.held
    }

    /// Panics if a token was spent or dropped that was not granted, or lost.
    fn check(&self) {
        let Books {
            granted,
            spent,
            dropped,
            held,
        } = self.books;
        assert_eq!(granted, spent + dropped + held);
    }
}

#[cfg(test)]
mod tests;
