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
    /// Counts the requests of the key in the order in which they came.
    number: u64,
    pub(crate) waiter: W,
    pub(crate) cost: u32,
    pub(crate) purpose: Purpose,
}

/// The requests that wait for one key, and the stock that was wished for without waiting.
#[derive(Debug)]
pub(crate) struct WaitQueue<W> {
    queue: VecDeque<Waiting<W>>,
    /// The requests that central spends are under way for.
    asking: Vec<Waiting<W>>,
    /// How many requests have come.
    came: u64,
    /// The number of those, from the first, that a lease call under way asks for.
    covered: u64,
    /// Tokens to have in stock for requests that did not wait.
    wished: u64,
}

impl<W: Waiter> WaitQueue<W> {
    pub(crate) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            asking: Vec::new(),
            came: 0,
            covered: 0,
            wished: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn push(&mut self, waiter: W, cost: u32, purpose: Purpose) {
        self.came += 1;
        self.queue.push_back(Waiting {
            number: self.came,
            waiter,
            cost,
            purpose,
        });
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

    /// The central spend for a request did not decide it: it waits again, in the order in which it
    /// came.
    pub(crate) fn put_back(&mut self, number: u64) {
        if let Some(waiting) = self.take_asking(number) {
            let place = self.queue.partition_point(|other| other.number < number);
            self.queue.insert(place, waiting);
        }
    }

    /// Takes out the request that a central spend was for.
    pub(crate) fn take_asking(&mut self, number: u64) -> Option<Waiting<W>> {
        let mut asking = self.asking.iter();
        let place = asking.position(|waiting| waiting.number == number)?;
        Some(self.asking.remove(place))
    }

    /// How many central spends are under way.
    pub(crate) fn asking(&self) -> usize {
        self.asking.len()
    }

    /// Takes out all requests in order, except for those that central spends are under way for.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiting<W>> {
        self.queue.drain(..)
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

    /// A lease call asks for what all that wait need.
    pub(crate) fn cover(&mut self) {
        self.covered = self.came;
    }

    /// The lease call is over.
    pub(crate) fn uncover(&mut self) {
        self.covered = 0;
    }

    /// The cost of the next central spend, if there is one to make: for the first request that no
    /// lease call asks for, if it may be central or is too costly for a lease.
    pub(crate) fn central_cost(&self, may_be_central: bool, cost_leased_max: u32) -> Option<u32> {
        let first = self.queue.get(self.central_place()?)?;
        (may_be_central || first.cost > cost_leased_max).then_some(first.cost)
    }

    /// A central spend is made for that request. Returns its number and its cost.
    pub(crate) fn begin_central(&mut self) -> Option<(u64, u32)> {
        let first = self.queue.remove(self.central_place()?)?;
        let began = (first.number, first.cost);
        self.asking.push(first);
        Some(began)
    }

    fn central_place(&self) -> Option<usize> {
        let covered = self.queue.partition_point(|it| it.number <= self.covered);
        let first = self.queue.get(covered)?;
        (first.purpose == Purpose::Spend).then_some(covered)
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
            queue.push(Caller(false), cost, Purpose::Spend);
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
    fn only_a_very_costly_request_is_decided_by_the_store_itself_where_others_are_not() {
        assert_eq!(queue(&[1, 1]).central_cost(true, 100), Some(1));
        assert_eq!(queue(&[1]).central_cost(false, 100), None);
        assert_eq!(queue(&[101, 1]).central_cost(false, 100), Some(101));
        assert_eq!(queue(&[]).central_cost(true, 100), None);
        let mut queue = queue(&[]);
        queue.push(Caller(false), 101, Purpose::Stock);
        assert_eq!(
            queue.central_cost(true, 100),
            None,
            "it wants tokens in stock"
        );
    }

    #[test]
    fn who_is_in_a_lease_call_is_not_asked_for_twice() {
        let mut queue = queue(&[1, 2]);
        queue.cover();
        assert_eq!(queue.central_cost(true, 100), None);
        queue.push(Caller(false), 3, Purpose::Spend);
        assert_eq!(queue.central_cost(true, 100), Some(3));
        assert_eq!(queue.begin_central(), Some((3, 3)));
        queue.uncover();
        assert_eq!(queue.central_cost(true, 100), Some(1));
    }

    #[test]
    fn requests_that_were_asked_for_in_vain_wait_again_in_their_order() {
        let mut queue = queue(&[1, 2, 3, 4]);
        let numbers: Vec<u64> = (0..3).map(|_| queue.begin_central().unwrap().0).collect();
        assert_eq!(queue.asking(), 3);
        assert_eq!(queue.take_asking(numbers[1]).unwrap().cost, 2);
        assert!(queue.take_asking(numbers[1]).is_none(), "answered twice");
        queue.put_back(numbers[2]);
        queue.put_back(numbers[0]);
        assert_eq!(queue.asking(), 0);
        let left: Vec<u32> = queue.drain().map(|waiting| waiting.cost).collect();
        assert_eq!(left, [1, 3, 4]);
    }

    #[test]
    fn whoever_stopped_waiting_needs_nothing() {
        let mut queue = queue(&[1]);
        queue.push(Caller(true), 5, Purpose::Spend);
        queue.drop_gone();
        assert_eq!(queue.needed(), 1);
    }
}
