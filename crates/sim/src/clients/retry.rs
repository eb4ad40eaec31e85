//! When a request that was denied is tried again.

use leasehold_core::backoff;
use rand::RngExt;
use serde::Deserialize;

use crate::numbers::{float, whole};
use crate::stream::Stream;
use crate::units::{Share, Span};

/// The reaction to a denial. `times` is the number of tries after the first.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Retry {
    /// Nothing.
    #[default]
    None,
    /// A retry at once.
    Immediate {
        /// The most retries.
        times: u16,
    },
    /// A retry after a fixed time.
    Fixed {
        /// The time from the answer to the retry.
        wait: Span,
        /// The most retries.
        times: u16,
    },
    /// After a time by chance, from none to a bound that doubles with each try ("full jitter").
    Exponential {
        /// The bound at first.
        base: Span,
        /// The highest bound.
        cap: Span,
        /// The most retries.
        times: u16,
    },
    /// When the answer says, and never again if it says that no time will help.
    RetryAfter {
        /// By chance later by up to this part of the time: never earlier, and exactly on time
        /// if it is 0.
        #[serde(default)]
        jitter: Share,
        /// The most retries.
        #[serde(default = "without_end")]
        times: u16,
    },
}

impl Retry {
    /// Refuses what cannot be.
    pub(super) fn check(self) -> Result<(), String> {
        match self {
            Self::Exponential { base, cap, .. } if base > cap => Err(format!(
                "`clients.retry.exponential.base` is {base}, above `cap`, {cap}: the first bound \
                 must not exceed the last"
            )),
            Self::Exponential { base, .. } if base == Span::ZERO => Err(
                "`clients.retry.exponential.base` is 0 and would stay so: write `immediate`"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// How long after its denial a request that was retried `retries` times is tried again, if it
    /// is. `advice_ns` comes with the denial.
    pub(super) fn wait(
        self,
        retries: u16,
        advice_ns: Option<u64>,
        chance: &mut Stream,
    ) -> Option<u64> {
        if retries >= self.times() {
            return None;
        }
        match self {
            Self::None => None,
            Self::Immediate { .. } => Some(0),
            Self::Fixed { wait, .. } => Some(wait.0),
            Self::Exponential { base, cap, .. } => {
                let bound = backoff(base.as_duration(), cap.as_duration(), retries.into());
                Some(chance.random_range(0..=Span::from(bound).0))
            }
            Self::RetryAfter { jitter, .. } => {
                let advice_ns = advice_ns?;
                Some(advice_ns.saturating_add(part(advice_ns, jitter, chance)))
            }
        }
    }

    const fn times(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Immediate { times }
            | Self::Fixed { times, .. }
            | Self::Exponential { times, .. }
            | Self::RetryAfter { times, .. } => times,
        }
    }
}

/// By chance, up to a share of a time.
fn part(time_ns: u64, share: Share, chance: &mut Stream) -> u64 {
    if share == Share::NONE {
        return 0;
    }
    let most = whole(float(time_ns) * share.get());
    chance.random_range(0..=most)
}

const fn without_end() -> u16 {
    u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;

    const MILLI: u64 = 1_000_000;

    fn waits(retry: Retry, retries: u16, advice_ns: Option<u64>) -> Vec<Option<u64>> {
        let mut chance = stream(1, "test", 0);
        let draws = (0..2000).map(|_| retry.wait(retries, advice_ns, &mut chance));
        draws.collect()
    }

    fn wait(retry: Retry, retries: u16, advice_ns: Option<u64>) -> Option<u64> {
        waits(retry, retries, advice_ns)[0]
    }

    #[test]
    fn a_request_is_tried_as_often_as_was_said() {
        let wait_span = Span::from_millis(100);
        let base = Span::from_millis(50);
        let policies = [
            Retry::Immediate { times: 3 },
            Retry::Fixed {
                wait: wait_span,
                times: 3,
            },
            Retry::Exponential {
                base,
                cap: base,
                times: 3,
            },
            Retry::RetryAfter {
                jitter: Share::NONE,
                times: 3,
            },
        ];
        for retry in policies {
            assert!(wait(retry, 2, Some(1)).is_some(), "{retry:?}");
            assert_eq!(wait(retry, 3, Some(1)), None, "{retry:?}");
        }
        assert_eq!(wait(Retry::None, 0, Some(1)), None);
        assert_eq!(wait(policies[0], 0, None), Some(0));
        assert_eq!(wait(policies[1], 0, None), Some(100 * MILLI));
    }

    #[test]
    fn backoff_has_full_jitter_below_a_bound_that_doubles_up_to_its_cap() {
        let retry = Retry::Exponential {
            base: Span::from_millis(50),
            cap: Span::from_secs(5),
            times: u16::MAX,
        };
        let bounds = [
            (0, 50),
            (1, 100),
            (3, 400),
            (6, 3200),
            (7, 5000),
            (64, 5000),
            (65, 5000),
            (99, 5000),
            (9999, 5000),
        ];
        for (retries, bound) in bounds {
            let waits: Vec<u64> = waits(retry, retries, None).into_iter().flatten().collect();
            let bound = bound * MILLI;
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(
                *most <= bound && *most > bound / 100 * 99,
                "{retries}: {most}"
            );
            assert!(*least < bound / 100, "{retries}: {least}");
            // The mean of 2000 is within 4 standard errors, 2.6 % of the bound.
            let mean = waits.iter().sum::<u64>() / 2000;
            assert!(mean.abs_diff(bound / 2) < bound / 38, "{retries}: {mean}");
        }
    }

    #[test]
    fn advice_is_kept_to_the_nanosecond_or_later_by_chance() {
        let retry_after = |jitter| Retry::RetryAfter {
            jitter: Share::new(jitter).unwrap(),
            times: 9,
        };
        let exact = waits(retry_after(0.0), 0, Some(700 * MILLI));
        assert!(exact.iter().all(|wait| *wait == Some(700 * MILLI)));
        let later = waits(retry_after(0.1), 0, Some(700 * MILLI));
        let (least, most) = (later.iter().flatten().min(), later.iter().flatten().max());
        assert!(
            (700 * MILLI..701 * MILLI).contains(least.unwrap()),
            "{least:?}"
        );
        assert!(
            (769 * MILLI..=770 * MILLI).contains(most.unwrap()),
            "{most:?}"
        );
        assert_eq!(wait(retry_after(0.1), 0, None), None);
        assert_eq!(wait(retry_after(1.0), 0, Some(u64::MAX)), Some(u64::MAX));
    }

    #[test]
    fn backoff_that_cannot_be_is_refused() {
        let backoff = |base, cap| Retry::Exponential {
            base: Span(base),
            cap: Span(cap),
            times: 1,
        };
        assert!(backoff(2, 1).check().unwrap_err().contains("above `cap`"));
        assert!(backoff(0, 1).check().unwrap_err().contains("`immediate`"));
        assert_eq!(backoff(1, 1).check(), Ok(()));
    }
}
