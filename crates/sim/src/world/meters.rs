//! Measures that the world takes itself: waits, the store's load, tokens that lie about.

use crate::model::StoreModel;
use crate::numbers::float;
use crate::scenario::Scenario;
use crate::server::{Store, Traffic};
use hdrhistogram::Histogram;

/// Meters of a run.
pub(crate) struct Meters {
    measure_from_ns: u64,
    measure_to_ns: u64,
    decided: u64,
    local: u64,
    waits: Histogram<u64>,
    last_calls: u64,
    /// Calls of the slice at hand from before the account was cleared.
    carried_calls: u64,
    held_sum: f64,
    held_max: u64,
    slices: u64,
    /// Tokens that went with replicas that were killed.
    pub(crate) lost: u64,
    /// Most keys that one replica remembers.
    pub(crate) replica_keys: u64,
    series: Vec<StoreSlice>,
    store: Traffic,
    queueing: Histogram<u64>,
}

/// The store in one slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StoreSlice {
    /// When it ended.
    pub(crate) at_ns: u64,
    /// Calls executed.
    pub(crate) calls: u64,
    /// Tokens lying at replicas when it ended.
    pub(crate) held: u64,
}

/// The readings in the end.
pub(crate) struct Readings {
    pub(crate) seconds: f64,
    pub(crate) decided: u64,
    pub(crate) local: u64,
    pub(crate) waits: Histogram<u64>,
    /// The store's work in the measured time.
    pub(crate) store: Traffic,
    pub(crate) queueing: Histogram<u64>,
    pub(crate) series: Vec<StoreSlice>,
    pub(crate) held_mean: f64,
    pub(crate) held_max: u64,
    pub(crate) lost: u64,
    pub(crate) replica_keys: u64,
    pub(crate) keys: u64,
    pub(crate) tries: f64,
}

impl Meters {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            measure_from_ns: scenario.warmup.0,
            measure_to_ns: scenario.duration.0,
            decided: 0,
            local: 0,
            waits: histogram(),
            last_calls: 0,
            carried_calls: 0,
            held_sum: 0.0,
            held_max: 0,
            slices: 0,
            lost: 0,
            replica_keys: 0,
            series: Vec::new(),
            store: Traffic::default(),
            queueing: histogram(),
        }
    }

    /// The warm-up is over.
    pub(crate) fn start<K: StoreModel>(&mut self, store: &mut Store<K>) {
        // A slice may end later than the warm-up, or at once after it.
        self.carried_calls = store.account().traffic().calls - self.last_calls;
        self.last_calls = 0;
        store.begin_measuring();
    }

    /// No more requests come.
    pub(crate) fn stop<K: StoreModel>(&mut self, store: &Store<K>) {
        self.store = store.account().traffic();
        self.queueing = store.account().waits().clone();
    }

    /// A request that arrived at one time was decided at another.
    #[inline]
    pub(crate) fn decided(&mut self, arrived_ns: u64, now_ns: u64, local: bool) {
        if !(self.measure_from_ns..self.measure_to_ns).contains(&arrived_ns) {
            return;
        }
        self.decided += 1;
        if local {
            self.local += 1;
        } else {
            self.waits.saturating_record(now_ns - arrived_ns);
        }
    }

    /// A slice of time is over.
    pub(crate) fn slice<K: StoreModel>(&mut self, now_ns: u64, held: u64, store: &Store<K>) {
        let calls = store.account().traffic().calls;
        let carried = std::mem::take(&mut self.carried_calls);
        if now_ns > self.measure_from_ns {
            let tokens = float(held);
            self.held_sum += tokens;
            self.held_max = self.held_max.max(held);
            self.slices += 1;
        }
        self.series.push(StoreSlice {
            at_ns: now_ns,
            calls: carried + calls - self.last_calls,
            held,
        });
        self.last_calls = calls;
    }

    pub(crate) fn finish<K: StoreModel>(self, store: &Store<K>, tries: f64) -> Readings {
        let slices = float(self.slices.max(1));
        let measured = self.measure_to_ns - self.measure_from_ns;
        Readings {
            seconds: crate::units::Span(measured).as_secs_f64(),
            decided: self.decided,
            local: self.local,
            waits: self.waits,
            store: self.store,
            queueing: self.queueing,
            series: self.series,
            held_mean: self.held_sum / slices,
            held_max: self.held_max,
            lost: self.lost,
            replica_keys: self.replica_keys,
            keys: store.model().keys() as u64,
            tries,
        }
    }
}

/// For times from a nanosecond to an hour, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are in order")
}
