//! The `clients` of a `[[load]]`, as it is written.
//!
//! Retries of requests that come from outside: `clients = { retry = { fixed = { wait = "100ms",
//! times = 10 } } }`. Clients that wait for their answers: `clients = { count = 500, want = "4/s",
//! retry = { retry-after = {} } }`, and then the load has no `offered`.

use std::str::FromStr;

use serde::Deserialize;

use super::retry::Retry;
use crate::units::{Count, PerSecond, Share, Span};

/// Callers, and how they react to their answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientsConfig {
    /// How many clients there are, each with one request at a time. Without it, requests come
    /// from outside.
    pub count: Option<Count>,
    /// How long a client pauses after each request.
    pub think: Option<Think>,
    /// How often a client would like to send, evenly. While it waits for an answer or tries
    /// again it does not, and what it misses so it does not make up for.
    pub want: Option<PerSecond>,
    /// Clients that feel their way: faster all the time, slower on each denial.
    pub aimd: Option<AimdConfig>,
    /// The reaction to a denial.
    pub retry: Retry,
    /// How long after the first try the last one may be.
    pub give_up: Option<Span>,
}

/// How long a client pauses.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Think {
    /// By chance, so long on average.
    Exponential(Span),
    /// Always so long.
    Fixed(Span),
}

/// A rate that grows steadily and falls by a factor on a denial, as TCP's does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AimdConfig {
    /// The rate at first.
    pub start: PerSecond,
    /// The rate that it gains, steadily.
    #[serde(default)]
    pub step: GainConfig,
    /// The share of the rate that is left after a denial.
    #[serde(default = "half")]
    pub factor: Share,
    /// For how long after such a fall the next denials count as the same.
    #[serde(default = "forty_millis")]
    pub rtt: Span,
}

/// How fast a rate grows. Written as `"+1/s per 100ms"`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub struct GainConfig {
    /// By so much,
    pub rate: PerSecond,
    /// in so long.
    pub per: Span,
}

impl ClientsConfig {
    /// How many clients there are; 0 if requests come from outside.
    pub fn population(&self) -> u32 {
        let count = self.count.map_or(0, |count| count.0);
        u32::try_from(count).expect("checked: it is at most ten million")
    }

