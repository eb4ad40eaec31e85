//! Events to come, in order of time; those of one time in the order in which they were planned.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The events to come.
///
/// The heap orders small entries; the events themselves lie still beside it.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    planned: u64,
    events: Vec<Option<E>>,
    vacant: Vec<u32>,
}

impl<E> Agenda<E> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
            events: Vec::new(),
            vacant: Vec::new(),
        }
    }

    pub(crate) fn plan(&mut self, at_ns: u64, event: E) {
        let slot = if let Some(slot) = self.vacant.pop() {
            self.events[slot as usize] = Some(event);
            slot
        } else {
            self.events.push(Some(event));
            u32::try_from(self.events.len() - 1).expect("fewer than 2^32 events at a time")
        };
        self.heap.push(Reverse((at_ns, self.planned, slot)));
        self.planned += 1;
    }

    /// When the next event happens.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at_ns, _, slot)) = self.heap.pop()?;
        self.vacant.push(slot);
        let event = self.events[slot as usize].take();
        Some((at_ns, event.expect("an entry has its event")))
    }

    /// Events that have happened or will.
    pub(crate) const fn planned(&self) -> u64 {
        self.planned
    }
}

/// Deadlines that are all equally far away when they are set: the first set is the first due, and
/// no heap is needed.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    queue: VecDeque<(u64, T)>,
    after_ns: u64,
}

impl<T> Deadlines<T> {
    /// Each is due `after_ns` after it was set.
    pub(crate) const fn new(after_ns: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            after_ns,
        }
    }

    /// Times never fall from call to call.
    #[inline]
    pub(crate) fn set(&mut self, now_ns: u64, item: T) {
        self.queue.push_back((now_ns + self.after_ns, item));
    }

    /// When the next is due.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.queue.front().map(|(at_ns, _)| *at_ns)
    }

    /// The next.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.queue.pop_front().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_in_order_of_time_and_then_of_planning() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            agenda.plan(at, event);
        }
        assert_eq!(agenda.next_at(), Some(3));
        let mut order = String::new();
        while let Some((at, event)) = agenda.pop() {
            order.push(event);
            if at == 3 {
                agenda.plan(4, '-');
            }
        }
        assert_eq!(order, "ab--cd");
        assert_eq!(agenda.planned(), 6);
        assert!(agenda.events.len() <= 5, "places are used again");
    }

    #[test]
    fn deadlines_are_due_in_the_order_in_which_they_were_set() {
        let mut deadlines = Deadlines::new(100);
        deadlines.set(1, 'a');
        deadlines.set(1, 'b');
        deadlines.set(7, 'c');
        assert_eq!(deadlines.next_at(), Some(101));
        assert_eq!((deadlines.pop(), deadlines.pop()), (Some('a'), Some('b')));
        assert_eq!(deadlines.next_at(), Some(107));
    }
}
