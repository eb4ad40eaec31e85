//! The account of one lease: the counts that a replica keeps of it and reports to the store.
//!
//! # Invariant
//!
//! `granted = spent + released + held + pending`, where held tokens are in the cell and pending
//! ones are with requests that may yet be undone. Only tokens that are none of the other three are
//! reported as spent, so a report never claims more than was truly spent; and no count ever
//! shrinks.

use leasehold_cache::Account;
use leasehold_core::{Instant, RecordId, StoreTime};

#[derive(Clone, Debug)]
pub(crate) struct LeaseAccount {
    pub(crate) record: RecordId,
    /// Tokens granted, as far as is known here.
    granted: u64,
    /// Tokens gone unspent: given back, or past their deadline.
    released: u64,
    /// The largest number ever found spent.
    spent: u64,
    /// The part of `spent` that the demand has been told of.
    metered: u64,
    /// The part of `spent` that is in the replica's count.
    counted: u64,
    /// The part of `spent` that the store has confirmed.
    confirmed: u64,
    /// Of `released`, what the store has confirmed.
    confirmed_released: u64,
    /// The store's expiry, on its clock.
    pub(crate) expiry: StoreTime,
    /// When nothing of the lease may be spent any more.
    pub(crate) deadline: Instant,
}

impl LeaseAccount {
    pub(crate) fn open(record: RecordId) -> Self {
        Self {
            record,
            granted: 0,
            released: 0,
            spent: 0,
            metered: 0,
            counted: 0,
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

    /// Notes a grant. Returns how many of its tokens are new.
    ///
    /// A reply is taken whole or not at all. Tokens of one reply and the deadline of another would
    /// be a lease that the store never gave: if the store forgot the longer one in between, the
    /// tokens would be spent beyond the expiry that it knows.
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
    pub(crate) fn spent(&mut self, cell: Account) -> u64 {
        let gone = self.granted - self.released;
        let spent = gone.saturating_sub(u64::from(cell.unspent()));
        self.spent = self.spent.max(spent);
        self.spent
    }

    /// Tokens spent that the demand has not been told of, given what the cell holds.
    pub(crate) fn take_metered(&mut self, cell: Account) -> u64 {
        let spent = self.spent(cell);
        spent - std::mem::replace(&mut self.metered, spent)
    }

    /// Tokens spent that are not in the replica's count, given what the cell holds.
    pub(crate) fn take_counted(&mut self, cell: Account) -> u64 {
        let spent = self.spent(cell);
        spent - std::mem::replace(&mut self.counted, spent)
    }

    /// Notes that the store has heard of these counts.
    pub(crate) fn confirm(&mut self, spent: u64, released: u64) {
        self.confirmed = self.confirmed.max(spent);
        self.confirmed_released = self.confirmed_released.max(released);
    }

    /// Whether the lease has been renewed: the store has heard before of tokens spent of it.
    pub(crate) fn is_renewed(&self) -> bool {
        self.confirmed > 0
    }

    /// Whether the store has heard of every count and nothing is outstanding: the record says
    /// nothing more, and may expire there.
    pub(crate) fn is_settled(&self) -> bool {
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
    use leasehold_cache::{KeyRef, LimitId, OwnedEntry};

    use super::*;

    const NOW: Instant = Instant::ORIGIN;

    fn entry() -> OwnedEntry {
        OwnedEntry::new(KeyRef {
            limit: LimitId(0),
            subject: b"k",
        })
    }

    fn account() -> LeaseAccount {
        LeaseAccount::open(RecordId {
            replica: 1,
            generation: 1,
        })
    }

    #[test]
    fn spent_is_what_is_neither_held_nor_pending_nor_released() {
        let (mut entry, mut account) = (entry(), account());
        let deadline = Instant::from_millis(1000);
        assert_eq!(account.grant(10, StoreTime::from_micros(5), deadline), 10);
        let again = account.grant(10, StoreTime::from_micros(5), deadline);
        assert_eq!(again, 0, "told twice, granted once");
        let older = account.grant(12, StoreTime::from_micros(4), NOW);
        assert_eq!(
            older, 0,
            "a reply with an earlier deadline is not taken at all"
        );
        assert_eq!(account.expiry, StoreTime::from_micros(5));
        entry.deposit(10, deadline, NOW);
        entry.lease.spend(3, NOW).unwrap();
        let held = entry.hold(2, NOW).unwrap();
        assert_eq!(
            account.spent(entry.account(NOW)),
            3,
            "a hold may yet be undone"
        );
        assert!(held.refund());
        assert_eq!(account.spent(entry.account(NOW)), 3);
        let out = entry.withdraw(0, NOW);
        account.release(u64::from(out.live));
        assert_eq!(account.spent(entry.account(NOW)), 3);
        assert_eq!(account.unsettled(), 10);
        account.confirm(3, 7);
        assert!(account.is_settled());
    }
}
