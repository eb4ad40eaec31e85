//! The most tokens that were taken of a key within one second.
//!
//! Windows are a second long and begin on a whole millisecond. That keeps the log short where one
//! key is busy, for takes of the same millisecond are one entry, and it accuses nobody: each is a
//! true window of one second, of which those that begin between two milliseconds may hold a little
//! more. What no window of any length or beginning escapes is the overshoot.

use std::collections::VecDeque;
use std::ops::Range;

use super::key::Key;

/// What was taken of all keys in the last second, oldest first.
#[derive(Debug, Default)]
pub(super) struct SlidingSecond {
    taken: VecDeque<Taken>,
    /// The millisecond that `now` lies in.
    millisecond: u64,
}

/// Tokens taken of a key in one millisecond.
#[derive(Debug)]
struct Taken {
    at_ms: u64,
    slot: u32,
    tokens: u32,
}

impl SlidingSecond {
    /// Counts what is taken now of the key in `slot`; its `in_second` is exact afterwards.
    pub(super) fn take(&mut self, now_ns: u64, slot: u32, tokens: u32, keys: &mut [Key]) {
        let millisecond = now_ns / MILLISECOND_NS;
        if millisecond != self.millisecond {
            self.millisecond = millisecond;
            self.forget_older(keys);
        }
        keys[slot as usize].in_second += u64::from(tokens);
        if let Some(last) = self.taken.back_mut()
            && (last.at_ms, last.slot) == (millisecond, slot)
            && let Some(sum) = last.tokens.checked_add(tokens)
        {
            last.tokens = sum;
        } else {
            self.taken.push_back(Taken {
                at_ms: millisecond,
                slot,
                tokens,
            });
        }
    }

    fn forget_older(&mut self, keys: &mut [Key]) {
        while let Some(oldest) = self.taken.front()
            && oldest.at_ms + WINDOW_MS <= self.millisecond
        {
            keys[oldest.slot as usize].in_second -= u64::from(oldest.tokens);
            self.taken.pop_front();
        }
    }

    /// Forgets what was taken of these keys, whose `in_second` becomes 0.
    pub(super) fn forget(&mut self, slots: &Range<u32>) {
        self.taken.retain(|taken| !slots.contains(&taken.slot));
    }
}

const MILLISECOND_NS: u64 = 1_000_000;
const WINDOW_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_the_last_thousand_milliseconds(
            takes in prop::collection::vec((0_u64..400_000_000, 0_u32..3, 1_u32..5), 0..60),
        ) {
            let mut keys = vec![Key::new(); 3];
            let mut second = SlidingSecond::default();
            let mut past = Vec::new();
            let mut now_ns = 0;
            for (gap, slot, tokens) in takes {
                now_ns += gap;
                second.take(now_ns, slot, tokens, &mut keys);
                past.push((now_ns / MILLISECOND_NS, slot, tokens));
                let since_ms = (now_ns / MILLISECOND_NS).saturating_sub(999);
                let inside = past.iter().filter(|taken| taken.0 >= since_ms && taken.1 == slot);
                let tokens: u64 = inside.map(|taken| u64::from(taken.2)).sum();
                prop_assert_eq!(keys[slot as usize].in_second, tokens);
            }
        }
    }

    #[test]
    fn a_busy_key_has_one_entry_a_millisecond() {
        let mut keys = vec![Key::new()];
        let mut second = SlidingSecond::default();
        for at_us in 0..3_000_000 {
            second.take(at_us * 1000, 0, 1, &mut keys);
        }
        assert_eq!(keys[0].in_second, 1_000_000);
        assert_eq!(second.taken.len(), 1000);
    }
}
