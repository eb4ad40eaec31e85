//! The limiter that asks the store about every request: exact, and a round trip each.
//!
//! So work redis-cell, `redis_rate`, upstash's ratelimit, Envoy's ratelimit service, Bucket4j on
//! Redis and most scripts in articles. The counting runs as one script at the store, which checks
//! all demands of a request and then spends them.
//!
//! # What is simplified
//!
//! Scripts are always loaded, and keys of one request always live on one server. There is no
//! breaker: while the store is away every request waits for its call to fail. A request that no
//! longer waits when its answer comes has spent its tokens all the same, as in the real ones.
//!
//! # Invariant
//!
//! Each request that waits is named in exactly one message or stands in the queue, and gets one
//! verdict, unless its time ran out while it stood there.

use std::sync::Arc;

use leasehold_core::{Instant, Limit, StoreTime};
use serde::Deserialize;

use super::OnFailure;
use super::few::Few;
use super::meter::{Algorithm, Meters, Refused};
use super::resp;
use super::table::{Slot, Table};
use crate::model::{
    Decision, Demand, LimiterModel, Outbox, Outcome, ReplicaModel, StoreModel, Ticket, Verdict,
    Weight,
};

/// How a central limiter is set up.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CentralConfig {
    /// How the store counts.
    pub algorithm: Algorithm,
    /// Whether requests that come while a message is under way share the next one, as clients
    /// with automatic pipelining do. Fewer messages, as many calls.
    pub batch: bool,
    /// Whether a replica remembers until when a key is denied, as upstash's and Envoy's caches do.
    /// Like theirs it knows keys, not costs: it also denies a cheaper request that would pass.
    pub deny_cache: bool,
    /// The answer to a request that the store did not answer.
    pub on_failure: OnFailure,
}

/// A limiter that asks the store about every request.
#[derive(Clone, Debug)]
pub struct Central {
    config: CentralConfig,
}

impl Central {
    /// A limiter set up like this.
    pub const fn new(config: CentralConfig) -> Self {
        Self { config }
    }
}

impl LimiterModel for Central {
    type Message = CentralMessage;
    type Answer = CentralAnswer;
    type Replica = CentralReplica;
    type Store = CentralStore;

    fn replica(&self, _: u64, _: u64, limits: &[Limit]) -> CentralReplica {
        CentralReplica {
            config: self.config.clone(),
            limits: limits.into(),
            denied: Table::new(),
            queue: Vec::new(),
            in_flight: 0,
        }
    }

    fn store(&self, _: &[Limit]) -> CentralStore {
        CentralStore {
            meters: Meters::new(self.config.algorithm),
        }
    }
}

/// Requests to be decided. Carries the limits, as the arguments of the script do: the store goes
/// by what the asking replica knows.
#[derive(Clone, Debug)]
pub struct CentralMessage {
    asks: Few<Ask>,
    limits: Arc<[Limit]>,
}

/// The result of each request of a message, in its order.
#[derive(Clone, Debug)]
pub struct CentralAnswer(Few<Result<(), Refused>>);

#[derive(Clone, Debug)]
struct Ask {
    ticket: Ticket,
    deadline: Instant,
    demands: Few<Demand>,
}

/// A replica that asks.
#[derive(Debug)]
pub struct CentralReplica {
    config: CentralConfig,
    limits: Arc<[Limit]>,
    /// Until when a key is denied; used with `deny-cache` only.
    denied: Table<Instant>,
    /// Requests that wait for the message under way to come back; used with `batch` only.
    queue: Vec<Ask>,
    in_flight: u32,
}

impl CentralReplica {
    fn send(&mut self, asks: Few<Ask>, out: &mut Outbox<CentralMessage>) {
        self.in_flight += 1;
        let limits = Arc::clone(&self.limits);
        out.messages.push(CentralMessage { asks, limits });
    }

    /// A message has come back: whoever still waits may go.
    fn handle_end(&mut self, now: Instant, out: &mut Outbox<CentralMessage>) {
        self.in_flight -= 1;
        self.queue.retain(|ask| ask.deadline > now);
        if self.queue.is_empty() || self.in_flight > 0 {
            return;
        }
        let first = self.queue.len().min(BATCH_MAX);
        let rest = self.queue.split_off(first);
        let asks = std::mem::replace(&mut self.queue, rest);
        self.send(Few::Many(asks), out);
    }

    /// How much longer one of `demands` is known to be denied.
    fn denied_for_ns(&self, demands: &[Demand], now: Instant) -> Option<u64> {
        let until = |demand: &Demand| self.denied.find(demand.into()).copied();
        let latest = demands.iter().filter_map(until).max()?;
        let left = latest.as_nanos().saturating_sub(now.as_nanos());
        (left > 0).then_some(left)
    }

