//! How soon after an event the limiter follows the ideal again.
//!
//! After each mark time is cut into windows. One is kept if the tokens admitted in it differ from
//! those that the ideal admits of the same arrivals (so that noise of the arrivals is no fault of
//! the limiter) by at most 5 % of what the limit adds in it, or of what the ideal admits if that is
//! more; one token is always forgiven, for its window is a matter of microseconds. Of several
//! limits the most generous one counts, and one key's worth of it.
//!
//! The limiter has converged from the end of the last window that was not kept. If that is the last
//! whole window before the next mark or the end, nothing shows that it ever does.

use serde::Serialize;

use crate::limit::JudgedLimit;
use crate::tally::Volumes;

/// How soon after a mark the limiter followed the ideal until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Convergence {
    /// When the event was.
    pub mark_ns: u64,
    /// The time from the mark on, as windows of 100 ms show it; `None` if they show no convergence.
    pub by_tenths_ns: Option<u64>,
    /// The time as windows of 1 s show it.
    pub by_seconds_ns: Option<u64>,
}

/// Watches from mark to mark.
#[derive(Debug, Default)]
pub(super) struct Watch {
    open: Option<Open>,
    found: Vec<Convergence>,
}

/// The watch since the latest mark.
#[derive(Debug)]
struct Open {
    mark_ns: u64,
    tenths: Windows,
    seconds: Windows,
}

impl Watch {
    /// Something happens; `volumes` is what there was since the run began. A second mark at the
    /// same time is the same.
    pub(super) fn mark(&mut self, now_ns: u64, volumes: &Volumes) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.mark_ns == now_ns)
        {
            return;
        }
        self.end();
        self.open = Some(Open {
            mark_ns: now_ns,
            tenths: Windows::new(TENTH_NS, now_ns, volumes),
            seconds: Windows::new(SECOND_NS, now_ns, volumes),
        });
    }

    /// When the next window closes.
    pub(super) fn next_ns(&self) -> u64 {
        let next = |open: &Open| open.tenths.next_ns.min(open.seconds.next_ns);
        self.open.as_ref().map_or(u64::MAX, next)
    }

    /// Closes the windows that end now.
    pub(super) fn close(
        &mut self,
        now_ns: u64,
        volumes: &Volumes,
        limits: impl Iterator<Item = JudgedLimit> + Clone,
    ) {
        if let Some(open) = &mut self.open {
            open.tenths.close(now_ns, volumes, limits.clone());
            open.seconds.close(now_ns, volumes, limits);
        }
    }

    /// The findings for each mark, in order.
    pub(super) fn finish(mut self) -> Vec<Convergence> {
        self.end();
        self.found
    }

    fn end(&mut self) {
        let open = self.open.take();
        self.found.extend(open.map(|open| Convergence {
            mark_ns: open.mark_ns,
            by_tenths_ns: open.tenths.converged_ns(open.mark_ns),
            by_seconds_ns: open.seconds.converged_ns(open.mark_ns),
        }));
    }
}

/// Windows of one width since a mark.
#[derive(Debug)]
struct Windows {
    width_ns: u64,
    /// When the open one ends.
    next_ns: u64,
    /// The volumes when it began.
    before: Volumes,
    /// When the last window ended that was not kept; at first, the mark.
    converged_from_ns: u64,
}

impl Windows {
    fn new(width_ns: u64, mark_ns: u64, volumes: &Volumes) -> Self {
        Self {
            width_ns,
            next_ns: mark_ns + width_ns,
            before: *volumes,
            converged_from_ns: mark_ns,
        }
    }

    fn close(
        &mut self,
        now_ns: u64,
        volumes: &Volumes,
        mut limits: impl Iterator<Item = JudgedLimit>,
    ) {
        if now_ns != self.next_ns {
            return;
        }
        let inside = *volumes - self.before;
        let (admitted, ideal) = (inside.admitted.tokens, inside.ideal_admitted.tokens);
        let apart = admitted.abs_diff(ideal);
        let by_rate = |limit: JudgedLimit| {
            limit.weight(apart) * ONE_OVER_TOLERANCE <= limit.drained_in(self.width_ns)
        };
        let is_kept = apart <= 1
            || u128::from(apart) * ONE_OVER_TOLERANCE <= u128::from(ideal)
            || limits.any(by_rate);
        if !is_kept {
            self.converged_from_ns = now_ns;
        }
        self.before = *volumes;
        self.next_ns += self.width_ns;
    }

