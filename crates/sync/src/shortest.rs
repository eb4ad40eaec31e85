//! The shortest of the times that were measured lately.

use std::time::Duration;

use leasehold_core::Instant;

/// The shortest time of the current minute and of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortest {
    current: Option<Duration>,
    before: Option<Duration>,
    /// When the current minute ends.
    ends: Instant,
}

impl Shortest {
    pub(crate) fn observe(&mut self, took: Duration, now: Instant) {
        if self.ends <= now {
            self.before = self.current.take();
            self.ends = now + MINUTE;
        }
        self.current = Some(self.current.map_or(took, |shortest| shortest.min(took)));
    }

    /// The shortest, if anything was measured.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.current.into_iter().chain(self.before).min()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_does_not_make_the_store_farther_but_a_move_does() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let millis = Duration::from_millis;
        let mut shortest = Shortest::default();
        assert_eq!(shortest.shortest(), None);
        shortest.observe(millis(2), at(1));
        for second in 2..60 {
            shortest.observe(millis(300), at(second));
            assert_eq!(shortest.shortest(), Some(millis(2)));
        }
        shortest.observe(millis(1), at(60));
        assert_eq!(shortest.shortest(), Some(millis(1)), "nearer at once");
        for second in 62..190 {
            shortest.observe(millis(40), at(second));
        }
        assert_eq!(shortest.shortest(), Some(millis(40)), "it has moved");
    }
}
