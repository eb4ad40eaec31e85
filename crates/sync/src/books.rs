//! What a replica knows of one lease record at the store: the counts that it reports.
//!
//! # Invariant
//!
//! `granted = spent + released + held + pending`, where held tokens are in the cell and pending
//! ones are with requests that may yet be undone. Only what is none of the other three is
//! reported as spent, so a report never claims more than was truly spent; and no count ever
//! shrinks.

use leasehold_cache::Account;
use leasehold_core::{Instant, RecordId, StoreTime};

#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) record: RecordId,
    /// Tokens granted, as far as is known here.
    granted: u64,
    /// Tokens gone unspent: given back, or past their deadline.
    released: u64,
    /// The largest number ever found spent.
    spent: u64,
    /// Of `spent`, what the store has confirmed.
    confirmed: u64,
    /// Of `released`, what the store has confirmed.
    confirmed_released: u64,
    /// The store's expiry, on its clock.
    pub(crate) expiry: StoreTime,
    /// When nothing of the lease may be spent any more.
    pub(crate) deadline: Instant,
}

impl Books {
    pub(crate) fn open(record: RecordId) -> Self {
        Self {
            record,
            granted: 0,
            released: 0,
            spent: 0,
            confirmed: 0,
            confirmed_released: 0,
            expiry: StoreTime::ZERO,
            deadline: Instant::ORIGIN,
        }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Learns of a grant; returns how many tokens are new.
    ///
    /// A reply is taken whole or not at all. Tokens of one and the deadline of another would be a
    /// lease that the store never gave: if it forgot the longer one in between, they would be
    /// spent beyond the expiry that it knows.
    pub(crate) fn grant(&mut self, granted: u64, expiry: StoreTime, deadline: Instant) -> u64 {
        if granted < self.granted || deadline < self.deadline {
            return 0;
        }
        let new = granted - self.granted;
        self.granted = granted;
        self.expiry = expiry;
        self.deadline = deadline;
        new
    }

    /// Writes off tokens that will never be spent.
    pub(crate) fn release(&mut self, tokens: u64) {
        self.released += tokens;
    }

    /// Tokens spent for good, given what the cell holds.
    pub(crate) fn spent(&mut self, account: Account) -> u64 {
        let gone = self.granted - self.released;
        let spent = gone.saturating_sub(u64::from(account.unspent()));
        self.spent = self.spent.max(spent);
        self.spent
    }

    /// Notes that the store has heard of these counts.
    pub(crate) fn confirm(&mut self, spent: u64, released: u64) {
        self.confirmed = self.confirmed.max(spent);
        self.confirmed_released = self.confirmed_released.max(released);
    }

    /// Whether the store has heard before of tokens spent of this lease: it was asked for, and asked
    /// for again.
    pub(crate) fn are_renewed(&self) -> bool {
        self.confirmed > 0
    }

    /// Whether the store knows all there is to know and nothing is outstanding: the record says
    /// nothing any more, and may expire there unattended.
    pub(crate) fn are_settled(&self) -> bool {
        self.granted == self.confirmed + self.confirmed_released
    }

    /// Tokens not confirmed as spent or released: what the store may charge when the record
    /// expires unheard.
    pub(crate) fn unsettled(&self) -> u64 {
        self.granted - self.confirmed - self.confirmed_released
    }
}

#[cfg(test)]
mod tests {
    use leasehold_cache::{Entry, KeyRef, LimitId};

    use super::*;

    const NOW: Instant = Instant::ORIGIN;

    fn entry() -> Entry {
        Entry::new(KeyRef {
            limit: LimitId(0),
            subject: b"k",
        })
    }

    fn books() -> Books {
        Books::open(RecordId {
            replica: 1,
            generation: 1,
        })
    }

    #[test]
    fn spent_is_what_is_neither_held_nor_pending_nor_released() {
        let (entry, mut books) = (entry(), books());
        let deadline = Instant::from_millis(1000);
        assert_eq!(books.grant(10, StoreTime::from_micros(5), deadline), 10);
        let again = books.grant(10, StoreTime::from_micros(5), deadline);
        assert_eq!(again, 0, "told twice, granted once");
        let older = books.grant(12, StoreTime::from_micros(4), NOW);
        assert_eq!(
            older, 0,
            "a reply with an earlier deadline is not taken at all"
        );
        assert_eq!(books.expiry, StoreTime::from_micros(5));
        entry.lease.deposit(10, deadline, NOW);
        entry.lease.spend(3, NOW).unwrap();
        let held = entry.hold(2, NOW).unwrap();
        assert_eq!(
            books.spent(entry.account(NOW)),
            3,
            "a hold may yet be undone"
        );
        assert!(held.refund());
        assert_eq!(books.spent(entry.account(NOW)), 3);
        let out = entry.lease.withdraw(0, NOW);
        books.release(u64::from(out.live));
        assert_eq!(books.spent(entry.account(NOW)), 3);
        assert_eq!(books.unsettled(), 10);
        books.confirm(3, 7);
        assert!(books.are_settled());
    }
}
