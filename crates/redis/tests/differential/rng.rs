//! Chance, from a seed, and what it chooses from.

use leasehold_core::{
    Demand, Enroll, LeaseRequest, Limit, Micros, PARTS, RecordId, Request, SplitMix64, StoreTime,
};

use crate::schedule::{BASE, KEYS, Replica};

/// A seed gives the same schedule for ever.
pub(crate) struct Rng(SplitMix64);

impl Rng {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    pub(crate) fn key(&mut self) -> usize {
        self.place(KEYS)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.place(choices.len())]
    }

    pub(crate) fn limit(&mut self) -> Limit {
        self.pick(&LIMITS).parse().expect("a good limit")
    }

    pub(crate) fn part(&mut self, whole: u64) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => whole,
            _ => self.below(whole + 1),
        }
    }

    pub(crate) fn tokens(&mut self, limit: &Limit) -> u64 {
        let capacity = limit.capacity();
        match self.below(10) {
            0 => 0,
            1..3 => 1,
            3..5 => self.below(10),
            5..7 => capacity / 3,
            7 => self.below(capacity),
            8 => capacity,
            _ => capacity + 1,
        }
    }

    pub(crate) fn lease(&mut self) -> Micros {
        Micros(self.pick(&[
            0, 1, 1_000, 500_000, 2_000_000, 2_000_000, 10_000_000, 60_000_000,
        ]))
    }

    pub(crate) fn demand(&mut self) -> Demand {
        Demand(self.pick(&[0, 1, 100, 256, 256, 3_000, u16::MAX]))
    }

    /// A message to the roster: mostly that a replica stays, by the parts that it has or by fewer.
    pub(crate) fn enroll(&mut self, replica: &Replica) -> Enroll {
        let parts = match self.below(8) {
            0..5 => replica.parts,
            5 => replica.parts / 2,
            6 => 0,
            _ => self.pick(&[1, PARTS, u32::MAX]),
        };
        Enroll {
            replica: replica.id,
            lease: match self.below(12) {
                0 => Micros(self.pick(&[DAY - 1, DAY, DAY + 1, u64::MAX])),
                _ => self.lease(),
            },
            parts,
            most: self.pick(&[PARTS, PARTS, PARTS, PARTS, 1000, 7, 0, u32::MAX]),
            leaves: self.one_in(8),
            known: match self.below(6) {
                0 => StoreTime::ZERO,
                1 => replica.told + Micros(1),
                _ => replica.told,
            },
        }
    }

    /// A request that no replica sends, and the store must survive all the same.
    pub(crate) fn nonsense(&mut self, replica: &Replica) -> Request {
        // More than is ever outstanding, if enough replicas say so.
        let large = self.one_in(4).then_some(1 << 51);
        let mut any = || match self.below(3) {
            0 => 0,
            1 => self.below(20),
            _ => self.below(1 << 40),
        };
        Request::Lease(LeaseRequest {
            record: RecordId {
                replica: replica.id,
                generation: any() % 4,
            },
            granted: large.unwrap_or_else(&mut any),
            spent: any(),
            released: any(),
            wanted: any(),
            needed: any(),
            lease: Micros(any() % 1_000_000),
            expiry: StoreTime::from_micros(BASE + any() * 1_000),
            demand: self.demand(),
        })
    }
}

const DAY: u64 = 86_400_000_000;

/// Slow and fast; of even and uneven rates; with a coarse clock; with an overshoot; so heavy that a
/// change of weight is not exact; so large that levels need all the digits there are; with an
/// advance, also of fewer tokens than it has parts, of nearly all there are, and of very many.
pub(crate) const LIMITS: [&str; 21] = [
    "1000/s burst 100",
    "1000000/s burst 50000",
    "3/10us burst 7",
    "7/3s burst 100",
    "1/h burst 3",
    "5/day burst 2 overshoot 3",
    "100/min burst 20 overshoot 10%",
    "100/s burst 10 overshoot 50",
    "999983/day burst 2000000",
    "1000000000/s burst 1000000000",
    "1/365day burst 40",
    "1/us burst 2000000000000000",
    "86399/day burst 12000",
    "1000/s burst 100 advance 20",
    "1000/s burst 100 advance 99",
    "100/min burst 20 overshoot 10% advance 7",
    "999983/day burst 2000000 advance 700001",
    "1/h burst 3 advance 1",
    "1/us burst 2000000000000000 advance 1999999999999999",
    "86399/day burst 12000 advance 11111",
    "1/365day burst 200 advance 150",
];
