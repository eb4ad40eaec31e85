//! The course of a run: what became of the requests, slice by slice, and how far the limiter lagged
//! behind the ideal.

use serde::Serialize;

use crate::tally::Volumes;

/// Volumes of each slice of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// How long a slice is. The last may be cut short by the end of the run.
    pub slice_ns: u64,
    /// One after the other from the beginning of the run, warm-up included. Arrivals and the
    /// ideal's answers count when they come, verdicts when they are given.
    pub slices: Vec<Volumes>,
}

/// How far the limiter lagged behind the ideal, counting requests that arrived after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deficit {
    /// Tokens by which the ideal was ahead in the end; 0 if it was not.
    pub end_tokens: u64,
    /// The most tokens by which it ever was. Compared between instants, not within: a request that
    /// is answered in no time is none.
    pub most_tokens: u64,
    /// When that was first so.
    pub most_at_ns: u64,
}

/// Cuts a run into slices.
#[derive(Debug)]
pub(super) struct Slices {
    series: Series,
    next_ns: u64,
    before: Volumes,
}

impl Slices {
    pub(super) fn new(slice_ns: u64) -> Self {
        Self {
            series: Series {
                slice_ns,
                slices: Vec::new(),
            },
            next_ns: slice_ns,
            before: Volumes::default(),
        }
    }

    /// When the open slice ends.
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Closes it; `volumes` is what there was since the run began.
    pub(super) fn close(&mut self, volumes: &Volumes) {
        self.series.slices.push(*volumes - self.before);
        self.before = *volumes;
        self.next_ns += self.series.slice_ns;
    }

    /// Closes what is open of the last slice, if anything.
    pub(super) fn finish(mut self, end_ns: u64, volumes: &Volumes) -> Series {
        // What comes at the very end of a whole slice would begin another one of no length.
        let is_open = self.next_ns - self.series.slice_ns < end_ns || *volumes != self.before;
        if is_open {
            self.close(volumes);
        }
        self.series
    }
}

impl Deficit {
    /// An instant is over in which the limiter fell this far short.
    pub(super) fn note(&mut self, at_ns: u64, shortfall: i64) {
        self.end_tokens = u64::try_from(shortfall).unwrap_or(0);
        if self.end_tokens > self.most_tokens {
            self.most_tokens = self.end_tokens;
            self.most_at_ns = at_ns;
        }
    }
}
