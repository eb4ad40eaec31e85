//! A replica on the roster, in the simplest form that obeys the rules of advances.
//!
//! It counts cumulatively, so that late and repeated replies need no care: the tokens spent in all,
//! those of them that a reply acknowledged as charged, and those that a reply restored.
//!
//! # Beyond the rules of a seat
//!
//! Three rules follow from what a seat says:
//!
//! - A reply to an earlier enroll than the last is not heeded.
//! - The parts that a seat says are kept only ever cut those that the replica knows it has. Others
//!   may be of a seat that it never heard of.
//! - From its deadline on a replica has no parts. It says so only when all that it spent is
//!   acknowledged: its entry may still live.

use leasehold_core::{Enroll, Limit, Micros, Reply, Request, Seat, Status, StoreTime};

use crate::random::Random;
use crate::replica::Replica;

/// A rule that a replica breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    /// Parts that were another's are used at once.
    NoQuarantine,
    /// Tokens that are acknowledged are restored, whatever is free.
    RestoresUnlooked,
    /// A reply that was lost restores all the same.
    RestoresUnheard,
    /// The replica says that it works by fewer parts before its reports are acknowledged.
    ConfirmsEarly,
    /// Enrolls are executed late, twice, and in any order.
    EnrollsInDisorder,
    /// Parts count as kept when the deadline is over.
    KeepsPartsForEver,
}

/// One process and what it remembers; a crash replaces it by a new one.
#[derive(Clone, Debug)]
pub(crate) struct Enrolled {
    pub(crate) id: u64,
    /// When the store began, as far as this replica has heard.
    pub(crate) known: StoreTime,
    /// Its lease of each key.
    pub(crate) leases: Vec<Replica>,
    tallies: Vec<Tally>,
    /// The most parts that it wishes for.
    pub(crate) most: u32,
    flaw: Option<Flaw>,
    /// Whether it says that it has no parts as soon as it hears that the store lost its memory;
    /// else the next seat tells it.
    heeds_births: bool,
    /// The birth of the roster on which it has its parts.
    roster: StoreTime,
    steps: Vec<Step>,
    /// The parts by which it works at most.
    due: u32,
    /// The tokens of each key that were spent when fewer parts became due.
    owed: Vec<u64>,
    deadline: u64,
    /// When its entry ends, as it heard last.
    expiry: StoreTime,
    /// The enroll whose reply is awaited.
    awaited: Option<u64>,
}

/// Tokens of one key's advance. Counts are cumulative.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    spent: u64,
    charged: u64,
    restored: u64,
}

/// So many parts in all may be used once what those spent has drained who had them until `ended`.
#[derive(Clone, Copy, Debug)]
struct Step {
    parts: u32,
    ended: StoreTime,
}

/// One request about a key, and what the replica notes when it sends it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) key: usize,
    pub(crate) request: Request,
    /// Tokens of the advance that are charged if the request is executed.
    charged: u64,
    /// The replica's own time, for its lease.
    sent: u64,
}

impl Enrolled {
    pub(crate) fn start(
        id: u64,
        keys: usize,
        known: StoreTime,
        flaw: Option<Flaw>,
        random: &mut Random,
    ) -> Self {
        Self {
            id,
            known,
            leases: (0..keys)
                .map(|_| Replica::start(id, known, random))
                .collect(),
            tallies: vec![Tally::default(); keys],
            most: random.one_of(&[5040, 5040, 5040, 5040, 5040, 700]),
            flaw,
            heeds_births: random.chance(50),
            roster: StoreTime::ZERO,
            steps: Vec::new(),
            due: u32::MAX,
            owed: vec![0; keys],
            deadline: 0,
            expiry: StoreTime::ZERO,
            awaited: None,
        }
    }

