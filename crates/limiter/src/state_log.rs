//! When a state is worth a line in the log.

use std::time::Duration;

use leasehold_core::Instant;

/// One of two states, usual or not. A change is told at once, unless one was told shortly before:
/// then the state is told if it lasts, and a state that comes and goes costs few lines.
#[derive(Debug, Default)]
pub(crate) struct StateLog {
    /// The state that was told last.
    told: bool,
    since: Option<Instant>,
}

impl StateLog {
    /// The state that was told last: whether it is the unusual one.
    pub(crate) fn told(&self) -> bool {
        self.told
    }

    /// Whether to tell the state now.
    pub(crate) fn is_news(&mut self, unusual: bool, now: Instant) -> bool {
        let lately = self.since.is_some_and(|since| now.since(since) < QUIET);
        let is_news = unusual != self.told && !lately;
        if is_news {
            (self.told, self.since) = (unusual, Some(now));
        }
        is_news
    }
}

/// Twelve lines a minute at most.
const QUIET: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_once() {
        let mut log = StateLog::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        assert!(!log.is_news(false, at(1)), "it begins as usual");
        assert!(log.is_news(true, at(2)));
        assert!(!log.is_news(true, at(60)));
        assert!(log.is_news(false, at(61)));
    }

    #[test]
    fn a_state_that_comes_and_goes_costs_few_lines_and_the_last_word_is_true() {
        let mut log = StateLog::default();
        let mut lines = 0;
        for milli in 0..60_000 {
            let unusual = milli / 7 % 2 == 0 || milli > 58_000;
            lines += u32::from(log.is_news(unusual, Instant::from_millis(milli)));
        }
        assert!((10..=12).contains(&lines), "{lines}");
        log.is_news(true, Instant::from_millis(65_000));
        assert!(log.told());
    }
}
