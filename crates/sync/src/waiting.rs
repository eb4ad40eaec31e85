//! Requests that wait for a store's answer about one key, first come, first served.

use std::collections::VecDeque;

/// Somebody who waits for a verdict, and may have stopped waiting.
pub trait Waiter {
    /// Whether nobody would hear the verdict any more: no token is spent on it then.
    fn is_gone(&self) -> bool;
}

/// What a waiting request is for.
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

/// The queue of one key.
#[derive(Debug)]
pub(crate) struct WaitingLine<W>(VecDeque<Waiting<W>>);

impl<W: Waiter> WaitingLine<W> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, waiting: Waiting<W>) {
        self.0.push_back(waiting);
    }

    /// Puts back who was taken out first.
    pub(crate) fn push_first(&mut self, waiting: Waiting<W>) {
        self.0.push_front(waiting);
    }

    pub(crate) fn pop(&mut self) -> Option<Waiting<W>> {
        self.0.pop_front()
    }

    /// Forgets those who have stopped waiting.
    pub(crate) fn drop_gone(&mut self) {
        self.0.retain(|waiting| !waiting.waiter.is_gone());
    }

    /// Tokens needed by all together.
    pub(crate) fn needed(&self) -> u64 {
        self.0.iter().map(|waiting| u64::from(waiting.cost)).sum()
    }

    /// The first, if it can be answered by a central spend: it is alone, or too costly for a
    /// lease to hold.
    pub(crate) fn pop_central(&mut self, alone: bool, cost_leased_max: u32) -> Option<Waiting<W>> {
        let first = self.0.front()?;
        let spend = first.purpose == Purpose::Spend;
        let lone = alone && self.0.len() == 1;
        (spend && (lone || first.cost > cost_leased_max)).then(|| self.0.pop_front())?
    }

    /// Takes out, in order, all of whom `serve` says so.
    pub(crate) fn take_served(
        &mut self,
        mut serve: impl FnMut(&Waiting<W>) -> bool,
    ) -> Vec<Waiting<W>> {
        let mut served = Vec::new();
        for _ in 0..self.0.len() {
            let waiting = self.0.pop_front().expect("counted");
            if serve(&waiting) {
                served.push(waiting);
            } else {
                self.0.push_back(waiting);
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

    fn line(costs: &[u32]) -> WaitingLine<Caller> {
        let mut line = WaitingLine::new();
        for &cost in costs {
            line.push(Waiting {
                waiter: Caller(false),
                cost,
                purpose: Purpose::Spend,
            });
        }
        line
    }

    #[test]
    fn those_who_can_be_served_are_served_in_order_and_the_rest_keep_theirs() {
        let mut line = line(&[3, 9, 2, 8]);
        let mut pot = 6;
        let served = line.take_served(|waiting| {
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
        assert_eq!(line.needed(), 17);
        assert_eq!(line.pop().map(|waiting| waiting.cost), Some(9));
    }

    #[test]
    fn only_a_lone_or_a_very_costly_request_is_decided_by_the_store_itself() {
        assert!(line(&[1]).pop_central(true, 100).is_some());
        assert!(line(&[1]).pop_central(false, 100).is_none());
        assert!(line(&[1, 1]).pop_central(true, 100).is_none());
        assert!(line(&[101, 1]).pop_central(false, 100).is_some());
        assert!(line(&[]).pop_central(true, 100).is_none());
    }

    #[test]
    fn whoever_stopped_waiting_needs_nothing() {
        let mut line = line(&[1]);
        line.push(Waiting {
            waiter: Caller(true),
            cost: 5,
            purpose: Purpose::Spend,
        });
        line.drop_gone();
        assert_eq!(line.needed(), 1);
    }
}
