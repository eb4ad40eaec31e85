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
            granted: self.granted + other.granted,
            spent: self.spent + other.spent,
            released: self.released + other.released,
            expired: self.expired + other.expired,
        }
    }
}

impl Tokens {
    /// Tokens granted of which nothing has been heard since.
    pub const fn held(&self) -> u64 {
        let gone = self.spent + self.released + self.expired;
        // Counts read while they change may be a moment apart.
        self.granted.saturating_sub(gone)
    }
}
