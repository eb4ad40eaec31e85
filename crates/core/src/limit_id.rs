//! The number by which keys and verdicts name a limit.

/// A limit's number among those of one limiter, in the order in which they were configured.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LimitId(pub u32);

impl LimitId {
    /// The limit configured first: the one meant where none is named.
    pub const FIRST: Self = Self(0);
}
