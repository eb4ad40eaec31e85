//! Requests that wait for a store's answer about one key, first come, first served.

use std::collections::VecDeque;

/// A caller that waits for a verdict, and may have stopped waiting.
pub trait Waiter {
    /// Whether the caller has stopped waiting: no token is spent on it then.
    fn is_gone(&self) -> bool;
}

/// The purpose for which a request waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Its cost shall be spent.
    Spend,
    /// Its cost shall be in stock here: the request needs tokens of other keys too, and will
    /// take them all at once.
    Stock,
}

#[derive(Debug)]
pub(crate) struct Waiting<W> {
    pub(crate) waiter: W,
    pub(crate) cost: u32,
    pub(crate) purpose: Purpose,
}

/// The requests that wait for one key, and the stock that was wished for without waiting.
#[derive(Debug)]
pub(crate) struct WaitQueue<W> {
    queue: VecDeque<Waiting<W>>,
    /// The request that the central call under way is for.
    central: Option<Waiting<W>>,
    /// Tokens to have in stock for requests that did not wait.
    wished: u64,
}

impl<W: Waiter> WaitQueue<W> {
    pub(crate) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            central: None,
            wished: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, waiting: Waiting<W>) {
        self.queue.push_back(waiting);
    }

    /// Wishes for `tokens` to be in stock, for a request that did not wait.
    pub(crate) fn wish(&mut self, tokens: u64) {
        self.wished = self.wished.max(tokens);
    }

    /// The tokens that were wished for have been asked for, or cannot be had now.
    pub(crate) fn clear_wish(&mut self) {
        self.wished = 0;
    }

    pub(crate) fn has_wish(&self) -> bool {
        self.wished > 0
    }

    /// Whether a request waits, or tokens are wished for in stock.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.is_empty() || self.has_wish()
    }

    /// The call for one request did not decide it: it waits for another, before all others.
    pub(crate) fn put_back(&mut self) {
        if let Some(waiting) = self.central.take() {
            self.queue.push_front(waiting);
        }
    }

    /// The request that the central call was for.
    pub(crate) fn take_central(&mut self) -> Option<Waiting<W>> {
        self.central.take()
    }

    /// Takes out all requests in order, except for one that a call is under way for.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiting<W>> {
        self.queue.drain(..)
    }

    /// Takes out all requests in order, that of the central call first.
    pub(crate) fn drain_all(&mut self) -> impl Iterator<Item = Waiting<W>> {
        self.central.take().into_iter().chain(self.queue.drain(..))
    }

    /// Forgets the requests whose callers have stopped waiting.
    pub(crate) fn drop_gone(&mut self) {
        self.queue.retain(|waiting| !waiting.waiter.is_gone());
    }

    /// Tokens needed by all together, and in stock.
    pub(crate) fn needed(&self) -> u64 {
        let costs = self.queue.iter().map(|waiting| u64::from(waiting.cost));
        costs.sum::<u64>() + self.wished
    }

    /// Takes out the first request for a central spend, if one can answer it: the request is alone,
    /// or too costly for a lease. Returns its cost.
    pub(crate) fn begin_central(
        &mut self,
        may_be_central: bool,
        cost_leased_max: u32,
    ) -> Option<u32> {
        let first = self.queue.front()?;
        let spend = first.purpose == Purpose::Spend;
        let lone = may_be_central && self.queue.len() == 1 && !self.has_wish();
        if !(spend && (lone || first.cost > cost_leased_max)) {
            return None;
        }
        self.central = self.queue.pop_front();
        self.central.as_ref().map(|waiting| waiting.cost)
    }

    /// Takes out, in order, all requests for which `serve` returns true.
    pub(crate) fn take_served(
        &mut self,
        mut serve: impl FnMut(&Waiting<W>) -> bool,
    ) -> Vec<Waiting<W>> {
        let mut served = Vec::new();
        for _ in 0..self.queue.len() {
            let waiting = self.queue.pop_front().expect("counted");
            if serve(&waiting) {
                served.push(waiting);
            } else {
                self.queue.push_back(waiting);
            }
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Caller(bool);

    impl Waiter for Caller {
        fn is_gone(&self) -> bool {
            self.0
        }
    }

    fn queue(costs: &[u32]) -> WaitQueue<Caller> {
        let mut queue = WaitQueue::new();
        for &cost in costs {
            queue.push(Waiting {
                waiter: Caller(false),
                cost,
                purpose: Purpose::Spend,
            });
        }
        queue
    }

    #[test]
    fn those_who_can_be_served_are_served_in_order_and_the_rest_keep_theirs() {
        let mut queue = queue(&[3, 9, 2, 8]);
        let mut pot = 6;
        let served = queue.take_served(|waiting| {
            let fits = waiting.cost <= pot;
            pot -= if fits { waiting.cost } else { 0 };
            fits
        });
        assert_eq!(
            served
                .iter()
                .map(|waiting| waiting.cost)
                .collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!(queue.needed(), 17);
        let left: Vec<u32> = queue.drain().map(|waiting| waiting.cost).collect();
        assert_eq!(left, [9, 8]);
    }

    #[test]
    fn only_a_lone_or_a_very_costly_request_is_decided_by_the_store_itself() {
        assert!(queue(&[1]).begin_central(true, 100).is_some());
        assert!(queue(&[1]).begin_central(false, 100).is_none());
        assert!(queue(&[1, 1]).begin_central(true, 100).is_none());
        assert!(queue(&[101, 1]).begin_central(false, 100).is_some());
        assert!(queue(&[]).begin_central(true, 100).is_none());
    }

    #[test]
    fn whoever_stopped_waiting_needs_nothing() {
        let mut queue = queue(&[1]);
        queue.push(Waiting {
            waiter: Caller(true),
            cost: 5,
            purpose: Purpose::Spend,
        });
        queue.drop_gone();
        assert_eq!(queue.needed(), 1);
    }
}