    fn remember(&mut self, slot: Slot, retry_after_ns: Option<u64>, now: Instant) {
        let Some(retry_after_ns) = retry_after_ns else {
            return; // The cost was too much, not the key at fault.
        };
        let until = Instant::from_nanos(now.as_nanos().saturating_add(retry_after_ns));
        self.denied.sweep_if_grown(|_, until| *until > now);
        self.denied.insert(slot, until);
    }
}

impl ReplicaModel for CentralReplica {
    type Message = CentralMessage;
    type Answer = CentralAnswer;

    fn acquire(
        &mut self,
        demands: &[Demand],
        ticket: Ticket,
        deadline: Instant,
        now: Instant,
        out: &mut Outbox<CentralMessage>,
    ) -> Decision {
        if self.config.deny_cache
            && let Some(retry_after_ns) = self.denied_for_ns(demands, now)
        {
            return Decision::Deny {
                retry_after_ns: Some(retry_after_ns),
            };
        }
        let ask = Ask {
            ticket,
            deadline,
            demands: demands.into(),
        };
        if self.config.batch && self.in_flight > 0 {
            self.queue.push(ask);
        } else {
            self.send(Few::One(ask), out);
        }
        Decision::Wait
    }

    fn handle_answer(
        &mut self,
        message: &CentralMessage,
        answer: &CentralAnswer,
        now: Instant,
        out: &mut Outbox<CentralMessage>,
    ) {
        let (asks, results) = (message.asks.as_slice(), answer.0.as_slice());
        assert_eq!(asks.len(), results.len(), "the store answers each request");
        for (ask, result) in asks.iter().zip(results) {
            let outcome = match result {
                Ok(()) => Outcome::AllowedByStore,
                Err(refused) => {
                    let retry_after_ns = refused.refusal.retry_after_ns();
                    if self.config.deny_cache {
                        self.remember(refused.slot, retry_after_ns, now);
                    }
                    Outcome::Denied { retry_after_ns }
                }
            };
            let ticket = ask.ticket;
            out.verdicts.push(Verdict { ticket, outcome });
        }
        self.handle_end(now, out);
    }

    fn handle_failure(
        &mut self,
        message: &CentralMessage,
        now: Instant,
        out: &mut Outbox<CentralMessage>,
    ) {
        let outcome = self.config.on_failure.outcome();
        for ask in message.asks.as_slice() {
            let ticket = ask.ticket;
            out.verdicts.push(Verdict { ticket, outcome });
        }
        self.handle_end(now, out);
    }

    fn handle_timeout(&mut self, _: Instant, _: &mut Outbox<CentralMessage>) {}

    fn poll_timeout(&mut self, _: Instant) -> Option<Instant> {
        None
    }

    /// Nothing is held; what is under way comes back on its own.
    fn shut_down(&mut self, _: Instant, _: &mut Outbox<CentralMessage>) {}

    fn is_drained(&self) -> bool {
        self.in_flight == 0
    }

    fn set_limits(&mut self, limits: &[Limit], _: Instant) {
        self.limits = limits.into();
        // What was denied under other limits may pass now.
        self.denied.clear();
    }

    /// Panics if a request stands in the queue that no message will take along.
    fn check(&self) {
        assert!(self.queue.is_empty() || self.in_flight > 0);
    }
}

/// The counts of all keys.
#[derive(Clone, Debug)]
pub struct CentralStore {
    meters: Meters,
}

impl StoreModel for CentralStore {
    type Message = CentralMessage;
    type Answer = CentralAnswer;

    fn execute(
        &mut self,
        message: &CentralMessage,
        now: StoreTime,
        spent: &mut dyn FnMut(Demand),
    ) -> CentralAnswer {
        CentralAnswer(message.asks.map(|ask| {
            let demands = ask.demands.as_slice();
            let now_us = now.as_micros();
            self.meters.spend(demands, &message.limits, now_us)?;
            demands.iter().copied().for_each(&mut *spent);
            Ok(())
        }))
    }

    fn forget(&mut self) {
        self.meters.clear();
    }

    /// One script call per request: of each demand the key, and tokens, period, burst and cost;
    /// back come whether it is allowed, what is left, and the time to wait.
    fn weigh(message: &CentralMessage) -> Weight {
        let weight = |ask: &Ask| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a request has a few demands"
            )]
            let calls = ask.demands.as_slice().len() as u32;
            Weight {
                calls,
                bytes_in: resp::script_call(calls, 4 * calls),
                bytes_out: resp::integers(3),
            }
        };
        let asks = message.asks.as_slice().iter().map(weight);
        asks.fold(Weight::default(), |sum, ask| Weight {
            calls: sum.calls + ask.calls,
            bytes_in: sum.bytes_in + ask.bytes_in,
            bytes_out: sum.bytes_out + ask.bytes_out,
        })
    }

    fn keys(&self) -> usize {
        self.meters.len()
    }
}

/// No message carries more requests: pipelines are cut, or answers would wait for one another.
const BATCH_MAX: usize = 1000;

#[cfg(test)]
mod tests;
