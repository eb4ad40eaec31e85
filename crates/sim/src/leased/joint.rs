//! Requests under several limits: all costs are taken together, or none is.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use leasehold_cache::{AllLocal, KeyRef, QuotaCache};
use leasehold_core::Instant;
use leasehold_sync::COST_LEASED_MAX;

use crate::leased::node::key_of;
use crate::scheme::{Demand, Ticket};

/// A request under several limits.
#[derive(Debug)]
pub(crate) struct Joint {
    pub(crate) ticket: Ticket,
    /// What it costs; no key twice.
    pub(crate) demands: Vec<Demand>,
    pub(crate) deadline: Instant,
}

/// Those that wait for tokens.
#[derive(Debug, Default)]
pub(crate) struct Joints(BTreeMap<Ticket, Waiting>);

#[derive(Debug)]
struct Waiting {
    joint: Joint,
    /// Keys of which nothing has been heard yet.
    lacking: usize,
    waits: Rc<Cell<bool>>,
}

impl Joint {
    /// Takes all, and says whether the sync task is to be woken. Otherwise nothing is taken: until
    /// when it is denied, or `None` if something lacks.
    pub(crate) fn take(&self, cache: &QuotaCache, now: Instant) -> Result<bool, Option<Instant>> {
        let subjects: Vec<[u8; 4]> = self.demands.iter().map(|it| it.key.to_be_bytes()).collect();
        let named = self.demands.iter().zip(&subjects);
        let requests: Vec<(KeyRef<'_>, u32)> = named
            .map(|(demand, subject)| (key_of(demand, subject), demand.cost))
            .collect();
        match cache.try_acquire_all(&requests, now) {
            AllLocal::Allow { wake, .. } => Ok(wake),
            AllLocal::Deny { until, .. } => Err(Some(until)),
            AllLocal::Short { .. } | AllLocal::Unknown { .. } => Err(None),
        }
    }

    /// Those demands of which the replica holds too little.
    pub(crate) fn lacking(&self, cache: &QuotaCache, now: Instant) -> Vec<Demand> {
        let lacks = |demand: &Demand| {
            let subject = demand.key.to_be_bytes();
            cache.lacks(key_of(demand, &subject), demand.cost, now)
        };
        self.demands.iter().copied().filter(lacks).collect()
    }

    /// Whether a cost is beyond what a replica can hold.
    pub(crate) fn is_beyond_leases(&self) -> bool {
        self.demands
            .iter()
            .any(|demand| demand.cost > COST_LEASED_MAX)
    }
}

impl Joints {
    pub(crate) fn wait(&mut self, joint: Joint, lacking: usize, waits: Rc<Cell<bool>>) {
        let waiting = Waiting {
            joint,
            lacking,
            waits,
        };
        self.0.insert(waiting.joint.ticket, waiting);
    }

    /// One of its keys has what it needs. Returns the request when all have.
    pub(crate) fn stocked(&mut self, ticket: Ticket) -> Option<Joint> {
        let waiting = self.0.get_mut(&ticket)?;
        waiting.lacking -= 1;
        if waiting.lacking > 0 {
            return None;
        }
        self.remove(ticket)
    }

    /// The request is denied, whatever else it waits for. False if it no longer waits.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket).is_some()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Joint> {
        let waiting = self.0.remove(&ticket)?;
        waiting.waits.set(false);
        Some(waiting.joint)
    }
}
