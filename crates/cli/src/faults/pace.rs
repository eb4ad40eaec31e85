//! How long the parts of a row take, and how many replicas it has.

use std::time::Duration;

/// How long the parts of a row take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) warm_up: Duration,
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) quick: bool,
}

impl Pace {
    pub(crate) const fn new(quick: bool) -> Self {
        if quick {
            Self {
                warm_up: Duration::from_millis(500),
                before: Duration::from_secs(1),
                after: Duration::from_secs(3),
                quick,
            }
        } else {
            Self {
                warm_up: Duration::from_secs(1),
                before: Duration::from_millis(2500),
                after: Duration::from_secs(4),
                quick,
            }
        }
    }
}

/// Processes that share the limit of a row.
pub(crate) const REPLICAS: u32 = 4;
