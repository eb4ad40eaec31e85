//! One server: its memory, its queue, its clock, and whether it works.
//!
//! # Invariant
//!
//! While it is down nothing waits at it; while it stands still nothing leaves it.

use crate::model::StoreModel;
use crate::server::clock::StoreClock;
use crate::server::queue::{Queue, Waiting};
use crate::server::{Admission, FaultId, Silence, StoreConfig};

#[derive(Clone, Debug)]
pub(crate) struct Machine<K> {
    pub(crate) model: K,
    pub(crate) queue: Queue,
    pub(crate) clock: StoreClock,
    pub(crate) has_script: bool,
    /// Faults that keep it down. They may overlap.
    stops: Vec<(FaultId, Silence)>,
    /// Faults that make it stand still.
    hangs: Vec<FaultId>,
}

impl<K: StoreModel> Machine<K> {
    /// A server that works.
    pub(crate) fn new(config: &StoreConfig, model: K) -> Self {
        Self {
            model,
            queue: Queue::new(config),
            clock: StoreClock::new(config.clock_drift_ppm),
            has_script: true,
            stops: Vec::new(),
            hangs: Vec::new(),
        }
    }

    /// Another server of the same make, with a clock that shows the same.
    pub(crate) fn another(&self, model: K) -> Self {
        Self {
            model,
            queue: self.queue.of_another(),
            clock: self.clock.clone(),
            has_script: true,
            stops: Vec::new(),
            hangs: Vec::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.stops.is_empty() && self.hangs.is_empty()
    }

    #[inline]
    pub(crate) fn receive(&mut self, message: Waiting) -> Admission {
        if self.is_silent() {
            return Admission::Swallowed;
        }
        if !self.stops.is_empty() || self.queue.is_full() {
            return Admission::Refused;
        }
        self.queue.push(message);
        Admission::Queued
    }

    pub(crate) fn stop(&mut self, fault: FaultId, silence: Silence) -> Vec<u64> {
        self.stops.push((fault, silence));
        // A process that comes up does not stand still, and whoever connects to it makes sure
        // that it knows the script.
        self.hangs.clear();
        self.has_script = true;
        self.queue.drop_all()
    }

    /// The server is back, and refuses until it has loaded. Nothing changes if it was not down by
    /// this fault.
    pub(crate) fn load(&mut self, fault: FaultId) {
        if let Some((_, silence)) = self.stops.iter_mut().find(|(stop, _)| *stop == fault) {
            *silence = Silence::Refuses;
        }
    }

    /// The server answers again, unless something else keeps it down. False if it was not down by
    /// this fault.
    pub(crate) fn start(&mut self, fault: FaultId) -> bool {
        let stop = self.stops.iter().position(|(stop, _)| *stop == fault);
        stop.map(|stop| self.stops.remove(stop)).is_some()
    }

    pub(crate) fn hang(&mut self, fault: FaultId, now_ns: u64) {
        // A process that is not there cannot stand still.
        if self.stops.is_empty() {
            self.hangs.push(fault);
            self.queue.halt(now_ns);
        }
    }

    /// Nothing happens to one that did not stand still by this fault.
    pub(crate) fn resume(&mut self, fault: FaultId, now_ns: u64) {
        self.hangs.retain(|hang| *hang != fault);
        if self.hangs.is_empty() {
            self.queue.go_on(now_ns);
        }
    }

    fn is_silent(&self) -> bool {
        (self.stops.iter()).any(|(_, silence)| *silence == Silence::Silent)
    }
}
