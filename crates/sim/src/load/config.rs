//! One `[[load]]` table of a scenario.
//!
//! # Invariant
//!
//! A configuration that [`LoadConfig::check`] lets pass can be run: every rate is finite, every
//! mean and every period above 0, and the steps are in order.

use serde::Deserialize;

use super::cost::CostConfig;
use crate::clients::ClientsConfig;
use crate::keys::KeysConfig;
use crate::trace::TraceConfig;
use crate::units::{Count, PerSecond, Share, Span};

/// Requests that come whatever becomes of the earlier ones.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoadConfig {
    /// Requests per time, to all replicas together, as a mean: before what `steps`, `ramp`,
    /// `flash` and `diurnal` make of it. May be absent if `arrivals` say it, or if there is only
    /// a `spike`.
    pub offered: Option<PerSecond>,
    /// The law of their gaps.
    pub arrivals: ArrivalsConfig,
    /// Other values of `offered`, each from a time on.
    pub steps: Vec<StepConfig>,
    /// A rise that stays.
    pub ramp: Option<RampConfig>,
    /// A rise that passes.
    pub flash: Option<FlashConfig>,
    /// Day and night.
    pub diurnal: Option<DiurnalConfig>,
    /// Many at once, again and again, besides the others.
    pub spike: Option<SpikeConfig>,
    /// When the load begins.
    pub from: Span,
    /// When it is over; if absent, with the run.
    pub until: Option<Span>,
    /// The cost of requests; if absent 1, or what a trace says.
    pub cost: Option<CostConfig>,
    /// Which keys they are for.
    pub keys: KeysConfig,
    /// The one replica that they all go to; if absent, the balancer decides.
    pub replica: Option<u32>,
    /// The callers who react to their answers; without them, nobody reacts.
    pub clients: Option<ClientsConfig>,
}

/// The law of the gaps between requests.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ArrivalsConfig {
    /// All alike. The first comes after half a gap, so that whole gaps have one request each.
    Even,
    /// As from very many users who know nothing of each other.
    #[default]
    Poisson,
    /// Bursts or regularity, by one number.
    Gamma(GammaConfig),
    /// Poisson at a rate that jumps between states, in the order written, over and over. Without
    /// `offered` the rates are as written, with it they are scaled to that mean.
    Mmpp(Vec<StateConfig>),
    /// Poisson at a rate in proportion to how many of some sources are on. Times on and off have
    /// heavy tails, so that there are bursts at every scale of time.
    OnOff(OnOffConfig),
    /// As recorded. Times, keys and costs are those of the trace.
    Trace(TraceConfig),
}

/// Gaps by a gamma law.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GammaConfig {
    /// The standard deviation of gaps over their mean. At 1 it is Poisson, below more regular,
    /// above more bursty.
    pub cv: f64,
}

/// A state of arrivals whose rate jumps.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StateConfig {
    /// The rate in this state.
    pub rate: PerSecond,
    /// How long it lasts in the mean; the law is exponential.
    pub mean: Span,
}

/// Sources that are on and off.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OnOffConfig {
    /// The exponent of the tail of times on and off, above 1. Below 2 the variance is infinite;
    /// measured traffic has 1.2 to 1.6.
    pub alpha: f64,
    /// How many there are. The fewer, the burstier.
    pub sources: Count,
    /// How long one is on in the mean.
    pub on: Span,
    /// How long one is off in the mean.
    pub off: Span,
}

/// A new value of `offered`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepConfig {
    /// From when.
    pub at: Span,
    /// The value.
    pub offered: PerSecond,
}

/// A rise that stays.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RampConfig {
    /// When it begins.
    pub at: Span,
    /// To how many times the rate; below 1 it is a fall.
    pub times: f64,
    /// How long it takes; the rise is linear.
    pub rise: Span,
}

/// A rise that passes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FlashConfig {
    /// When it begins.
    pub at: Span,
    /// To how many times the rate; below 1 it is a lull.
    pub times: f64,
    /// How long it takes; the rise is linear. If absent, none.
    #[serde(default)]
    pub rise: Span,
    /// How long it stays there.
    #[serde(default)]
    pub hold: Span,
    /// In what time the excess then falls to 37 %, again and again.
    #[serde(default)]
    pub fall: Span,
}

/// Day and night. The mean over a day is `offered`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiurnalConfig {
    /// A day. A run begins at night.
    pub period: Span,
    /// The rate in the depth of the night, as a share of the mean. At noon it is as much above
    /// the mean as it is below it then.
    pub low: Share,
}

