//! One alarm per key, and the earliest of all.
//!
//! # Invariant
//!
//! Setting a key's alarm replaces its former one, and an alarm that was replaced never rings. A key
//! with an alarm has an entry in the heap that is no later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use leasehold_core::Instant;

/// Alarms by slot. A key that puts its alarm off, as it does with each call, leaves its entry where
/// it is; the entry moves on when its time comes.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
    alarms: Vec<Alarm>,
}

#[derive(Clone, Copy, Debug)]
struct Alarm {
    /// [`NEVER`] if there is none.
    at: Instant,
    /// The earliest entry in the heap; [`NEVER`] if there is none.
    queued: Instant,
}

impl Timers {
    pub(crate) fn set(&mut self, slot: u32, at: Instant) {
        let index = slot as usize;
        if self.alarms.len() <= index {
            self.alarms.resize(index + 1, Alarm::NONE);
        }
        let alarm = &mut self.alarms[index];
        alarm.at = at;
        if at < alarm.queued {
            alarm.queued = at;
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// Whether an alarm is set for `slot`.
    pub(crate) fn is_set(&self, slot: u32) -> bool {
        let alarm = self.alarms.get(slot as usize);
        alarm.is_some_and(|alarm| alarm.at != NEVER)
    }

    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(alarm) = self.alarms.get_mut(slot as usize) {
            alarm.at = NEVER;
        }
    }

    /// When the next alarm rings.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        self.move_on();
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A key whose alarm has rung by `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        self.move_on();
        let Reverse((at, slot)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.alarms[slot as usize] = Alarm::NONE;
        Some(slot)
    }

    /// Until the first entry is that of an alarm.
    fn move_on(&mut self) {
        while let Some(mut first) = self.heap.peek_mut() {
            let Reverse((at, slot)) = *first;
            let alarm = &mut self.alarms[slot as usize];
            if at == alarm.at {
                break;
            }
            // An alarm that was brought forward leaves a second entry behind, which is nobody's.
            let is_its_own = at == alarm.queued;
            if is_its_own {
                alarm.queued = alarm.at;
            }
            if is_its_own && alarm.at != NEVER {
                *first = Reverse((alarm.at, slot));
            } else {
                PeekMut::pop(first);
            }
        }
    }
}

impl Alarm {
    const NONE: Self = Self {
        at: NEVER,
        queued: NEVER,
    };
}

/// No alarm rings then: it is later than any reading.
const NEVER: Instant = Instant::FAR_FUTURE;

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

    #[test]
    fn an_alarm_that_is_put_off_again_and_again_takes_no_more_room() {
        let at = Instant::from_millis;
        let mut timers = Timers::default();
        for time in 10..1000 {
            timers.clear(7);
            timers.set(7, at(time));
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(timers.pop(at(998)), None);
        assert_eq!(timers.pop(at(999)), Some(7));
        timers.set(7, at(1000));
        timers.set(7, at(999));
        timers.set(7, at(1000));
        assert_eq!(timers.pop(at(1000)), Some(7));
        assert_eq!(timers.pop(at(1000)), None, "it rings once");
    }

    /// Against a plain table of the alarms that are set.
    #[test]
    fn the_alarms_of_a_time_ring_in_order_of_their_slots_and_each_once() {
        let mut timers = Timers::default();
        let mut table = [None; 8];
        let mut state = 1_u64;
        let mut draw = |end: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % end
        };
        let mut now = 0;
        for _ in 0..100_000 {
            let slot = draw(8);
            let index = usize::try_from(slot).unwrap();
            let slot = u32::try_from(slot).unwrap();
            let time = Instant::from_nanos(now + draw(30));
            match draw(5) {
                0 => {
                    timers.clear(slot);
                    table[index] = None;
                }
                1 => {
                    if !timers.is_set(slot) {
                        timers.set(slot, time);
                    }
                    table[index].get_or_insert(time);
                }
                2 | 3 => {
                    timers.set(slot, time);
                    table[index] = Some(time);
                }
                _ => now += draw(10),
            }
            let reading = Instant::from_nanos(now);
            let first = table.iter().flatten().min().copied();
            assert_eq!(timers.poll_timeout(), first);
            let due = first.filter(|first| *first <= reading);
            let due = due.map(|_| table.iter().position(|at| *at == first).unwrap());
            let rung = timers.pop(reading);
            assert_eq!(rung.map(|slot| slot as usize), due);
            if let Some(index) = due {
                table[index] = None;
            }
        }
    }
}
