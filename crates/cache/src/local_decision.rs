//! A replica's decision without asking the store, and its form in two words.
//!
//! A function returns two words in two registers. More it returns through memory, where it is
//! written in parts and read as a whole, which a processor does not forward: that took longer than
//! the decision.

use leasehold_core::Instant;

/// A replica's decision on a request without asking the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LocalDecision {
    /// Allowed: the tokens are spent.
    Allow {
        /// Tokens left in the lease.
        left: u32,
        /// When the bucket is full again if nothing more is spent, as far as is known here.
        full_at: Instant,
        /// The sync task has a new signal and should be woken.
        wake: bool,
    },
    /// Denied: the lease is short, and so was the store.
    Deny(LocalDenial),
    /// The lease is short, and nothing says whether the store has more.
    Short {
        /// Tokens that are there.
        tokens: u32,
    },
    /// The key is not in the cache.
    Unknown,
}

/// A denial that is known here, of a key that has no tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalDenial {
    /// When asking makes sense again.
    pub until: Instant,
    /// When the bucket is full again if nothing more is spent, as far as is known here.
    pub full_at: Instant,
    /// Whether the key [is in fallback](crate::Entry::is_in_fallback).
    pub is_in_fallback: bool,
}

/// A [`LocalDecision`] in two words, which a function returns in registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PackedDecision {
    /// Tokens or a time, which take the high bits, and what kind of answer it is.
    said: u64,
    full_at: u64,
}

impl PackedDecision {
    /// [`LocalDecision::Unknown`].
    pub(crate) const UNKNOWN: Self = Self {
        said: LACKS | MARKED,
        full_at: 0,
    };

    /// [`LocalDecision::Allow`].
    #[inline]
    pub(crate) fn allow(left: u32, full_at: Instant, wake: bool) -> Self {
        Self {
            said: (u64::from(left) << TOKENS_SHIFT) | (u64::from(wake) * MARKED),
            full_at: full_at.as_nanos(),
        }
    }

    /// [`LocalDecision::Deny`]. The time is cut to whole ticks of 256 ns and to 146 years, which
    /// those of a [`DenialCell`](crate::DenialCell) never exceed.
    #[inline]
    pub(crate) fn deny(denial: &LocalDenial) -> Self {
        let until = denial.until.as_nanos() & UNTIL_MASK;
        Self {
            said: until | (u64::from(denial.is_in_fallback) * MARKED) | DENY,
            full_at: denial.full_at.as_nanos(),
        }
    }

    /// [`LocalDecision::Short`].
    #[inline]
    pub(crate) fn short(tokens: u32) -> Self {
        Self {
            said: (u64::from(tokens) << TOKENS_SHIFT) | LACKS,
            full_at: 0,
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the caller then need not branch on the kind of answer again"
    )]
    pub(crate) fn unpack(self) -> LocalDecision {
        let tokens = (self.said >> TOKENS_SHIFT) as u32;
        let full_at = Instant::from_nanos(self.full_at);
        let is_marked = self.said & MARKED > 0;
        // Tests single bits, the common answers first: a `match` on a number would be compiled to a
        // table of jumps.
        if self.said & (DENY | LACKS) == 0 {
            LocalDecision::Allow {
                left: tokens,
                full_at,
                wake: is_marked,
            }
        } else if self.said & DENY > 0 {
            LocalDecision::Deny(LocalDenial {
                until: Instant::from_nanos(self.said & UNTIL_MASK),
                full_at,
                is_in_fallback: is_marked,
            })
        } else if self.said & MARKED > 0 {
            LocalDecision::Unknown
        } else {
            LocalDecision::Short { tokens }
        }
    }
}

/// A denial. Without this bit and the next, the request is allowed.
const DENY: u64 = 1;
/// The request lacks tokens.
const LACKS: u64 = 1 << 1;

/// Marks an answer. Allowed: the task is to be woken. Denied: the key is in fallback. Lacking
/// tokens: the key is not known.
const MARKED: u64 = 1 << 2;

const TOKENS_SHIFT: u32 = 32;
/// Two bits below the top, so that the compiler knows of a time that is unpacked that nothing which
/// is added to it overflows.
const UNTIL_MASK: u64 = 0x3fff_ffff_ffff_ff00;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let (until, full_at) = (Instant::from_nanos(77 << 20), Instant::from_nanos(12_345));
        for is in [false, true] {
            for tokens in [0, 1, 1 << 24, u32::MAX] {
                let (left, wake) = (tokens, is);
                let allowed = LocalDecision::Allow {
                    left,
                    full_at,
                    wake,
                };
                assert_eq!(PackedDecision::allow(tokens, full_at, is).unpack(), allowed);
                assert_eq!(
                    PackedDecision::short(tokens).unpack(),
                    LocalDecision::Short { tokens }
                );
            }
            for until in [until, Instant::ORIGIN, Instant::from_nanos(UNTIL_MASK)] {
                let denial = LocalDenial {
                    until,
                    full_at,
                    is_in_fallback: is,
                };
                assert_eq!(
                    PackedDecision::deny(&denial).unpack(),
                    LocalDecision::Deny(denial)
                );
            }
        }
        assert_eq!(PackedDecision::UNKNOWN.unpack(), LocalDecision::Unknown);
    }

    #[test]
    fn a_denial_ends_early_rather_than_late() {
        let denial = LocalDenial {
            until: Instant::FAR_FUTURE,
            full_at: Instant::FAR_FUTURE,
            is_in_fallback: false,
        };
        let LocalDecision::Deny(told) = PackedDecision::deny(&denial).unpack() else {
            panic!("it is a denial");
        };
        assert_eq!(told.full_at, denial.full_at);
        assert!(told.until < denial.until);
    }
}
