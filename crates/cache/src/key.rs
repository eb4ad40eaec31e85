//! The key that a request names: a limit, and the subject it is applied to.

use core::hash::{Hash, Hasher};

pub use leasehold_core::LimitId;

/// A key, borrowed from whoever asks: one limit applied to one subject. Two limits on the same
/// subject are two keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeyRef<'a> {
    /// The limit that applies.
    pub limit: LimitId,
    /// Whom it applies to: any bytes, for example a user's name or an address.
    pub subject: &'a [u8],
}

impl Hash for KeyRef<'_> {
    /// In two steps, where the derived one takes three: nothing follows a key, so its length says
    /// nothing new.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.subject);
        state.write_u32(self.limit.0);
    }
}

impl<'a> From<(LimitId, &'a [u8])> for KeyRef<'a> {
    fn from((limit, subject): (LimitId, &'a [u8])) -> Self {
        Self { limit, subject }
    }
}

impl<'a> From<(LimitId, &'a str)> for KeyRef<'a> {
    fn from((limit, subject): (LimitId, &'a str)) -> Self {
        Self::from((limit, subject.as_bytes()))
    }
}

impl<'a> From<&'a [u8]> for KeyRef<'a> {
    fn from(subject: &'a [u8]) -> Self {
        Self::from((LimitId::FIRST, subject))
    }
}

impl<'a> From<&'a str> for KeyRef<'a> {
    fn from(subject: &'a str) -> Self {
        Self::from((LimitId::FIRST, subject))
    }
}

impl<'a> From<&'a String> for KeyRef<'a> {
    fn from(subject: &'a String) -> Self {
        Self::from(subject.as_str())
    }
}
