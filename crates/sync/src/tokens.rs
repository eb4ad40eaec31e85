//! Where the tokens of a replica went.

use std::ops::Add;

use leasehold_cache::LimitId;

/// Tokens by what became of them, in all since the start.
///
/// `granted = spent + released + expired + held`, where held tokens are in the cells now or with
/// requests under several limits that are being decided. Denied tokens are no part of that sum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tokens {
    /// Granted by the store, leased or spent centrally.
    pub granted: u64,
    /// Spent on allowed requests, as far as has been looked.
    pub spent: u64,
    /// Given back.
    pub released: u64,
    /// Not spent by their deadline.
    pub expired: u64,
    /// Asked for by requests that were denied in this process, because the key was known to have no
    /// tokens, as far as has been looked.
    pub denied: u64,
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            granted: self.granted.saturating_add(other.granted),
            spent: self.spent.saturating_add(other.spent),
            released: self.released.saturating_add(other.released),
            expired: self.expired.saturating_add(other.expired),
            denied: self.denied.saturating_add(other.denied),
        }
    }
}

/// Counts of tokens, in all and by limit.
#[derive(Debug)]
pub(crate) struct TokenCounts {
    all: Tokens,
    by_limit: Box<[Tokens]>,
}

/// The counts to which the tokens of one limit are added.
pub(crate) struct TokenCount<'a> {
    all: &'a mut Tokens,
    limit: &'a mut Tokens,
}

impl TokenCounts {
    pub(crate) fn new(limits: usize) -> Self {
        Self {
            all: Tokens::default(),
            by_limit: vec![Tokens::default(); limits].into(),
        }
    }

    pub(crate) fn all(&self) -> Tokens {
        self.all
    }

    pub(crate) fn of(&self, LimitId(index): LimitId) -> Tokens {
        self.by_limit[index as usize]
    }

    pub(crate) fn count(&mut self, LimitId(index): LimitId) -> TokenCount<'_> {
        TokenCount {
            all: &mut self.all,
            limit: &mut self.by_limit[index as usize],
        }
    }
}

impl TokenCount<'_> {
    pub(crate) fn granted(&mut self, tokens: u64) {
        add(&mut self.all.granted, tokens);
        add(&mut self.limit.granted, tokens);
    }

    pub(crate) fn spent(&mut self, tokens: u64) {
        add(&mut self.all.spent, tokens);
        add(&mut self.limit.spent, tokens);
    }

    pub(crate) fn released(&mut self, tokens: u64) {
        add(&mut self.all.released, tokens);
        add(&mut self.limit.released, tokens);
    }

    pub(crate) fn expired(&mut self, tokens: u64) {
        add(&mut self.all.expired, tokens);
        add(&mut self.limit.expired, tokens);
    }

    pub(crate) fn denied(&mut self, tokens: u64) {
        add(&mut self.all.denied, tokens);
        add(&mut self.limit.denied, tokens);
    }
}

/// Adds to a count of tokens. It stays at the end of its range: a store in error may grant what it
/// likes, again and again.
pub(crate) fn add(count: &mut u64, tokens: u64) {
    *count = count.saturating_add(tokens);
}

impl Tokens {
    /// Tokens granted of which nothing has been heard since.
    pub const fn held(&self) -> u64 {
        let gone = (self.spent)
            .saturating_add(self.released)
            .saturating_add(self.expired);
        // Counts read while they change may be a moment apart.
        self.granted.saturating_sub(gone)
    }
}

/// The tokens of a replica by who granted them, and what of its own grants the store has charged.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Granted by the store.
    pub(crate) store: TokenCounts,
    /// Granted by this replica to keys in fallback.
    pub(crate) fallback: TokenCounts,
    /// Tokens spent in fallback that the store has charged since, or that are forgiven.
    pub(crate) charged: u64,
}

impl Counts {
    pub(crate) fn new(limits: usize) -> Self {
        Self {
            store: TokenCounts::new(limits),
            fallback: TokenCounts::new(limits),
            charged: 0,
        }
    }

    /// The counts for a key of a limit, in fallback or not.
    pub(crate) fn of(&mut self, limit: LimitId, is_in_fallback: bool) -> TokenCount<'_> {
        if is_in_fallback {
            self.fallback.count(limit)
        } else {
            self.store.count(limit)
        }
    }

    /// A request was admitted in fallback without a grant.
    pub(crate) fn admit(&mut self, limit: LimitId, tokens: u64) {
        let mut count = self.fallback.count(limit);
        count.granted(tokens);
        count.spent(tokens);
    }

    /// Tokens admitted in fallback that the store has not charged yet.
    pub(crate) fn uncharged(&self) -> u64 {
        self.fallback.all().spent.saturating_sub(self.charged)
    }
}
