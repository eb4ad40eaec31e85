//! The tuning of the limiter, as scenarios write it: what is left out keeps its default.

use std::fmt;
use std::num::NonZeroU32;

use leasehold_sync::{Tuning, TuningError};
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// As [`Tuning`], each field optional.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each is the field of `Tuning` of the same name"
)]
pub struct TuningConfig {
    pub interval_min: Option<Span>,
    pub interval_small: Option<Span>,
    pub interval_max: Option<Span>,
    pub hold_max: Option<Span>,
    pub backoff_max: Option<Span>,
    pub lease_min: Option<Span>,
    pub lease_max: Option<Span>,
    pub lease_pays: Option<f64>,
    pub call_gap: Option<Span>,
    pub ask_gap: Option<Span>,
    pub batch_keys: Option<usize>,
    pub batches_in_flight: Option<usize>,
    pub max_replicas: Option<NonZeroU32>,
    pub idle_after: Option<Span>,
}

impl TuningConfig {
    /// The tuning, with defaults where nothing is said.
    pub fn tuning(&self) -> Tuning {
        let mut tuning = Tuning::default();
        let spans = [
            (&mut tuning.interval_min, self.interval_min),
            (&mut tuning.interval_small, self.interval_small),
            (&mut tuning.interval_max, self.interval_max),
            (&mut tuning.hold_max, self.hold_max),
            (&mut tuning.backoff_max, self.backoff_max),
            (&mut tuning.lease_min, self.lease_min),
            (&mut tuning.lease_max, self.lease_max),
            (&mut tuning.call_gap, self.call_gap),
            (&mut tuning.ask_gap, self.ask_gap),
            (&mut tuning.idle_after, self.idle_after),
        ];
        for (field, span) in spans {
            *field = span.map_or(*field, Span::as_duration);
        }
        tuning.lease_pays = self.lease_pays.unwrap_or(tuning.lease_pays);
        tuning.batch_keys = self.batch_keys.unwrap_or(tuning.batch_keys);
        let in_flight = self.batches_in_flight;
        tuning.batches_in_flight = in_flight.unwrap_or(tuning.batches_in_flight);
        tuning.max_replicas = self.max_replicas.or(tuning.max_replicas);
        tuning
    }

    /// Refuses a tuning that a limiter cannot work with.
    pub(crate) fn check(&self) -> Result<(), String> {
        // Scenarios write with dashes what is written with underscores in Rust.
        let say = |error: TuningError| format!("[tuning] {}", error.to_string().replace('_', "-"));
        self.tuning().check().map_err(say)
    }
}

impl fmt::Display for TuningConfig {
    /// The table to paste into a scenario.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = toml::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "[tuning]\n{fields}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_keeps_its_default_and_what_is_said_comes_back() {
        assert_eq!(TuningConfig::default().tuning(), Tuning::default());
        let text = "interval-max = \"50ms\"\nlease-pays = 2.0\nbatch-keys = 7";
        let config: TuningConfig = toml::from_str(text).unwrap();
        let tuning = config.tuning();
        assert_eq!(tuning.interval_max.as_millis(), 50);
        assert_eq!(tuning.batch_keys, 7);
        assert_eq!(tuning.hold_max, Tuning::default().hold_max);
        let table: toml::Table = toml::from_str(&config.to_string()).unwrap();
        let again: TuningConfig = table["tuning"].clone().try_into().unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn what_no_limiter_can_work_with_is_refused() {
        let check = |text: &str| toml::from_str::<TuningConfig>(text).unwrap().check();
        assert!(check("").is_ok());
        assert!(check("interval-min = \"0s\"").is_err());
        assert!(
            check("interval-max = \"1ms\"")
                .unwrap_err()
                .contains("interval-max")
        );
        assert!(check("batch-keys = 0").is_err());
        assert!(check("lease-min = \"9s\"").is_err());
        assert!(
            check("backoff-max = \"9s\"")
                .unwrap_err()
                .contains("`lease-max`")
        );
        assert!(check("lease-pays = nan").is_err());
        assert!(toml::from_str::<TuningConfig>("intervall = 1").is_err());
    }
}
