//! Requests under several limits that wait for tokens.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use leasehold_cache::KeyRef;
use leasehold_core::{Instant, Verdict};
use leasehold_sync::{Heard, Joint, RequestPath, Step};

use crate::leased::replica::{NEVER_CLOSED, key_of};
use crate::model::{Demand, Ticket};

/// A request under several limits.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) ticket: Ticket,
    /// The costs; no key twice.
    pub(crate) demands: Vec<Demand>,
    pub(crate) deadline: Instant,
    joint: Joint,
}

/// Joint requests that wait for tokens.
#[derive(Debug, Default)]
pub(crate) struct Joints(BTreeMap<Ticket, Waiting>);

#[derive(Debug)]
struct Waiting {
    joined: Joined,
    waits: Rc<Cell<bool>>,
}

impl Joined {
    pub(crate) fn new(ticket: Ticket, demands: &[Demand], deadline: Instant) -> Self {
        Self {
            ticket,
            demands: demands.to_vec(),
            deadline,
            joint: Joint::default(),
        }
    }

    pub(crate) fn step(&mut self, path: RequestPath<'_>, now: Instant) -> Step<Vec<usize>> {
        let subjects: Vec<[u8; 4]> = self.demands.iter().map(|it| it.key.to_be_bytes()).collect();
        let named = self.demands.iter().zip(&subjects);
        let requests: Vec<(KeyRef<'_>, u32)> = named
            .map(|(demand, subject)| (key_of(demand, subject), demand.cost))
            .collect();
        self.joint.step(path, &requests, NEVER_CLOSED, now)
    }
}

impl Joints {
    pub(crate) fn wait(&mut self, joined: Joined, waits: Rc<Cell<bool>>) {
        self.0.insert(joined.ticket, Waiting { joined, waits });
    }

    /// There is a verdict on one of the keys of a request. If the request waits no longer, it is to
    /// try again, or is denied.
    pub(crate) fn handle_verdict(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
    ) -> Option<Result<Joined, Verdict>> {
        let waiting = self.0.get_mut(&ticket)?;
        let heard = waiting.joined.joint.handle_verdict(verdict);
        if heard == Heard::Wait {
            return None;
        }
        let waiting = self.0.remove(&ticket)?;
        waiting.waits.set(false);
        Some(match heard {
            Heard::Denied(verdict) => Err(verdict),
            Heard::Wait | Heard::TryAgain => Ok(waiting.joined),
        })
    }
}
