//! A replica in the simplest form that obeys the protocol.
//!
//! It takes a reply as a whole or not at all: so many tokens in all, until then. Were it to join
//! the tokens of one reply to the deadline of another, it would hold tokens for longer than either
//! store said if the store lost its memory in between, or the record ended.

use leasehold_core::{Demand, LeaseRequest, Limit, Micros, RecordId, Reply, Status, StoreTime};

use crate::random::Random;

/// One process and what it remembers; a crash replaces it by a new one.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) record: RecordId,
    /// When the store began, as far as this replica has heard.
    pub(crate) known: StoreTime,
    clock: Clock,
    granted: u64,
    spent: u64,
    released: u64,
    expiry: StoreTime,
    deadline: u64,
}

impl Replica {
    pub(crate) fn start(id: u64, known: StoreTime, random: &mut Random) -> Self {
        Self {
            record: RecordId {
                replica: id,
                generation: 1,
            },
            known,
            clock: Clock::any(random),
            granted: 0,
            spent: 0,
            released: 0,
            expiry: StoreTime::ZERO,
            deadline: 0,
        }
    }

    /// Tokens that may be spent at `now`.
    pub(crate) fn live(&self, now: u64) -> u64 {
        if self.clock.read(now) < self.deadline {
            self.held()
        } else {
            0
        }
    }

    pub(crate) fn spend(&mut self, tokens: u64) {
        self.spent += tokens;
    }

    /// Gives up some of the tokens, dead or alive.
    pub(crate) fn release(&mut self, random: &mut Random) -> u64 {
        let tokens = if random.chance(50) {
            self.held()
        } else {
            random.within(0..=self.held())
        };
        self.released += tokens;
        tokens
    }

    /// Reports, and asks for whatever comes to mind.
    pub(crate) fn ask(&self, limit: &Limit, random: &mut Random) -> LeaseRequest {
        let wanted = match random.within(0..=3) {
            0 => 0,
            1 => limit.capacity(),
            _ => random.within(0..=limit.capacity() + 2),
        };
        let needed = if random.chance(50) { wanted } else { 0 };
        LeaseRequest {
            record: self.record,
            granted: self.granted,
            spent: self.spent,
            released: self.released,
            wanted,
            needed,
            lease: Micros(random.within(LEASE_SHORTEST..=LEASE_LONGEST.0)),
            expiry: self.expiry,
            demand: Demand(u16::try_from(random.within(0..=999)).expect("it is below 1000")),
        }
    }

    /// The replica's own time, to be brought back with the reply.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        self.clock.read(now)
    }

    /// Takes in the answer to a request it sent at `sent` by its own clock, for `lease`.
    pub(crate) fn hear(&mut self, reply: &Reply, lease: Micros, sent: u64) {
        match reply.status {
            Status::Leased | Status::Reasserted => {
                let deadline = sent + lease.0 / 10 * 9;
                if reply.granted >= self.granted && deadline >= self.deadline {
                    self.granted = reply.granted;
                    self.deadline = deadline;
                    self.expiry = reply.expiry;
                }
            }
            Status::Over | Status::Left => {
                self.record.generation += 1;
                (self.granted, self.spent, self.released) = (0, 0, 0);
                (self.expiry, self.deadline) = (StoreTime::ZERO, 0);
            }
            Status::Spent
            | Status::Denied
            | Status::Charged
            | Status::Forgiven
            | Status::Unreadable
            | Status::Full
            | Status::Uncountable => {}
        }
    }

    fn held(&self) -> u64 {
        self.granted - self.spent - self.released
    }
}

/// A clock that never agrees with another, in what it says or in how fast it runs.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: u64,
    speed_permille: u64,
}

impl Clock {
    fn any(random: &mut Random) -> Self {
        Self {
            origin: random.within(1..=1 << 50),
            // A replica uses a lease for nine tenths of it, so it may be nearly a tenth slow.
            speed_permille: random.within(901..=1100),
        }
    }

    fn read(self, now: u64) -> u64 {
        self.origin + now * self.speed_permille / 1000
    }
}

pub(crate) const LEASE_SHORTEST: u64 = 1_000_000;
pub(crate) const LEASE_LONGEST: Micros = Micros(2_000_000);
