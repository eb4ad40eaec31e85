//! Stories, and what the core crate says should come of them.

use std::collections::BTreeMap;
use std::ops::Range;

use leasehold_core::{
    Birth, Enroll, Kept, LeaseRequest, Limit, Marker, Micros, PARTS, REPLICAS_MAX, RecordId, Reply,
    Request, Retired, Roster, Status, StoreTime,
};
use leasehold_redis::codec::{Call, Decoded, Names};

use crate::ZERO;
use crate::branches::{enrolled, met, reached};
use crate::rng::Rng;
use crate::store::{Checked, Held, Store, run_id};

/// One story, told to a server and to the model.
pub(crate) struct Schedule<'a> {
    store: &'a mut Store,
    reached: &'a mut BTreeMap<&'static str, u64>,
    rng: Rng,
    names: Names,
    quarantine: Micros,
    now: StoreTime,
    /// Which server it is, or which of its lives.
    life: u8,
    model: Model,
    saved: Model,
    limits: [Limit; KEYS],
    replicas: Vec<Replica>,
    sent: Vec<(usize, Limit, Request)>,
}

/// The expected contents of the server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Model {
    marker: Option<(Marker, u8)>,
    buckets: [Option<Stored>; KEYS],
    /// Keys under which something lies that no version of the script writes.
    poisoned: [bool; KEYS],
}

/// A ledger, until when the server keeps it, and whether it has had a record: it is a hash then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stored {
    pub(crate) kept: Kept,
    pub(crate) was_leased: bool,
}

/// A replica, as far as the store can tell.
pub(crate) struct Replica {
    pub(crate) id: u64,
    known: StoreTime,
    generation: u64,
    leases: [Lease; KEYS],
    /// The parts by which it works.
    pub(crate) parts: u32,
    /// When its entry ends, as it was told.
    pub(crate) told: StoreTime,
}

#[derive(Clone, Copy, Default)]
struct Lease {
    generation: u64,
    granted: u64,
    spent: u64,
    released: u64,
    expiry: StoreTime,
}

impl<'a> Schedule<'a> {
    pub(crate) fn run(
        store: &'a mut Store,
        seed: u64,
        reached: &'a mut BTreeMap<&'static str, u64>,
    ) -> Checked {
        let mut rng = Rng::seeded(seed);
        let base = BASE + rng.below(1_000_000_000_000);
        let quarantine = Micros(rng.pick(&[0, 1, 1_000_000, 20_000_000, 300_000_000, 1 << 51]));
        let limits = [(); KEYS].map(|()| rng.limit());
        let replicas = 1 + rng.below(4);
        store.delete_all();
        let mut schedule = Self {
            store,
            reached,
            names: Names::new("test"),
            quarantine,
            now: StoreTime::from_micros(base),
            life: 0,
            model: Model::default(),
            saved: Model::default(),
            limits,
            replicas: (0..replicas).map(|_| Replica::new(&mut rng)).collect(),
            sent: Vec::new(),
            rng,
        };
        for step in 0..STEPS {
            schedule
                .step()
                .map_err(|mismatch| format!("in step {step}: {mismatch}"))?;
        }
        Ok(())
    }

    fn step(&mut self) -> Checked {
        self.pass_time();
        match self.rng.below(100) {
            0..68 => self.sync()?,
            68..78 => self.repeat()?,
            78..80 => self.life += 1,
            80..84 => self.crash(),
            84..88 => {
                let key = self.rng.key();
                self.limits[key] = self.rng.limit();
            }
            88..90 => self.forget(0..KEYS, true),
            90..92 => self.forget(0..0, true),
            92..94 => {
                let key = self.rng.key();
                self.forget(key..key + 1, false);
            }
            94..96 => self.save(),
            96..98 => self.restore(),
            98 if self.rng.one_in(10) => self.crowd()?,
            98 => {
                let (key, poison) = (self.rng.key(), self.rng.below(6));
                self.store.poison(&bucket_name(&self.names, key), poison);
                self.model.buckets[key] = None;
                self.model.poisoned[key] = true;
            }
            _ => {
                // Read as one that no store can have made.
                let poison = self.rng.below(6);
                self.store.poison(&self.names.marker(0), poison);
                let (since, emptied) = (ZERO, ZERO);
                let marker = Marker {
                    birth: Birth { since, emptied },
                    roster: Roster::from_stored([], Retired::default()),
                };
                self.model.marker = Some((marker, self.life));
            }
        }
        Ok(())
    }