/// Many at once, again and again: `at` 0, `every`, twice `every`, …
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SpikeConfig {
    /// How often.
    pub every: Span,
    /// How many requests.
    pub requests: Count,
    /// The time in which they come, each at any moment. If absent, all in the same nanosecond.
    #[serde(default)]
    pub within: Span,
}

impl LoadConfig {
    /// The trace that this load replays, if it does. Its `path` is to be among the
    /// [`Traces`](super::Traces).
    pub const fn trace(&self) -> Option<&TraceConfig> {
        match &self.arrivals {
            ArrivalsConfig::Trace(trace) => Some(trace),
            _ => None,
        }
    }

    /// When the offered load changes by plan, in no order.
    pub fn change_points(&self) -> Vec<u64> {
        let mut points = vec![self.from.0];
        points.extend(self.until.map(|until| until.0));
        points.extend(self.steps.iter().map(|step| step.at.0));
        if let Some(RampConfig { at, rise, .. }) = self.ramp {
            points.extend([at.0, at.0.saturating_add(rise.0)]);
        }
        if let Some(FlashConfig { at, rise, hold, .. }) = self.flash {
            let top = at.0.saturating_add(rise.0);
            points.extend([at.0, top, top.saturating_add(hold.0)]);
        }
        points
    }

    /// Finds what no field can say by itself.
    ///
    /// # Errors
    ///
    /// A message that names the field and the mend.
    pub fn check(&self, duration: Span) -> Result<(), String> {
        if self.until.is_some_and(|until| until <= self.from) {
            return Err("`until` must be later than `from`".into());
        }
        self.keys.check(duration)?;
        self.cost.unwrap_or_default().check()?;
        if let Some(clients) = &self.clients {
            clients.check()?;
            if self.is_closed() && self.mean().is_some() {
                return Err(
                    "`offered` and `clients.count` exclude each other: requests come at a \
                            rate, or as clients send them"
                        .into(),
                );
            }
        }
        match self.trace() {
            Some(trace) => {
                trace.check()?;
                self.check_nothing_but_the_trace()
            }
            None => self.check_rates(),
        }
    }

    /// The mean rate per second, before any shape; `None` if there is none.
    pub(super) fn mean(&self) -> Option<f64> {
        let own = match &self.arrivals {
            ArrivalsConfig::Mmpp(states) => Some(mean_of(states)),
            _ => None,
        };
        self.offered.map(|offered| offered.0).or(own)
    }

    fn check_rates(&self) -> Result<(), String> {
        self.arrivals.check()?;
        match self.mean() {
            Some(mean) => check_rate("offered", mean)?,
            None if self.is_closed() && self.is_shaped() => {
                return Err(
                    "`steps`, `ramp`, `flash`, `diurnal` and `arrivals` shape requests that \
                            come at a rate, not those of `clients.count`"
                        .into(),
                );
            }
            None if self.is_closed() => {}
            None if self.spike.is_none() => {
                return Err("`offered` is missing: say how many requests come, such as \
                            `offered = \"1000/s\"`"
                    .into());
            }
            None if self.is_shaped() => {
                return Err(
                    "`offered` is missing, without which `steps`, `ramp`, `flash`, \
                            `diurnal` and `arrivals` mean nothing"
                        .into(),
                );
            }
            None => {}
        }
        self.check_shape()?;
        self.spike.map_or(Ok(()), |spike| spike.check())
    }

    /// Whether only clients send, who wait for their answers.
    fn is_closed(&self) -> bool {
        self.clients.as_ref().is_some_and(ClientsConfig::is_closed)
    }

    fn is_shaped(&self) -> bool {
        !self.steps.is_empty()
            || self.ramp.is_some()
            || self.flash.is_some()
            || self.diurnal.is_some()
            || self.arrivals != ArrivalsConfig::default()
    }

    fn check_shape(&self) -> Result<(), String> {
        if !self.steps.is_sorted_by(|one, next| one.at < next.at) {
            return Err("`steps` must be in order of `at`, each later than the one before".into());
        }
        for step in &self.steps {
            check_rate("steps.offered", step.offered.0)?;
        }
        let ramp = self.ramp.map(|ramp| ("ramp.times", ramp.times));
        let flash = self.flash.map(|flash| ("flash.times", flash.times));
        for (field, times) in ramp.into_iter().chain(flash) {
            if !(0.0..=TIMES_MAX).contains(&times) {
                return Err(format!(
                    "`{field}` must be from 0 to {TIMES_MAX}, such as 15"
                ));
            }
        }
        if self
            .diurnal
            .is_some_and(|diurnal| diurnal.period < PERIOD_MIN)
        {
            return Err(format!("`diurnal.period` must be at least {PERIOD_MIN}"));
        }
        Ok(())
    }

