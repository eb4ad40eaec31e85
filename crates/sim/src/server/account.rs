//! An account of the store's work.
//!
//! # Invariant
//!
//! Every message that arrives is counted once: executed, found without its script, refused,
//! swallowed, or lost with a server that went down; unless it still waits.

use hdrhistogram::Histogram;

use crate::model::Weight;

/// Counts of one run, or of one part of it. Two servers of a split store are counted together.
#[derive(Clone, Debug)]
pub struct Account {
    traffic: Traffic,
    waits: Histogram<u64>,
    tenth: u64,
    calls_of_tenth: u64,
}

/// The traffic to the store and back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Messages executed.
    pub messages: u64,
    /// Calls in them: one for each key.
    pub calls: u64,
    /// Most calls within one tenth of a second.
    pub calls_peak: u64,
    /// Bytes of messages that were queued, executed or not.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Time in which a server was busy, in nanoseconds.
    pub busy_ns: u64,
    /// Messages refused: the server was down, loading, or full.
    pub refused: u64,
    /// Messages to a machine that is gone.
    pub swallowed: u64,
    /// Messages that waited at a server when it went down.
    pub lost: u64,
    /// Messages that came to a server without the script; each is sent a second time.
    pub scripts_missing: u64,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self {
            traffic: Traffic::default(),
            waits: Histogram::new_with_bounds(1, WAIT_MAX_NS, 3).expect("such a histogram exists"),
            tenth: 0,
            calls_of_tenth: 0,
        }
    }

    /// Forgets what was counted: from now on it counts.
    pub(crate) fn clear(&mut self) {
        self.traffic = Traffic::default();
        self.waits.reset();
        self.calls_of_tenth = 0;
    }

    /// The counts.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// For how long messages waited until the server turned to them, in nanoseconds.
    pub const fn waits(&self) -> &Histogram<u64> {
        &self.waits
    }

    pub(crate) fn queued(&mut self, weight: Weight) {
        self.traffic.bytes_in += u64::from(weight.bytes_in);
    }

    pub(crate) fn refused(&mut self) {
        self.traffic.refused += 1;
    }

    pub(crate) fn swallowed(&mut self) {
        self.traffic.swallowed += 1;
    }

    pub(crate) fn lost(&mut self, messages: usize) {
        self.traffic.lost += messages as u64;
    }

    /// The server was busy with a message until now, having turned to it after `waited_ns`.
    #[inline]
    pub(crate) fn served(&mut self, waited_ns: u64, busy_ns: u64) {
        self.waits.saturating_record(waited_ns);
        self.traffic.busy_ns += busy_ns;
    }

    #[inline]
    pub(crate) fn executed(&mut self, weight: Weight, now_ns: u64) {
        let calls = u64::from(weight.calls);
        self.traffic.messages += 1;
        self.traffic.calls += calls;
        self.traffic.bytes_out += u64::from(weight.bytes_out);
        let tenth = now_ns / TENTH_NS;
        if self.tenth != tenth {
            self.tenth = tenth;
            self.calls_of_tenth = 0;
        }
        self.calls_of_tenth += calls;
        self.traffic.calls_peak = self.traffic.calls_peak.max(self.calls_of_tenth);
    }

    pub(crate) fn script_missing(&mut self) {
        self.traffic.scripts_missing += 1;
    }
}

/// The span of the peak: shorter than any timeout, longer than any batch.
const TENTH_NS: u64 = 100_000_000;

/// An hour. Nobody waits longer.
const WAIT_MAX_NS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(calls: u32) -> Weight {
        Weight {
            calls,
            bytes_in: 10,
            bytes_out: 20,
        }
    }

    #[test]
    fn the_peak_is_that_of_the_busiest_tenth_of_a_second() {
        let mut account = Account::new();
        for at_ns in [
            10,
            99_999_999,
            100_000_000,
            100_000_001,
            199_999_999,
            350_000_000,
        ] {
            account.executed(calls(2), at_ns);
        }
        let traffic = account.traffic();
        assert_eq!((traffic.calls, traffic.calls_peak), (12, 6));
        assert_eq!((traffic.messages, traffic.bytes_out), (6, 120));
    }

    #[test]
    fn what_was_before_the_measurement_is_forgotten() {
        let mut account = Account::new();
        account.executed(calls(2), 10);
        account.served(1000, 5);
        account.clear();
        account.executed(calls(1), 20);
        assert_eq!(account.traffic().calls_peak, 1);
        assert_eq!(account.waits().len(), 0);
    }
}
