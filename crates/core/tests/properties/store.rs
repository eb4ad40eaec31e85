//! A store of one key around the ledger: it can lose its memory in part or as a whole, and after
//! each answer the books must balance.

use leasehold_core::{Birth, Ledger, Limit, Micros, Reply, Request, Status, StoreTime};

use crate::replica::LEASE_LONGEST;

/// The content of the store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    limit: Limit,
    ledger: Option<Ledger>,
    marker: Option<Birth>,
    forget_at: StoreTime,
    forgot: bool,
    granted_in_oblivion: u64,
}

impl Store {
    /// A store that was met by its first caller at `now`.
    pub(crate) fn new(limit: Limit, now: StoreTime) -> Self {
        Self {
            limit,
            ledger: None,
            marker: Some(Birth::meet(None, StoreTime::ZERO, LEASE_LONGEST, now)),
            forget_at: StoreTime::ZERO,
            forgot: false,
            granted_in_oblivion: 0,
        }
    }

    /// Answers one request of a caller that remembers `known`.
    pub(crate) fn execute(
        &mut self,
        request: &Request,
        known: StoreTime,
        now: StoreTime,
    ) -> (Reply, Birth) {
        if self.forget_at <= now {
            self.ledger = None;
        }
        let birth = Birth::meet(self.marker, known, LEASE_LONGEST, now);
        self.marker = Some(birth);
        let before = self.excess();
        let known_granted = self.known_granted(request);
        let reply = Ledger::exchange(&mut self.ledger, request, &self.limit, birth, now);
        let ledger = self.ledger.as_ref().expect("an exchange leaves a ledger");
        balance(ledger, &reply, &self.limit);
        self.forget_at = now + ledger.lifetime(&self.limit, LEASE_LONGEST, now);

        let claimed = match request {
            Request::Lease(request) => request.granted,
            Request::Spend { .. } | Request::Charge { .. } | Request::Forgive => 0,
        };
        let regained = claimed > known_granted;
        if !self.forgot && !regained {
            let after = self.excess();
            assert!(after <= before, "granted beyond the capacity");
        }
        if self.forgot && birth.emptied == StoreTime::ZERO {
            self.granted_in_oblivion += match *request {
                Request::Spend { cost } if reply.status == Status::Spent => cost,
                _ => reply.granted.saturating_sub(known_granted.max(claimed)),
            };
        }
        (reply, birth)
    }

    /// Loses everything, unnoticed by whoever is connected.
    pub(crate) fn flush(&mut self) {
        self.ledger = None;
        self.marker = None;
        self.forgot = true;
    }

    /// Starts again from what was saved earlier, and knows that it did.
    pub(crate) fn restart_from(&mut self, saved: &Self, now: StoreTime) {
        let found = saved.marker;
        *self = Self {
            marker: found.map(|found| Birth::restarted(found, LEASE_LONGEST, now)),
            forgot: true,
            granted_in_oblivion: self.granted_in_oblivion,
            ..saved.clone()
        };
    }

    /// Since when the store has been, and whether buckets began full then.
    pub(crate) fn marker(&self) -> Option<Birth> {
        self.marker
    }

    /// Tokens granted while the store had forgotten what it knew and nobody had told it.
    pub(crate) fn granted_in_oblivion(&self) -> u64 {
        self.granted_in_oblivion
    }

    /// Level units charged or outstanding beyond the capacity. A grant never makes them more;
    /// only what the store takes back on a replica's word does.
    fn excess(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| {
            let outstanding = ledger.outstanding * self.limit.scale().weight;
            (ledger.meter.level() + outstanding).saturating_sub(self.limit.capacity_level())
        })
    }

    /// Tokens granted to the lease that is asked about, as far as the store knows.
    fn known_granted(&self, request: &Request) -> u64 {
        let (Some(ledger), Request::Lease(request)) = (&self.ledger, request) else {
            return 0;
        };
        let record = ledger.records.get(&request.record);
        record.map_or(0, |record| record.granted)
    }
}

/// Sums are the sums of their parts, and no record gave out more than it had.
fn balance(ledger: &Ledger, reply: &Reply, limit: &Limit) {
    let records = || ledger.records.values();
    for record in records() {
        assert!(record.spent + record.released <= record.granted);
        assert!(ledger.next_expiry <= record.expiry);
        assert!(record.expiry > reply.now, "an ended record is gone");
    }
    let outstanding: u64 = records().map(leasehold_core::Record::outstanding).sum();
    let demand: u64 = records().map(|record| u64::from(record.demand.0)).sum();
    assert_eq!(ledger.outstanding, outstanding);
    assert_eq!(ledger.demand, demand);
    assert_eq!(reply.outstanding, outstanding);
    is_told(ledger, reply, limit);
    assert_eq!(reply.replicas, ledger.records.len() as u64);
    let lives = matches!(reply.status, Status::Leased | Status::Reasserted);
    assert_eq!(lives, reply.expiry > StoreTime::ZERO);
}

/// The free tokens fit and one more does not; all has drained when it was told to, and no sooner.
fn is_told(ledger: &Ledger, reply: &Reply, limit: &Limit) {
    let scale = limit.scale();
    let level = u128::from(ledger.meter.level());
    let units = |tokens: u64| u128::from(tokens) * u128::from(scale.weight);
    let capacity = u128::from(limit.capacity_level());
    let in_use = |free: u64| level + units(ledger.outstanding) + units(free);
    assert!(
        reply.free == 0 || in_use(reply.free) <= capacity,
        "{reply:?} of {ledger:?}"
    );
    assert!(in_use(reply.free + 1) > capacity, "{reply:?} of {ledger:?}");

    let in_use = level + units(ledger.outstanding.min(ledger.ceiling));
    let begun = ledger.meter.at().as_micros() / scale.tick;
    let drained_in = |micros: u64| {
        let ended = (reply.now + Micros(micros)).as_micros() / scale.tick;
        u128::from(ended.saturating_sub(begun)) * u128::from(scale.drain)
    };
    let Micros(full_in) = reply.full_in;
    assert!(drained_in(full_in) >= in_use, "{reply:?} of {ledger:?}");
    let is_first = full_in == 0 || drained_in(full_in - 1) < in_use;
    assert!(
        is_first || ledger.meter.at() > reply.now,
        "{reply:?} of {ledger:?}"
    );
}
