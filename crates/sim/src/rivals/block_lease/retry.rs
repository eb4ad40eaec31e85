//! When a replica asks again that was denied a block: the choice on which a naive lease fails.

use std::time::Duration;

use leasehold_core::Limit;
use serde::{Deserialize, Deserializer, de};

use crate::units::Span;

/// When a replica asks again that was denied a block. Written as `"at-once"`, `"block"`, `"fleet"`
/// or a time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Retry {
    /// With the next request: under overload a call is always under way.
    #[default]
    AtOnce,
    /// After the time in which the rate yields a block. The limit is used fully, but calls grow
    /// with the number of replicas.
    Block,
    /// After the time in which the rate yields a block for each replica. There are few calls, but
    /// the bucket overflows while all are away.
    Fleet,
    /// After this time.
    After(Span),
}

impl Retry {
    pub(super) fn pause(self, limit: &Limit, block: u64, replicas: u32) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::Block => limit.time_for(block),
            Self::Fleet => limit.time_for(block.saturating_mul(replicas.into())),
            Self::After(span) => span.as_duration(),
        }
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match &*text {
            "at-once" => Ok(Self::AtOnce),
            "block" => Ok(Self::Block),
            "fleet" => Ok(Self::Fleet),
            span => span.parse().map(Self::After).map_err(|_| {
                de::Error::custom(format!(
                    "`{text}` is not a retry: write \"at-once\", \"block\", \"fleet\" or a time \
                     such as \"50ms\""
                ))
            }),
        }
    }
}
