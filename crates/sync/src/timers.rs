//! One alarm per key, and the earliest of all.
//!
//! # Invariant
//!
//! Setting a key's alarm replaces its former one: an alarm that was replaced never rings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use leasehold_core::Instant;

/// Alarms by slot. Replaced ones stay in the heap until their time comes; a key replaces its
/// alarm once per call, so there are never many.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    stamps: Vec<u64>,
    next_stamp: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, slot: u32, at: Instant) {
        self.next_stamp += 1;
        let index = slot as usize;
        if self.stamps.len() <= index {
            self.stamps.resize(index + 1, 0);
        }
        self.stamps[index] = self.next_stamp;
        self.heap.push(Reverse((at, slot, self.next_stamp)));
    }

    /// Sets an alarm for a key that has none.
    pub(crate) fn set_if_none(&mut self, slot: u32, at: Instant) {
        if self
            .stamps
            .get(slot as usize)
            .is_none_or(|stamp| *stamp == 0)
        {
            self.set(slot, at);
        }
    }

    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(stamp) = self.stamps.get_mut(slot as usize) {
            *stamp = 0;
        }
    }

    /// When the next alarm rings.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        self.drop_replaced();
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// A key whose alarm has rung by `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        self.drop_replaced();
        let Reverse((at, slot, _)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.stamps[slot as usize] = 0;
        Some(slot)
    }

    fn drop_replaced(&mut self) {
        while let Some(Reverse((_, slot, stamp))) = self.heap.peek() {
            if self.stamps[*slot as usize] == *stamp {
                break;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_rings_first_and_a_replaced_alarm_never_rings() {
        let at = Instant::from_millis;
        let mut timers = Timers::default();
        timers.set(3, at(30));
        timers.set(1, at(10));
        timers.set(2, at(20));
        timers.set(1, at(40));
        timers.set(3, at(5));
        timers.clear(2);
        assert_eq!(timers.poll_timeout(), Some(at(5)));
        assert_eq!(timers.pop(at(4)), None);
        assert_eq!(timers.pop(at(39)), Some(3));
        assert_eq!(
            timers.pop(at(39)),
            None,
            "2 was cleared, 1 and 3 replaced theirs"
        );
        assert_eq!(timers.pop(at(40)), Some(1));
        assert_eq!(timers.poll_timeout(), None);
    }
}