    /// Whether these clients send by themselves, so that the load offers nothing else.
    pub const fn is_closed(&self) -> bool {
        self.count.is_some()
    }

    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// Names the field and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        let paces = [
            ("think", self.think.is_some()),
            ("want", self.want.is_some()),
            ("aimd", self.aimd.is_some()),
        ];
        let paces = paces.iter().filter(|(_, set)| *set).map(|(name, _)| *name);
        let paces: Vec<&str> = paces.collect();
        match (self.count, paces.as_slice()) {
            (None, []) | (Some(Count(1..=CLIENTS_MAX)), [_]) => {}
            (None, [pace, ..]) => {
                return Err(format!(
                    "`clients.{pace}` is for clients of a fixed number: add `count`"
                ));
            }
            (Some(Count(1..=CLIENTS_MAX)), _) => {
                return Err("`clients.count` needs one of `think`, \
                     `want` and `aimd`: how often a client sends"
                    .to_owned());
            }
            (Some(count), _) => {
                return Err(format!(
                    "`clients.count` is {count}: it must be from 1 to {CLIENTS_MAX}"
                ));
            }
        }
        self.check_pace()?;
        self.retry.check()
    }

    fn check_pace(&self) -> Result<(), String> {
        if let Some(Think::Exponential(Span::ZERO) | Think::Fixed(Span::ZERO)) = self.think {
            return Err(
                "`clients.think` is 0: clients would send without end at one instant".to_owned(),
            );
        }
        if let Some(want) = self.want {
            check_rate("want", want)?;
        }
        let Some(aimd) = &self.aimd else {
            return Ok(());
        };
        check_rate("aimd.start", aimd.start)?;
        if aimd.factor == Share::ALL {
            return Err("`clients.aimd.factor` is 1: a denial would change nothing".to_owned());
        }
        if self.retry != Retry::None {
            return Err(
                "`clients.retry` does not go with `aimd`: a denial slows those clients down \
                 instead; leave it out"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn check_rate(name: &str, rate: PerSecond) -> Result<(), String> {
    if (RATE_MIN..=RATE_MAX).contains(&rate.0) {
        return Ok(());
    }
    Err(format!(
        "`clients.{name}` is {rate}: it must be from {RATE_MIN}/s to {RATE_MAX}/s"
    ))
}

impl Default for GainConfig {
    /// A TCP flow as the literature takes it, at 100 requests per second for a megabit.
    fn default() -> Self {
        Self {
            rate: PerSecond(1.0),
            per: Span::from_millis(100),
        }
    }
}

impl FromStr for GainConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a gain such as `+1/s per 100ms`, above 0");
        let (rate, per) = text.split_once(" per ").ok_or_else(bad)?;
        let rate = rate.trim();
        let rate = rate.strip_prefix('+').unwrap_or(rate);
        let rate: PerSecond = rate.parse().map_err(|_| bad())?;
        let per: Span = per.parse().map_err(|_| bad())?;
        let gains = rate.0 > 0.0 && per > Span::ZERO;
        gains.then_some(Self { rate, per }).ok_or_else(bad)
    }
}

impl TryFrom<String> for GainConfig {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn half() -> Share {
    Share::new(0.5).expect("a half is a share")
}

const fn forty_millis() -> Span {
    Span::from_millis(40)
}

/// More would take gigabytes.
const CLIENTS_MAX: u64 = 10_000_000;

/// Once in four months; slower than that, and the times have no numbers.
const RATE_MIN: f64 = 1e-7;

/// Once in a microsecond, from one client.
const RATE_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ClientsConfig {
        let config: ClientsConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        config
    }

    fn refused(text: &str) -> String {
        match toml::from_str::<ClientsConfig>(text) {
            Ok(config) => config.check().unwrap_err(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn clients_are_read_from_their_table() {
        assert!(!read("").is_closed());
        let open = read("retry = { immediate = { times = 3 } }\ngive-up = \"2s\"");
        assert_eq!(open.retry, Retry::Immediate { times: 3 });
        assert_eq!(open.give_up, Some(Span::from_secs(2)));
        let wanting =
            read("count = 500\nwant = \"4/s\"\nretry = { retry-after = { jitter = \"10%\" } }");
        assert_eq!(wanting.population(), 500);
        assert_eq!(
            wanting.retry,
            Retry::RetryAfter {
                jitter: Share::new(0.1).unwrap(),
                times: u16::MAX
            }
        );
        let think = read("count = 1\nthink = { exponential = \"1s\" }").think;
        assert_eq!(think, Some(Think::Exponential(Span::from_secs(1))));
        let exponential =
            read("retry = { exponential = { base = \"50ms\", cap = \"5s\", times = 8 } }");
        assert!(matches!(
            exponential.retry,
            Retry::Exponential { times: 8, .. }
        ));
    }

    #[test]
    fn an_aimd_client_is_a_tcp_flow_unless_said_otherwise() {
        let flow = read("count = 7\naimd = { start = \"10/s\" }").aimd.unwrap();
        assert_eq!(flow.step, "+1/s per 100ms".parse().unwrap());
        assert_eq!(Some(flow.factor), Share::new(0.5));
        assert_eq!(flow.rtt, Span::from_millis(40));
        let other =
            "aimd = { start = \"1/s\", step = \"+2/s per 1s\", factor = 0.8, rtt = \"1ms\" }";
        let other = read(&format!("count = 7\n{other}")).aimd.unwrap();
        assert_eq!(other.step.rate, PerSecond(2.0));
        assert_eq!(other.step.per, Span::from_secs(1));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        assert!(refused("think = { fixed = \"1s\" }").contains("`clients.think`"));
        assert!(refused("count = 5").contains("one of `think`, `want` and `aimd`"));
        let both = refused("count = 5\nwant = \"1/s\"\nthink = { fixed = \"1s\" }");
        assert!(both.contains("one of"), "{both}");
        assert!(refused("count = 0\nwant = \"1/s\"").contains("from 1 to"));
        assert!(refused("count = \"11M\"\nwant = \"1/s\"").contains("from 1 to"));
        assert!(refused("count = 5\nthink = { fixed = \"0s\" }").contains("`clients.think` is 0"));
        assert!(refused("count = 5\nwant = \"0/s\"").contains("`clients.want`"));
        let start = refused("count = 5\naimd = { start = \"0/s\" }");
        assert!(start.contains("`clients.aimd.start`"), "{start}");
        let factor = refused("count = 5\naimd = { start = \"1/s\", factor = 1 }");
        assert!(factor.contains("`clients.aimd.factor`"), "{factor}");
        let step = refused("count = 5\naimd = { start = \"1/s\", step = \"1 per 100ms\" }");
        assert!(step.contains("+1/s per 100ms"), "{step}");
        assert!("+0/s per 1s".parse::<GainConfig>().is_err());
        assert!("+1/s per 0s".parse::<GainConfig>().is_err());
        let retry =
            refused("count = 5\naimd = { start = \"1/s\" }\nretry = { immediate = { times = 1 } }");
        assert!(retry.contains("leave it out"), "{retry}");
        assert!(refused("retry = \"always\"").contains("`retry-after`"));
    }
}
