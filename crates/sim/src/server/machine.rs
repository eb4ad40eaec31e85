//! One server: its memory, its queue, its clock, and whether it works.
//!
//! # Invariant
//!
//! While it is down nothing waits at it; while it stands still nothing leaves it.

use crate::scheme::Keeper;
use crate::server::clock::StoreClock;
use crate::server::queue::{Queue, Waiting};
use crate::server::{Admission, Silence, StoreConfig};

#[derive(Clone, Debug)]
pub(crate) struct Machine<K> {
    pub(crate) keeper: K,
    pub(crate) queue: Queue,
    pub(crate) clock: StoreClock,
    pub(crate) has_script: bool,
    /// Faults that keep it down. They may overlap.
    stops: Vec<Silence>,
    /// Faults that make it stand still.
    hangs: u32,
}

impl<K: Keeper> Machine<K> {
    /// A server that works.
    pub(crate) fn new(config: &StoreConfig, keeper: K) -> Self {
        Self {
            keeper,
            queue: Queue::new(config),
            clock: StoreClock::new(config.clock_drift_ppm),
            has_script: true,
            stops: Vec::new(),
            hangs: 0,
        }
    }

    /// Another server of the same make, with a clock that shows the same.
    pub(crate) fn another(&self, keeper: K) -> Self {
        Self {
            keeper,
            queue: self.queue.of_another(),
            clock: self.clock.clone(),
            has_script: true,
            stops: Vec::new(),
            hangs: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.stops.is_empty() && self.hangs == 0
    }

    #[inline]
    pub(crate) fn receive(&mut self, message: Waiting) -> Admission {
        if self.stops.contains(&Silence::Silent) {
            return Admission::Swallowed;
        }
        if !self.stops.is_empty() || self.queue.is_full() {
            return Admission::Refused;
        }
        self.queue.push(message);
        Admission::Queued
    }

    pub(crate) fn stop(&mut self, silence: Silence) -> Vec<u64> {
        self.stops.push(silence);
        // A process that comes up does not stand still, and whoever connects to it makes sure
        // that it knows the script.
        self.hangs = 0;
        self.has_script = true;
        self.queue.drop_all()
    }

    /// It is back, and refuses until it has loaded.
    pub(crate) fn load(&mut self, after: Silence) {
        let stop = self.stops.iter_mut().find(|stop| **stop == after);
        *stop.expect("it was down") = Silence::Refuses;
    }

    /// It answers again, unless something else keeps it down.
    pub(crate) fn start(&mut self, after: Silence) {
        let stop = self.stops.iter().position(|stop| *stop == after);
        self.stops.remove(stop.expect("a stop ends once"));
    }

    pub(crate) fn hang(&mut self, now_ns: u64) {
        // A process that is not there cannot stand still.
        if self.stops.is_empty() {
            self.hangs += 1;
            self.queue.halt(now_ns);
        }
    }

    pub(crate) fn resume(&mut self, now_ns: u64) {
        self.hangs = self.hangs.saturating_sub(1);
        if self.hangs == 0 {
            self.queue.go_on(now_ns);
        }
    }
}