    /// How long it took, if a kept window shows it.
    fn converged_ns(&self, mark_ns: u64) -> Option<u64> {
        let last_close_ns = self.next_ns - self.width_ns;
        (self.converged_from_ns < last_close_ns).then(|| self.converged_from_ns - mark_ns)
    }
}

/// A twentieth is 5 %.
const ONE_OVER_TOLERANCE: u128 = 20;

const TENTH_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;

    fn volumes(admitted: u64, ideal: u64) -> Volumes {
        let tally = |tokens| Tally {
            requests: 0,
            tokens,
        };
        Volumes {
            admitted: tally(admitted),
            ideal_admitted: tally(ideal),
            ..Volumes::default()
        }
    }

    /// Watches windows of 100 ms with these tokens in them, (admitted, ideal), from a mark on.
    fn watch(tokens: &[(u64, u64)], marks: &[usize]) -> Vec<Convergence> {
        let limit = JudgedLimit::new(1000, SECOND_NS, 100).unwrap();
        let mut watch = Watch::default();
        let mut now_ns = 7 * SECOND_NS;
        let mut sum = volumes(50, 50);
        for (index, &(admitted, ideal)) in tokens.iter().enumerate() {
            if marks.contains(&index) {
                watch.mark(now_ns, &sum);
            }
            now_ns += TENTH_NS;
            sum = sum + volumes(admitted, ideal);
            if watch.next_ns() == now_ns {
                watch.close(now_ns, &sum, [limit].into_iter());
            }
        }
        watch.finish()
    }

    #[test]
    fn it_counts_from_the_last_window_that_strays() {
        // 100 tokens a window at the rate: 5 are forgiven, 6 are not.
        let good = (95, 100);
        let bad = (106, 100);
        let found = watch(&[bad, good, bad, good, good], &[0]);
        assert_eq!(found[0].mark_ns, 7 * SECOND_NS);
        assert_eq!(found[0].by_tenths_ns, Some(3 * TENTH_NS));
        assert_eq!(found[0].by_seconds_ns, None, "no second was whole");
        let at_once = watch(&[good, good], &[0]);
        assert_eq!(at_once[0].by_tenths_ns, Some(0));
    }

    #[test]
    fn seconds_forgive_what_tenths_do_not() {
        let swing = [(106, 100), (94, 100)].repeat(10);
        let found = watch(&swing, &[0]);
        assert_eq!(found[0].by_tenths_ns, None, "the last window strays");
        assert_eq!(found[0].by_seconds_ns, Some(0));
    }

    #[test]
    fn each_mark_is_judged_until_the_next() {
        let (good, bad) = ((100, 100), (0, 100));
        let found = watch(&[bad, good, good, bad, bad, good], &[0, 3]);
        let times: Vec<_> = found.iter().map(|found| found.by_tenths_ns).collect();
        assert_eq!(times, [Some(TENTH_NS), Some(2 * TENTH_NS)]);
        assert_eq!(found[1].mark_ns, 7 * SECOND_NS + 3 * TENTH_NS);
    }

    #[test]
    fn the_tolerance_goes_by_the_rate_or_a_burst_and_one_token_is_forgiven() {
        assert_eq!(watch(&[(45, 50)], &[0])[0].by_tenths_ns, Some(0));
        assert_eq!(watch(&[(44, 50)], &[0])[0].by_tenths_ns, None);
        assert_eq!(watch(&[(950, 1000)], &[0])[0].by_tenths_ns, Some(0));
        assert_eq!(watch(&[(940, 1000)], &[0])[0].by_tenths_ns, None);
        let slow = JudgedLimit::new(1, 60 * SECOND_NS, 5).unwrap();
        let mut windows = Windows::new(TENTH_NS, 0, &volumes(0, 0));
        windows.close(TENTH_NS, &volumes(0, 1), [slow].into_iter());
        assert_eq!(windows.converged_ns(0), Some(0));
        windows.close(2 * TENTH_NS, &volumes(0, 3), [slow].into_iter());
        assert_eq!(windows.converged_ns(0), None);
    }

    #[test]
    fn a_second_mark_at_the_same_time_is_the_same() {
        let mut watch = Watch::default();
        watch.mark(5, &volumes(0, 0));
        watch.mark(5, &volumes(0, 0));
        assert_eq!(watch.finish().len(), 1);
    }
}