    /// Time passes, jumps, or comes to where something happens.
    fn pass_time(&mut self) {
        let now = self.now.as_micros();
        let target = self.model.event(&mut self.rng).as_micros();
        let back = self.rng.pick(&[5_000_000, 5_000_000, 200_000_000]);
        let rng = &mut self.rng;
        let now = match rng.below(20) {
            0..4 => now,
            4..6 => now + rng.below(20),
            6..9 => now + rng.below(1_000),
            9..12 => now + rng.below(1_000_000),
            12..14 => now + rng.below(60_000_000),
            14 => now + rng.below(86_400_000_000),
            15 => now - rng.below(back),
            _ if target > 0 && target < now + YEAR => target + rng.below(3) - 1,
            _ => now,
        };
        self.now = StoreTime::from_micros(now);
        // A bucket that is due may go, and need not have gone yet.
        for key in 0..KEYS {
            let due = self.model.buckets[key]
                .as_ref()
                .is_some_and(|stored| stored.kept.forget_at <= self.now);
            if due && self.rng.one_in(2) {
                self.forget(key..key + 1, false);
            }
        }
    }

    /// A replica reports on some keys and asks for more; or all keys are asked for alike.
    fn sync(&mut self) -> Checked {
        let place = self.rng.place(self.replicas.len());
        if self.rng.one_in(8) {
            let requests = self.alike();
            let known = self.replicas[place].known;
            return self.exchange(known, None, &requests).map(drop);
        }
        let count = 1 + self.rng.below(3);
        let mut requests = Vec::new();
        for _ in 0..count {
            let key = self.rng.key();
            let limit = self.limits[key];
            let replica = &mut self.replicas[place];
            let request = match self.rng.below(12) {
                0..2 => Request::Spend {
                    cost: self.rng.tokens(&limit),
                },
                10 => Request::Charge {
                    tokens: self.rng.tokens(&limit),
                },
                11 => Request::Forgive,
                2 => self.rng.nonsense(replica),
                _ => replica.request(key, &limit, &mut self.rng),
            };
            requests.push((key, limit, request));
        }
        self.sent.extend(requests.iter().copied());
        let known = self.replicas[place].known;
        let tells = self.rng.one_in(2);
        let enroll = tells.then(|| self.rng.enroll(&self.replicas[place]));
        let answer = self.exchange(known, enroll, &requests)?;
        let lost = self.rng.one_in(5);
        if !lost {
            self.replicas[place].handle(&requests, &answer);
        }
        Ok(())
    }

    /// The spends of many keys under one limit in one call, with a charge now and then.
    fn alike(&mut self) -> Vec<(usize, Limit, Request)> {
        let limit = self.limits[0];
        let cost = self.rng.tokens(&limit);
        let requests = (0..KEYS).map(|key| {
            let request = match self.rng.below(7) {
                6 => Request::Forgive,
                0 => Request::Charge { tokens: key as u64 },
                _ => Request::Spend { cost },
            };
            (key, limit, request)
        });
        requests.collect()
    }

    /// Old requests come again, in any order, perhaps from someone who has forgotten them.
    fn repeat(&mut self) -> Checked {
        if self.sent.is_empty() {
            return Ok(());
        }
        let mut requests = Vec::new();
        for _ in 0..=self.rng.below(3) {
            requests.push(self.sent[self.rng.place(self.sent.len())]);
        }
        let replica = self.rng.place(self.replicas.len());
        let known = match self.rng.below(6) {
            0 => ZERO,
            1 => StoreTime::from_micros(self.now.as_micros() - self.rng.below(10_000_000)),
            2 => StoreTime::from_micros(self.now.as_micros() + self.rng.below(200_000_000)),
            _ => self.replicas[replica].known,
        };
        // A replica of which nobody has heard may tell the roster whatever it likes.
        let tells = self.rng.one_in(4);
        let stranger = Replica::new(&mut self.rng);
        let enroll = tells.then(|| self.rng.enroll(&stranger));
        self.exchange(known, enroll, &requests).map(drop)
    }