    /// The replica's own time.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        self.leases[0].clock(now)
    }

    /// Tokens of the key's advance that may be spent at `now`.
    pub(crate) fn left(&self, key: usize, limit: &Limit, now: u64) -> u64 {
        if self.clock(now) >= self.deadline {
            return 0;
        }
        let parts = self.usable_parts(limit, now);
        let all = u128::from(limit.advance()) * u128::from(parts) / 5040;
        let all = u64::try_from(all).expect("it is at most the advance");
        let tally = self.tallies[key];
        all.saturating_sub(tally.spent - tally.restored)
    }

    /// When parts that are in quarantine may be used for the limit: the next such time.
    pub(crate) fn quarantine_ends(&self, limit: &Limit, now: u64) -> Option<u64> {
        let ends = self.steps.iter().map(|step| usable_from(step, limit));
        ends.filter(|end| *end > now).min()
    }

    pub(crate) fn spend(&mut self, key: usize, tokens: u64) {
        self.tallies[key].spent += tokens;
    }

    /// A report of all that is not acknowledged.
    pub(crate) fn report(&self, key: usize) -> Item {
        let Tally { spent, charged, .. } = self.tallies[key];
        let tokens = spent - charged;
        Item {
            charged: spent,
            ..self.ask(key, Request::Charge { tokens })
        }
    }

    /// Another request.
    pub(crate) fn ask(&self, key: usize, request: Request) -> Item {
        Item {
            key,
            request,
            charged: self.tallies[key].charged,
            sent: 0,
        }
    }

    /// Any request about the lease of the key.
    pub(crate) fn ask_for_lease(
        &self,
        key: usize,
        limit: &Limit,
        now: u64,
        random: &mut Random,
    ) -> Item {
        let lease = &self.leases[key];
        let request = Request::Lease(lease.ask(limit, random));
        Item {
            sent: lease.clock(now),
            ..self.ask(key, request)
        }
    }

    /// Whether all that was spent of advances is acknowledged as charged.
    pub(crate) fn is_charged(&self) -> bool {
        self.tallies
            .iter()
            .all(|tally| tally.charged == tally.spent)
    }

    /// Whether it has just as many parts as are due, and all that was spent of them is restored.
    pub(crate) fn is_settled(&self, due: u32, now: u64) -> bool {
        let mut tallies = self.tallies.iter();
        let is_restored = tallies.all(|tally| tally.restored == tally.spent);
        let is_live = self.clock(now) < self.deadline;
        is_restored && is_live && self.held() == due && self.due == due
    }

    /// The enroll to be sent at `now` as the call `serial`, if any may be.
    pub(crate) fn enroll(&mut self, serial: u64, lease: Micros, now: u64) -> Option<Enroll> {
        if self.awaited.is_some() && !self.is(Flaw::EnrollsInDisorder) {
            return None;
        }
        if self.clock(now) >= self.deadline && !self.is(Flaw::KeepsPartsForEver) {
            if !self.is_charged() && !self.steps.is_empty() {
                return None;
            }
            self.steps.clear();
        }
        let of_this_birth = self.roster == self.known || !self.heeds_births;
        let parts = if of_this_birth { self.working() } else { 0 };
        if of_this_birth {
            self.keep(parts);
        }
        self.awaited = Some(serial);
        Some(Enroll {
            replica: self.id,
            lease,
            parts,
            most: self.most,
            leaves: false,
            known: self.expiry,
        })
    }

    /// The last enroll: nothing is spent from then on.
    pub(crate) fn leave(&mut self) -> Enroll {
        Enroll {
            replica: self.id,
            lease: Micros(0),
            parts: 0,
            most: 0,
            leaves: true,
            known: self.expiry,
        }
    }

    /// Gives up waiting for the reply to an enroll that can no longer be executed.
    pub(crate) fn give_up(&mut self, serial: u64) {
        if self.awaited == Some(serial) {
            self.awaited = None;
        }
    }

    /// Gives up waiting for whatever is awaited: it can no longer be executed.
    pub(crate) fn give_up_all(&mut self) {
        self.awaited = None;
    }

    /// Takes in the answer to one request of a call.
    pub(crate) fn hear(&mut self, item: &Item, reply: &Reply) {
        let lease = &mut self.leases[item.key];
        if let Request::Lease(request) = item.request
            && request.record == lease.record
        {
            lease.hear(reply, request.lease, item.sent);
        }
        let tally = &mut self.tallies[item.key];
        if reply.status == Status::Charged {
            tally.charged = tally.charged.max(item.charged);
        }
        let executed = reply.status.unserved().is_none();
        if executed && (reply.free >= 1 || self.flaw == Some(Flaw::RestoresUnlooked)) {
            tally.restored = tally.restored.max(item.charged);
        }
    }

    /// Takes in the seat that the call `serial`, sent at `asked_at` by the own clock, was given by
    /// the store of the birth `since`.
    pub(crate) fn sit(
        &mut self,
        seat: &Seat,
        since: StoreTime,
        serial: u64,
        (asked_at, lease): (u64, Micros),
    ) {
        if self.awaited != Some(serial) {
            return;
        }
        self.give_up(serial);
        self.expiry = seat.expiry;
        if since < self.roster {
            return;
        }
        if since > self.roster {
            self.roster = since;
            if self.heeds_births {
                self.steps.clear();
                self.deadline = 0;
            }
        }
        if seat.expiry == StoreTime::ZERO {
            self.steps.clear();
            return;
        }
        self.deadline = self.deadline.max(asked_at + lease.0 / 10 * 9);
        self.keep(seat.kept);
        if seat.parts > self.held() {
            self.steps.push(Step {
                parts: seat.parts,
                ended: match self.flaw {
                    Some(Flaw::NoQuarantine) => StoreTime::ZERO,
                    _ => seat.ended,
                },
            });
        }
        if seat.due < self.due {
            self.owed = self.tallies.iter().map(|tally| tally.spent).collect();
        }
        self.due = seat.due;
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The parts that were given, those in quarantine among them.
    fn held(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.parts)
    }

    /// The parts by which it works and has reported all that it spent by more.
    fn working(&self) -> u32 {
        let mut pairs = self.tallies.iter().zip(&self.owed);
        let is_reported = pairs.all(|(tally, owed)| tally.charged >= *owed);
        if is_reported || self.is(Flaw::ConfirmsEarly) {
            self.held().min(self.due)
        } else {
            self.held()
        }
    }

    fn usable_parts(&self, limit: &Limit, now: u64) -> u32 {
        let usable = |step: &&Step| usable_from(step, limit) <= now;
        let step = self.steps.iter().rfind(usable);
        step.map_or(0, |step| step.parts).min(self.due)
    }

    /// Cuts what is held to so many parts.
    fn keep(&mut self, parts: u32) {
        for step in &mut self.steps {
            step.parts = step.parts.min(parts);
        }
        // What is usable first comes first, and each step adds parts to those before.
        self.steps.dedup_by_key(|step| step.parts);
        self.steps.retain(|step| step.parts > 0);
    }
}

/// When the limit has yielded its capacity and its advance since the step's parts were another's,
/// on the store's clock.
fn usable_from(step: &Step, limit: &Limit) -> u64 {
    if step.ended == StoreTime::ZERO {
        return 0;
    }
    let rate = limit.rate();
    let tokens = limit.burst() + limit.overshoot() + limit.advance();
    let yielded = u128::from(tokens) * u128::from(rate.period.0);
    let yielded = yielded.div_ceil(u128::from(rate.tokens));
    step.ended.as_micros() + u64::try_from(yielded).expect("a few days at most")
}
