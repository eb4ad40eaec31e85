//! Counts from the callers' side: a request is what they want, a try what they
//! send for it.

use hdrhistogram::Histogram;

/// Counts of one load.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests whose first try was answered.
    pub requests: u64,
    /// Tries that were answered, first ones and others.
    pub tries: u64,
    /// Requests that were allowed in the end.
    pub satisfied: u64,
    /// Requests that were denied and not tried again.
    pub given_up: u64,
    /// Requests that would have been tried again after the end of the run.
    pub cut_short: u64,
    /// From the first try of a request to the answer that allowed it, in nanoseconds; to three
    /// digits, and an hour at most.
    pub time_to_success: Histogram<u64>,
}

impl Tally {
    /// Tries that were not the first of their request.
    pub const fn retries(&self) -> u64 {
        self.tries - self.requests
    }

    pub(super) fn count_try(&mut self, tries_before: u16) {
        self.tries += 1;
        self.requests += u64::from(tries_before == 0);
    }

    pub(super) fn count_success(&mut self, taken_ns: u64) {
        self.satisfied += 1;
        self.time_to_success.saturating_record(taken_ns);
    }
}

impl Default for Tally {
    fn default() -> Self {
        let time_to_success =
            Histogram::new_with_bounds(1, HOUR_NS, 3).expect("bounds and digits are in range");
        Self {
            requests: 0,
            tries: 0,
            satisfied: 0,
            given_up: 0,
            cut_short: 0,
            time_to_success,
        }
    }
}

const HOUR_NS: u64 = 3_600_000_000_000;