    /// Many new replicas come, one after the other, and nobody asks for a key.
    fn crowd(&mut self) -> Checked {
        for _ in 0..REPLICAS_MAX + 2 {
            let replica = Replica::new(&mut self.rng);
            let enroll = Enroll {
                replica: replica.id,
                lease: Micros(10_000_000),
                parts: 0,
                most: self.rng.pick(&[1, 7, 1000, PARTS]),
                leaves: false,
                known: ZERO,
            };
            let known = self.model.marker.as_ref();
            let known = known.map_or(ZERO, |(marker, _)| marker.birth.since);
            self.exchange(known, Some(enroll), &[])?;
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        known: StoreTime,
        enroll: Option<Enroll>,
        requests: &[(usize, Limit, Request)],
    ) -> Checked<Decoded> {
        let (quarantine, now) = (self.quarantine, self.now);
        let marker = self.names.marker(0);
        let mut call =
            Call::new(marker, known, quarantine, run_id(self.life)).expect("small numbers");
        for (key, limit, request) in requests {
            let key = bucket_name(&self.names, *key);
            call.push(key, limit, request).expect("small numbers");
        }

        if let Some(enroll) = &enroll {
            call.enroll(enroll);
        }

        let found = self.model.marker.take().map(|(marker, life)| {
            if life == self.life {
                return marker;
            }
            self.reach("meet: another server's marker");
            Marker::restarted(&marker, quarantine, now)
        });
        let mut marker = Marker::meet(found.clone(), known, quarantine, now);
        for branch in met(found.as_ref(), known, &marker) {
            self.reach(branch);
        }
        let past = marker.past();
        let before = marker.clone();
        let seat = enroll.map(|enroll| marker.roster.enroll(&enroll, now));
        if let (Some(enroll), Some(seat)) = (&enroll, &seat) {
            for branch in enrolled(&before, enroll, seat) {
                self.reach(branch);
            }
        }
        self.model.marker = Some((marker, self.life));
        let mut replies = Vec::new();
        for (key, limit, request) in requests {
            if self.model.poisoned[*key] {
                self.reach("unreadable");
                replies.push(Reply::unserved(Status::Unreadable, now));
                continue;
            }
            let slot = &mut self.model.buckets[*key];
            let before = slot.clone();
            let was_leased = before.as_ref().is_some_and(|stored| stored.was_leased);
            let kept = before.clone().map(|stored| stored.kept);
            let mut kept = kept.unwrap_or_else(|| Kept::open(past, limit, now));
            let reply = kept.exchange(request, limit, past, now);
            let mut after = Stored::from(kept);
            after.was_leased |= was_leased;
            *slot = Some(after.clone());
            replies.push(reply);
            let branches = reached(before.as_ref(), request, limit, past, &reply, &after);
            for branch in branches {
                self.reach(branch);
            }
        }

        let expected = Decoded {
            birth: past.birth,
            now,
            seat,
            replies,
        };
        let (answer, kept) = self.store.exchange(&call, now)?;
        if answer != expected {
            let told = format!("known {known:?}, {enroll:#?}, {requests:#?}");
            return Err(format!(
                "{told}\nanswer {answer:#?}\nexpected {expected:#?}"
            ));
        }
        self.compare(&kept, requests.iter().map(|(key, ..)| *key))?;
        Ok(answer)
    }

    /// A replica starts anew, with another id and no memory.
    fn crash(&mut self) {
        let place = self.rng.place(self.replicas.len());
        self.replicas[place] = Replica::new(&mut self.rng);
    }

    fn forget(&mut self, buckets: Range<usize>, marker: bool) {
        let mut names: Vec<_> = buckets
            .clone()
            .map(|key| bucket_name(&self.names, key))
            .collect();
        self.model.poisoned[buckets.clone()].fill(false);
        self.model.buckets[buckets].fill(None);
        if marker {
            self.model.marker = None;
            names.push(self.names.marker(0));
        }
        self.store.delete(&names);
    }

    fn save(&mut self) {
        self.saved = self.model.clone();
        self.store.copy(&self.all_names(), b"", b"saved");
    }

    /// The store falls back to what it once was, or parts of it do.
    fn restore(&mut self) {
        let mut names = self.all_names();
        if self.rng.one_in(3) {
            let key = self.rng.key();
            self.model.buckets[key].clone_from(&self.saved.buckets[key]);
            self.model.poisoned[key] = self.saved.poisoned[key];
            names = vec![bucket_name(&self.names, key)];
        } else {
            self.model = self.saved.clone();
        }
        self.store.copy(&names, b"saved", b"");
    }

    fn all_names(&self) -> Vec<Vec<u8>> {
        let buckets = (0..KEYS).map(|key| bucket_name(&self.names, key));
        buckets.chain([self.names.marker(0)]).collect()
    }

    fn compare(&self, held: &Held, keys: impl IntoIterator<Item = usize>) -> Checked {
        let (marker, expected) = (&held.marker, &self.model.marker);
        if marker != expected {
            return Err(format!("marker {marker:#?}\nexpected {expected:#?}"));
        }
        for (found, key) in held.buckets.iter().zip(keys) {
            if self.model.poisoned[key] {
                if found.is_ok() {
                    return Err(format!("bucket {found:#?}, which was not one"));
                }
                continue;
            }
            let expected = &self.model.buckets[key];
            let found = found.as_ref().map_err(Clone::clone)?;
            if found != expected {
                return Err(format!("bucket {found:#?}\nexpected {expected:#?}"));
            }
        }
        Ok(())
    }

    fn reach(&mut self, branch: &'static str) {
        *self.reached.entry(branch).or_default() += 1;
    }
}

impl Model {
    /// A time at which something happens to the store; zero if nothing does.
    fn event(&self, rng: &mut Rng) -> StoreTime {
        let bucket = self.buckets[rng.key()].as_ref();
        let marker = self.marker.as_ref().map(|(marker, _)| marker);
        let birth = marker.map_or(ZERO, |marker| marker.birth.emptied);
        let entries = marker
            .into_iter()
            .flat_map(|marker| marker.roster.entries());
        let entries: Vec<_> = entries.map(|(_, expiry, _)| expiry).collect();
        if !entries.is_empty() && rng.one_in(3) {
            return rng.pick(&entries);
        }
        bucket.map_or(birth, |stored| {
            let records = stored.kept.ledger.records.values();
            let expiries: Vec<_> = records.map(|record| record.expiry).collect();
            match rng.below(4) {
                0 => birth,
                1 => stored.kept.forget_at,
                _ if expiries.is_empty() => stored.kept.ledger.meter.at(),
                _ => rng.pick(&expiries),
            }
        })
    }
}

impl From<Kept> for Stored {
    fn from(kept: Kept) -> Self {
        let was_leased = !kept.ledger.records.is_empty();
        Self { kept, was_leased }
    }
}

impl Stored {
    pub(crate) fn forgotten_ms(&self) -> u64 {
        self.kept.forget_at.as_micros().div_ceil(1000)
    }
}

impl Replica {
    fn new(rng: &mut Rng) -> Self {
        Self {
            id: rng.next(),
            known: ZERO,
            generation: 0,
            leases: [Lease::default(); KEYS],
            parts: 0,
            told: ZERO,
        }
    }

