//! The queue of keys that want a call, when more of them want one than can go at once.
//!
//! A renewal of a hot key serves many requests. A question about a cold key serves one, and anybody
//! can make up cold keys. So hot keys have a queue of their own, and the two queues take turns.
//!
//! # Invariant
//!
//! Hot keys go first come, first served, and so do cold keys. While both queues have keys, every
//! other call is for a cold key. So neither kind starves, and the wait of a hot key does not depend
//! on the number of cold ones.
//!
//! A queue that serves the newest first brings nothing: the queue is short while eight full batches
//! are in flight, and the call of a request whose budget ends has mostly been sent by then.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct CallQueue {
    hot: VecDeque<u32>,
    cold: VecDeque<u32>,
    /// The last to go was a hot key.
    was_hot: bool,
}

impl CallQueue {
    /// The key in `slot` comes last of its kind.
    pub(crate) fn push(&mut self, slot: u32, is_hot: bool) {
        if is_hot {
            self.hot.push_back(slot);
        } else {
            self.cold.push_back(slot);
        }
    }

    /// Takes out the slot of the key that goes next.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let is_hot = !self.hot.is_empty() && (!self.was_hot || self.cold.is_empty());
        self.was_hot = is_hot;
        if is_hot {
            self.hot.pop_front()
        } else {
            self.cold.pop_front()
        }
    }

    /// The slots of all queued keys, in no order that matters.
    pub(crate) fn into_slots(self) -> impl Iterator<Item = u32> {
        self.hot.into_iter().chain(self.cold)
    }

    pub(crate) fn len(&self) -> usize {
        self.hot.len() + self.cold.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cold keys are numbered from 100.
    fn queue(hot: u32, cold: u32) -> CallQueue {
        let mut queue = CallQueue::default();
        for slot in 100..100 + cold {
            queue.push(slot, false);
        }
        for slot in 0..hot {
            queue.push(slot, true);
        }
        queue
    }

    fn all(mut queue: CallQueue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_hot_key_goes_before_cold_ones_that_came_earlier() {
        assert_eq!(all(queue(1, 3)), [0, 100, 101, 102]);
        let mut queue = queue(0, 3);
        assert_eq!(queue.pop(), Some(100));
        queue.push(7, true);
        assert_eq!(all(queue), [7, 101, 102]);
    }

    #[test]
    fn hot_and_cold_keys_take_turns_and_neither_starves() {
        assert_eq!(all(queue(4, 2)), [0, 100, 1, 101, 2, 3]);
        assert_eq!(all(queue(0, 2)), [100, 101]);
        let mut queue = queue(3, 10);
        let mut cold = 0;
        for round in 0..10 {
            cold += u32::from(queue.pop().unwrap() >= 100);
            queue.push(round, true);
        }
        assert_eq!(cold, 5, "hot keys keep coming");
    }
}
