//! Where the tokens of a replica went.

use std::ops::Add;

/// Tokens by what became of them, in all since the start.
///
/// `granted = spent + released + expired + held`, where held tokens are in the cells now or with
/// requests under several limits that are being decided.
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
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            granted: self.granted.saturating_add(other.granted),
            spent: self.spent.saturating_add(other.spent),
            released: self.released.saturating_add(other.released),
            expired: self.expired.saturating_add(other.expired),
        }
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
