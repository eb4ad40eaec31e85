//! The events that may happen in a schedule, and how often.

use crate::random::Random;

/// Faults beyond those of the network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Replicas forget everything and start again.
    pub(crate) crashes: bool,
    /// The store forgets everything; messages on their way arrive all the same.
    pub(crate) flushes: bool,
    /// The store is restarted from an older state; messages on their way are lost.
    pub(crate) restarts: bool,
}

/// How often what happens in one schedule. Schedules differ in this, because what is found where
/// messages pile up is not found where tokens are spent at once.
#[derive(Debug)]
pub(crate) struct Habits {
    pauses_longest: [u64; 4],
    events: Vec<(Event, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Sync,
    Spend,
    Release,
    SpendAtStore,
    Crash,
    Flush,
    Save,
    Restart,
}

impl Habits {
    pub(crate) fn any(faults: Faults, random: &mut Random) -> Self {
        let often = |event, random: &mut Random| (event, random.one_of(&[2, 10, 40]));
        let seldom = |event, may, random: &mut Random| {
            let weight = random.within(1..=4);
            (event, if may { weight } else { 0 })
        };
        Self {
            pauses_longest: [(); 4].map(|()| random.one_of(&[10_000, 50_000, 500_000, 3_000_000])),
            events: vec![
                (Event::Sync, 40),
                often(Event::Spend, random),
                often(Event::Release, random),
                often(Event::SpendAtStore, random),
                seldom(Event::Crash, faults.crashes, random),
                seldom(Event::Flush, faults.flushes, random),
                seldom(Event::Save, faults.restarts, random),
                seldom(Event::Restart, faults.restarts, random),
            ],
        }
    }

    pub(crate) fn any_pause(&self, random: &mut Random) -> u64 {
        let longest = random.one_of(&self.pauses_longest);
        random.of_any_size(1..=longest)
    }

    pub(crate) fn any_event(&self, random: &mut Random) -> Event {
        random.weighted(&self.events)
    }
}
