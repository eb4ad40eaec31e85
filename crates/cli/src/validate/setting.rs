//! A setting, as data: it is run for real and then predicted.
//!
//! # Invariant
//!
//! A setting that was read can be run and judged. Fields that nobody knows are refused.

use std::path::Path;
use std::time::Duration;

use leasehold::Limit;
use leasehold_sim::scenario::with_proposal;
use leasehold_sim::units::{PerSecond, Span};
use serde::Deserialize;

use super::error::ValidateError;
use crate::demo::plan::{Plan, prefix};
use crate::demo::terms::Policy;
use crate::limit_arguments::judged_limit;

/// One key space under one limit, shared by some replicas.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Setting {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    /// The setting's title, in one line.
    pub(crate) title: String,
    pub(crate) limit: Limit,
    pub(crate) replicas: u32,
    /// Requests to all replicas together; their gaps are exponential.
    pub(crate) offered: PerSecond,
    /// Part of them that goes to the first replica; if absent, as much as to any other.
    #[serde(default)]
    pub(crate) skew: Option<f64>,
    /// Keys that requests choose from.
    #[serde(default = "one")]
    pub(crate) keys: u32,
    /// How unevenly: the exponent of a Zipf distribution.
    #[serde(default = "almost_one")]
    pub(crate) zipf: f64,
    /// How long requests come.
    pub(crate) duration: Span,
}

impl Setting {
    /// The settings that are compared unless others are named.
    pub(crate) fn built_in() -> Vec<Self> {
        let parse = |(name, text)| Self::parse(Path::new(name), text);
        let settings: Result<_, ValidateError> = BUILT_IN.into_iter().map(parse).collect();
        settings.unwrap_or_else(|error| panic!("ours are sound: {error}"))
    }

    /// Reads a setting from the text of a file.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ValidateError> {
        let error = |message: String| ValidateError::Setting {
            file: file.to_owned(),
            message: message.trim_end().to_owned(),
        };
        let mut setting: Self =
            toml::from_str(text).map_err(|it| error(with_proposal(&it.to_string(), &[])))?;
        let stem = file.file_stem().unwrap_or_default();
        setting.name = stem.to_string_lossy().into_owned();
        setting.check().map_err(error)?;
        Ok(setting)
    }

    fn check(&self) -> Result<(), String> {
        judged_limit(&self.limit).map_err(|error| format!("`limit` cannot be judged: {error}"))?;
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(format!("`replicas` must be from 1 to {REPLICAS_MAX}"));
        }
        if self.keys == 0 {
            return Err("`keys` is 0, but a request is for some key: at least 1".to_owned());
        }
        if !(0.0..=ZIPF_MAX).contains(&self.zipf) {
            return Err(format!("`zipf` must be from 0 to {ZIPF_MAX}, such as 0.99"));
        }
        if self.skew.is_some_and(|skew| !(0.0..=1.0).contains(&skew)) {
            return Err("`skew` must be from 0 to 1, such as 0.8".to_owned());
        }
        if self.duration < SHORTEST {
            return Err(format!("`duration` must be at least {SHORTEST}"));
        }
        let requests = self.offered.0 * self.duration.as_secs_f64();
        if !(REQUESTS_MIN..=REQUESTS_MAX).contains(&requests) {
            return Err(format!(
                "`offered` for `duration` makes {requests:.0} requests: from {REQUESTS_MIN} to \
                 {REQUESTS_MAX} can be compared"
            ));
        }
        Ok(())
    }

    /// A shorter setting for `--quick`, with everything else as it is.
    pub(crate) fn shortened(self) -> Self {
        let duration = self.duration.min(QUICK);
        Self { duration, ..self }
    }

    /// The plan that the processes of the replicas are given.
    pub(crate) fn plan(&self, redis: &str, seed: u64) -> Plan {
        Plan {
            replicas: self.replicas,
            limit: self.limit,
            offered: self.offered.0,
            skew: self.skew.unwrap_or(1.0 / f64::from(self.replicas)),
            keys: self.keys,
            zipf: self.zipf,
            duration: self.duration.as_duration(),
            store_latency: Duration::ZERO,
            seed,
            redis: Some(redis.to_owned()),
            processes: true,
            central: false,
            timed: true,
            prefix: prefix(),
            policy: Policy::Closed,
            terms: None,
        }
    }
}

const fn one() -> u32 {
    1
}

const fn almost_one() -> f64 {
    0.99
}

const BUILT_IN: [(&str, &str); 3] = [
    ("overload", include_str!("settings/overload.toml")),
    ("below-limit", include_str!("settings/below-limit.toml")),
    ("many-keys", include_str!("settings/many-keys.toml")),
];

/// More processes than any machine of one's own has cores to spare for.
const REPLICAS_MAX: u32 = 64;

/// As on the command line of the demo.
const ZIPF_MAX: f64 = 10.0;

/// Shorter runs show nothing but their start.
const SHORTEST: Span = Span::from_secs(1);

/// The duration of a quick run.
const QUICK: Span = Span::from_secs(3);

/// Fewer say nothing; more do not fit into the memory of a small machine.
const REQUESTS_MIN: f64 = 100.0;
const REQUESTS_MAX: f64 = 10e6;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "title = \"t\"\nlimit = \"10/s\"\nreplicas = 2\noffered = \"50/s\"\n";

    fn parse(more: &str) -> Result<Setting, String> {
        let text = format!("{SMALL}{more}");
        Setting::parse(Path::new("dir/small.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn those_that_are_built_in_are_sound() {
        let names: Vec<String> = Setting::built_in().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["overload", "below-limit", "many-keys"]);
    }

    #[test]
    fn a_plan_says_what_the_setting_says() {
        let setting = parse("duration = \"5s\"\nkeys = 7").unwrap();
        assert_eq!(setting.name, "small");
        let plan = setting.plan("redis://somewhere", 3);
        assert_eq!((plan.replicas, plan.keys, plan.seed), (2, 7, 3));
        assert_eq!(plan.offered_to(0).to_bits(), plan.offered_to(1).to_bits());
        assert!(plan.timed && plan.processes && !plan.central);
        let quick = setting.shortened();
        assert_eq!(quick.duration, QUICK);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_mend() {
        let error = |more: &str| parse(more).unwrap_err();
        assert!(error("").starts_with("dir/small.toml: "), "{}", error(""));
        assert!(error("duration = \"0.5s\"").contains("at least 1s"));
        assert!(error("duration = \"1s\"").contains("50 requests"));
        let five = |more: &str| error(&format!("duration = \"5s\"\n{more}"));
        assert!(five("keys = 0").contains("at least 1"));
        assert!(five("zipf = 11.0").contains("0 to 10"));
        assert!(five("skew = 1.5").contains("0 to 1"));
        assert!(five("replica = 1").ends_with("did you mean `replicas`?"));
    }
}
