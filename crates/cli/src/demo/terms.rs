//! On what terms a replica works, where a demo would take the defaults: how it is set up and what
//! is looked at besides, when faults are tried on it.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use leasehold::{Builder, FailurePolicy, Tuning};
use leasehold_redis::Settings;
use serde::{Deserialize, Serialize};

/// The terms of a replica: settings beyond those of a demo.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Terms {
    /// See [`Tuning`].
    pub(crate) backoff_max: Duration,
    pub(crate) lease_max: Duration,
    /// The longest that a request may wait.
    pub(crate) budget: Duration,
    /// The longest delay before the store is connected to again, if not the default.
    pub(crate) reconnect_max: Option<Duration>,
    /// The replica that also asks without waiting, and measures how long that takes.
    pub(crate) probed: Option<u32>,
}

/// A failure policy, as it travels and is shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// Deny.
    Closed,
    /// Admit this replica's part of the limit.
    Local,
    /// Admit everything.
    Open,
}

impl Terms {
    /// Puts a limiter under the terms.
    pub(crate) fn apply(&self, builder: Builder, replicas: u32) -> Builder {
        builder.tuning(self.tuning(replicas)).budget(self.budget)
    }

    pub(crate) fn tuning(&self, replicas: u32) -> Tuning {
        let mut tuning = Tuning::default();
        tuning.backoff_max = self.backoff_max;
        tuning.lease_max = self.lease_max;
        tuning.max_replicas = NonZeroU32::new(replicas);
        tuning
    }

    pub(crate) fn settings(&self, mut settings: Settings) -> Settings {
        if let Some(longest) = self.reconnect_max {
            settings.backoff_max = longest;
        }
        settings
    }
}

impl Policy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Local => "local",
            Self::Open => "open",
        }
    }

    pub(crate) const fn of_limiter(self) -> FailurePolicy {
        match self {
            Self::Closed => FailurePolicy::Closed,
            Self::Local => FailurePolicy::Local,
            Self::Open => FailurePolicy::Open,
        }
    }
}
