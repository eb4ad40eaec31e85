//! The timers of a real process, which ring late.
//!
//! # Invariant
//!
//! A timer never rings before it is due, and less than two ticks after. What is asked at the same
//! times rings at the same times.
//!
//! # What is modelled
//!
//! The runtime under a real limiter counts whole milliseconds from its own start. It lets a timer
//! ring at the first of them at which it is due; and it sleeps for whole milliseconds from the
//! moment at which it last had nothing to do, so that it notices that much late. If something else
//! wakes it in between, it notices then.

use leasehold_core::Instant;

/// Says when timers ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    tick_ns: u64,
    /// How far into a tick the replica's clock began.
    phase_ns: u64,
}

impl Timer {
    /// Timers that count in ticks, which fall as chance has it; exact ones if a tick takes no time.
    pub(crate) fn new(tick_ns: u64, chance: u64) -> Self {
        Self {
            tick_ns,
            phase_ns: chance.checked_rem(tick_ns).unwrap_or(0),
        }
    }

    /// When a timer rings of which the runtime hears now, if nothing wakes it earlier.
    pub(crate) fn rings_at(self, due: Instant, now: Instant) -> Instant {
        let tick = self.tick_after(due.max(now));
        let asleep_since = now.as_nanos().saturating_add(self.phase_ns);
        let late_ns = asleep_since.checked_rem(self.tick_ns).unwrap_or(0);
        Instant::from_nanos(tick.as_nanos().saturating_add(late_ns))
    }

    /// Whether a runtime that is awake now lets a timer ring.
    pub(crate) fn has_rung(self, due: Instant, now: Instant) -> bool {
        self.tick_after(due) <= now
    }

    /// The first tick at which it is that late.
    fn tick_after(self, due: Instant) -> Instant {
        let ns = due.as_nanos().saturating_add(self.phase_ns);
        let tick_ns = match self.tick_ns {
            0 => ns,
            tick_ns => ns.checked_next_multiple_of(tick_ns).unwrap_or(u64::MAX),
        };
        Instant::from_nanos(tick_ns - self.phase_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    #[test]
    fn a_timer_rings_at_a_tick_and_as_late_as_the_runtime_fell_asleep_after_one() {
        let timer = Timer::new(1000, 5000);
        assert_eq!(timer.rings_at(at(4100), at(2000)), at(5000));
        assert_eq!(timer.rings_at(at(4100), at(2300)), at(5300));
        assert_eq!(timer.rings_at(at(4000), at(2300)), at(4300));
        // The ticks of this one are 400 earlier.
        let timer = Timer::new(1000, 7400);
        assert_eq!(timer.rings_at(at(4100), at(2600)), at(4600));
        assert_eq!(timer.rings_at(at(4700), at(2600)), at(5600));
        assert_eq!(timer.rings_at(at(4700), at(2700)), at(5700));
    }

    #[test]
    fn what_is_overdue_waits_for_the_next_tick_like_the_rest() {
        let timer = Timer::new(1000, 0);
        assert_eq!(timer.rings_at(at(100), at(2300)), at(3300));
        assert_eq!(timer.rings_at(at(100), at(2000)), at(2000));
    }

    #[test]
    fn whoever_is_awake_at_the_tick_need_not_wait_for_the_bell() {
        let timer = Timer::new(1000, 0);
        assert!(!timer.has_rung(at(4100), at(4999)));
        assert!(timer.has_rung(at(4100), at(5000)));
        assert!(timer.has_rung(at(4000), at(4000)));
    }

    #[test]
    fn a_timer_never_rings_early_nor_two_ticks_late_nor_unheard() {
        for chance in [0, 1, 499, 999] {
            let timer = Timer::new(1000, chance);
            for due in (0..3000).step_by(7) {
                for now in (0..3000).step_by(11) {
                    let rings = timer.rings_at(at(due), at(now));
                    assert!(rings >= at(due.max(now)));
                    assert!(rings < at(due.max(now) + 2000));
                    assert!(timer.has_rung(at(due), rings));
                }
            }
        }
    }

    #[test]
    fn without_ticks_timers_are_exact() {
        let timer = Timer::new(0, 77);
        assert_eq!(timer.rings_at(at(4100), at(2300)), at(4100));
        assert!(timer.has_rung(at(4100), at(4100)) && !timer.has_rung(at(4100), at(4099)));
        let never = Timer::new(1000, 5).rings_at(at(u64::MAX), at(0));
        assert!(never > at(u64::MAX - 2000));
    }
}