    fn check_nothing_but_the_trace(&self) -> Result<(), String> {
        let keys = KeysConfig {
            first: self.keys.first,
            ..KeysConfig::default()
        };
        for (field, is_set) in [
            ("offered", self.offered.is_some()),
            ("steps", !self.steps.is_empty()),
            ("ramp", self.ramp.is_some()),
            ("flash", self.flash.is_some()),
            ("diurnal", self.diurnal.is_some()),
            ("spike", self.spike.is_some()),
            ("cost", self.cost.is_some()),
            ("keys", self.keys != keys),
        ] {
            if is_set {
                return Err(format!(
                    "`{field}` does not go with a trace, which has its own times, keys and costs \
                     (`keys.first` does): remove it, or put it into another load"
                ));
            }
        }
        Ok(())
    }
}

impl ArrivalsConfig {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Gamma(GammaConfig { cv }) if !(CV_MIN..=CV_MAX).contains(cv) => Err(format!(
                "`arrivals.gamma.cv` must be from {CV_MIN} to {CV_MAX}; for no variation at all, \
                 `arrivals = \"even\"`"
            )),
            Self::Even | Self::Poisson | Self::Gamma(_) | Self::Trace(_) => Ok(()),
            Self::Mmpp(states) => check_states(states),
            Self::OnOff(on_off) => on_off.check(),
        }
    }
}

impl OnOffConfig {
    fn check(&self) -> Result<(), String> {
        if !(ALPHA_MIN..=ALPHA_MAX).contains(&self.alpha) {
            return Err(format!(
                "`arrivals.on-off.alpha` must be from {ALPHA_MIN} to {ALPHA_MAX}, such as 1.4"
            ));
        }
        if !(1..=SOURCES_MAX).contains(&self.sources.0) {
            return Err(format!(
                "`arrivals.on-off.sources` must be from 1 to {SOURCES_MAX}, such as 20"
            ));
        }
        for (field, mean) in [("on", self.on), ("off", self.off)] {
            if mean < MEAN_MIN {
                return Err(format!(
                    "`arrivals.on-off.{field}` must be at least {MEAN_MIN}"
                ));
            }
        }
        Ok(())
    }
}

impl SpikeConfig {
    fn check(&self) -> Result<(), String> {
        if self.every == Span::ZERO {
            return Err("`spike.every` is 0: say how often it comes".into());
        }
        if !(1..=u64::from(u32::MAX)).contains(&self.requests.0) {
            return Err(format!("`spike.requests` must be from 1 to {}", u32::MAX));
        }
        if self.within > self.every {
            return Err("`spike.within` must not be longer than `spike.every`".into());
        }
        Ok(())
    }
}

fn check_states(states: &[StateConfig]) -> Result<(), String> {
    if states.is_empty() {
        return Err("`arrivals.mmpp` has no state: give at least one, such as \
                    `{ rate = \"3000/s\", mean = \"200ms\" }`"
            .into());
    }
    for state in states {
        check_rate("arrivals.mmpp.rate", state.rate.0)?;
        if state.mean < MEAN_MIN {
            return Err(format!("`arrivals.mmpp.mean` must be at least {MEAN_MIN}"));
        }
    }
    if mean_of(states) == 0.0 {
        return Err("`arrivals.mmpp` has no state with a rate above 0".into());
    }
    Ok(())
}

/// The mean rate over all time.
pub(super) fn mean_of(states: &[StateConfig]) -> f64 {
    let time: f64 = states.iter().map(|state| state.mean.as_secs_f64()).sum();
    let weigh = |state: &StateConfig| state.rate.0 * (state.mean.as_secs_f64() / time);
    states.iter().map(weigh).sum()
}

fn check_rate(field: &str, per_second: f64) -> Result<(), String> {
    if (0.0..=RATE_MAX).contains(&per_second) {
        Ok(())
    } else {
        Err(format!(
            "`{field}` must be at most 1000M/s: time is counted in nanoseconds"
        ))
    }
}

/// Per second: one a nanosecond.
const RATE_MAX: f64 = 1e9;

/// The largest factor of a surge, beyond any that was ever seen.
const TIMES_MAX: f64 = 1e6;

/// Shapes are cut into cells of at least a microsecond, a thousand a period.
const PERIOD_MIN: Span = Span::from_millis(1);

/// Shorter states are many more than requests, and only cost time.
const MEAN_MIN: Span = Span::from_micros(1);

const CV_MIN: f64 = 0.01;
const CV_MAX: f64 = 30.0;

/// At 1 the mean is infinite.
const ALPHA_MIN: f64 = 1.05;
const ALPHA_MAX: f64 = 20.0;

const SOURCES_MAX: u64 = 100_000;