    fn request(&mut self, key: usize, limit: &Limit, rng: &mut Rng) -> Request {
        let lease = &mut self.leases[key];
        if lease.generation == 0 {
            self.generation += 1;
            lease.generation = self.generation;
        }
        let held = lease.granted - lease.spent - lease.released;
        let spent = rng.part(held);
        lease.spent += spent;
        if rng.one_in(4) {
            lease.released += rng.part(held - spent);
        }
        let wanted = if rng.one_in(5) { 0 } else { rng.tokens(limit) };
        Request::Lease(LeaseRequest {
            record: RecordId {
                replica: self.id,
                generation: lease.generation,
            },
            granted: lease.granted,
            spent: lease.spent,
            released: lease.released,
            wanted,
            needed: if rng.one_in(2) { 0 } else { rng.tokens(limit) },
            lease: rng.lease(),
            expiry: lease.expiry,
            demand: rng.demand(),
        })
    }

    fn handle(&mut self, requests: &[(usize, Limit, Request)], answer: &Decoded) {
        self.known = answer.birth.since;
        if let Some(seat) = answer.seat {
            self.parts = seat.parts;
            self.told = seat.expiry;
        }
        for ((key, _, request), reply) in requests.iter().zip(&answer.replies) {
            let lease = &mut self.leases[*key];
            let Request::Lease(request) = request else {
                continue;
            };
            match reply.status {
                _ if request.record.generation != lease.generation => {}
                Status::Over | Status::Left => *lease = Lease::default(),
                // As a replica does; only the largest limit comes there so soon.
                _ if reply.granted > GRANTED_MAX => *lease = Lease::default(),
                _ => {
                    lease.granted = lease.granted.max(reply.granted);
                    lease.expiry = reply.expiry;
                }
            }
        }
    }
}

fn bucket_name(names: &Names, key: usize) -> Vec<u8> {
    names.bucket(0, "api", &key.to_le_bytes())
}

/// In 2069: later than the server's own clock, before 2^52.
pub(crate) const BASE: u64 = 3_124_137_600_000_000;
pub(crate) const KEYS: usize = 3;
/// Tokens granted in all after which a lease is given up for another.
const GRANTED_MAX: u64 = 1 << 51;
/// Calls, faults and changes in a schedule.
const STEPS: u64 = 40;
const YEAR: u64 = 365 * 86_400_000_000;
