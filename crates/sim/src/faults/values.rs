//! Values that only faults have: whom they strike, how long they last, how far a clock jumps.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::stream::Stream;
use crate::units::{Share, Span};

/// Which replicas a fault strikes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Targets {
    /// Every one.
    #[default]
    All,
    /// These, by their numbers from 0.
    Listed(Vec<u32>),
    /// A number of replicas, drawn each time.
    Count(u32),
    /// A part of the replicas, drawn each time; at least one replica, unless the part is 0.
    Part(Share),
}

impl Targets {
    /// Whether there are such replicas among `replicas`.
    pub(crate) fn check(&self, replicas: u32) -> Result<(), String> {
        match self {
            Self::Listed(listed) if listed.is_empty() => {
                Err("`replicas` is empty, so that nobody is struck: name some".to_owned())
            }
            Self::Listed(listed) => match listed.iter().find(|replica| **replica >= replicas) {
                Some(replica) => Err(format!(
                    "there is no replica {replica}: {replicas} are numbered from 0"
                )),
                None => Ok(()),
            },
            Self::Count(0) => Err("`replicas` is 0, so that nobody is struck".to_owned()),
            Self::Count(count) if *count > replicas => Err(format!(
                "`replicas` is {count}, but there are only {replicas}"
            )),
            Self::Part(share) if *share == Share::NONE => {
                Err("`replicas` is no part at all, so that nobody is struck".to_owned())
            }
            Self::All | Self::Count(_) | Self::Part(_) => Ok(()),
        }
    }

    /// The replicas, sorted.
    pub(crate) fn draw(&self, replicas: u32, random: &mut Stream) -> Arc<[u32]> {
        let count = match self {
            Self::All => replicas,
            Self::Count(count) => *count,
            Self::Part(share) => part_of(*share, replicas),
            Self::Listed(listed) => {
                let mut listed = listed.clone();
                listed.sort_unstable();
                listed.dedup();
                return listed.into();
            }
        };
        let mut all: Vec<u32> = (0..replicas).collect();
        if count < replicas {
            for place in 0..count as usize {
                let drawn = random.random_range(place..all.len());
                all.swap(place, drawn);
            }
            all.truncate(count as usize);
            all.sort_unstable();
        }
        all.into()
    }
}

fn part_of(share: Share, replicas: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a 32-bit number"
    )]
    let count = (share.get() * f64::from(replicas)).round() as u32;
    count.max(1)
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetsVisitor)
    }
}

struct TargetsVisitor;

impl<'de> Visitor<'de> for TargetsVisitor {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"all\", replicas such as [0, 1], a count such as 3, or a share such as \"30%\"",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Targets, E> {
        if text == "all" {
            return Ok(Targets::All);
        }
        text.parse().map(Targets::Part).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Targets, E> {
        let count = u32::try_from(count).map_err(|_| E::custom("a count is not negative"))?;
        Ok(Targets::Count(count))
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Targets, E> {
        let count = u32::try_from(count).map_err(|_| E::custom("there are not so many"))?;
        Ok(Targets::Count(count))
    }

    fn visit_f64<E: Error>(self, part: f64) -> Result<Targets, E> {
        let share = Share::new(part).ok_or_else(|| E::custom("a share is from 0 to 1"))?;
        Ok(Targets::Part(share))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
        let mut listed = Vec::new();
        while let Some(replica) = list.next_element()? {
            listed.push(replica);
        }
        Ok(Targets::Listed(listed))
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(
    untagged,
    expecting = "a time such as \"5s\", or two, such as [\"0s\", \"60s\"]"
)]
pub enum Lasting {
    /// Always as long.
    For(Span),
    /// From the first to the second, all as likely; drawn each time.
    Between([Span; 2]),
}

impl Lasting {
    /// The shortest and the longest time.
    pub const fn bounds(self) -> [Span; 2] {
        match self {
            Self::For(span) => [span, span],
            Self::Between(bounds) => bounds,
        }
    }

    pub(crate) fn check(self) -> Result<(), String> {
        let [shortest, longest] = self.bounds();
        if longest == Span::ZERO {
            return Err("`for` is no time at all".to_owned());
        }
        if shortest > longest {
            return Err("`for` wants the shorter time first".to_owned());
        }
        Ok(())
    }

    pub(crate) fn draw_ns(self, random: &mut Stream) -> u64 {
        match self {
            Self::For(span) => span.0,
            Self::Between([shortest, longest]) => random.random_range(shortest.0..=longest.0),
        }
    }
}

/// How far a clock jumps. Written as `"+5s"` or `"-250ms"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Forward if positive.
    pub micros: i64,
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a step such as `+5s` or `-250ms`");
        let (sign, size) = match text.trim().split_at_checked(1) {
            Some(("+", size)) => (1, size),
            Some(("-", size)) => (-1, size),
            _ => return Err(bad()),
        };
        let size: Span = size.parse().map_err(|_| bad())?;
        let micros = i64::try_from(size.0 / 1000).map_err(|_| bad())?;
        match micros {
            0 => Err(format!("`{text}` is no step: a microsecond is the least")),
            micros => Ok(Self {
                micros: sign * micros,
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;

    #[derive(Debug, serde::Deserialize)]
    struct Config {
        replicas: Targets,
    }

    fn targets(text: &str) -> Result<Targets, String> {
        let config: Result<Config, _> = toml::from_str(&format!("replicas = {text}"));
        config
            .map(|config| config.replicas)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn replicas_are_all_some_a_count_or_a_share() {
        assert_eq!(targets("\"all\""), Ok(Targets::All));
        assert_eq!(targets("[2, 0]"), Ok(Targets::Listed(vec![2, 0])));
        assert_eq!(targets("3"), Ok(Targets::Count(3)));
        assert_eq!(
            targets("\"30%\""),
            Ok(Targets::Part(Share::new(0.3).unwrap()))
        );
        assert_eq!(targets("0.3"), Ok(Targets::Part(Share::new(0.3).unwrap())));
        assert!(targets("-1").unwrap_err().contains("not negative"));
        assert!(targets("\"some\"").unwrap_err().contains("is not a share"));
        assert!(targets("true").unwrap_err().contains("a count such as 3"));
    }

    #[test]
    fn replicas_that_are_not_there_are_refused() {
        let error = |targets: Targets| targets.check(10).unwrap_err();
        assert!(error(Targets::Listed(vec![3, 10])).contains("no replica 10"));
        assert!(error(Targets::Listed(Vec::new())).contains("empty"));
        assert!(error(Targets::Count(11)).contains("only 10"));
        assert!(error(Targets::Count(0)).contains("nobody"));
        assert!(error(Targets::Part(Share::NONE)).contains("nobody"));
        assert_eq!(Targets::Listed(vec![9]).check(10), Ok(()));
        assert_eq!(Targets::Count(10).check(10), Ok(()));
    }

    #[test]
    fn a_draw_has_the_right_size_and_no_replica_twice() {
        let mut random = stream(1, "faults", 0);
        let sizes = [
            (Targets::All, 7),
            (Targets::Count(3), 3),
            (Targets::Part(Share::new(0.3).unwrap()), 2),
            (Targets::Part(Share::new(0.01).unwrap()), 1),
            (Targets::Listed(vec![5, 1, 5]), 2),
        ];
        for (targets, size) in sizes {
            let drawn = targets.draw(7, &mut random);
            assert_eq!(drawn.len(), size);
            assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
            assert!(drawn.iter().all(|replica| *replica < 7));
        }
    }

    #[test]
    fn each_replica_is_drawn_as_often_as_any_other() {
        let mut random = stream(1, "faults", 0);
        let mut times = [0_u32; 10];
        for _ in 0..10_000 {
            for replica in Targets::Count(3).draw(10, &mut random).iter() {
                times[*replica as usize] += 1;
            }
        }
        // Four standard deviations around 3000.
        assert!(
            times.iter().all(|times| (2817..=3183).contains(times)),
            "{times:?}"
        );
    }

    #[test]
    fn a_step_has_a_sign_and_a_unit() {
        assert_eq!("+5s".parse(), Ok(Step { micros: 5_000_000 }));
        assert_eq!("-250ms".parse(), Ok(Step { micros: -250_000 }));
        assert!("5s".parse::<Step>().unwrap_err().contains("`+5s`"));
        assert!("--5s".parse::<Step>().is_err());
        assert!("+5ns".parse::<Step>().unwrap_err().contains("microsecond"));
        assert!("".parse::<Step>().is_err());
    }

    #[test]
    fn a_time_drawn_lies_between_the_two_that_were_named() {
        let mut random = stream(1, "faults", 0);
        let lasting = Lasting::Between([Span(10), Span(20)]);
        let drawn: Vec<u64> = (0..1000).map(|_| lasting.draw_ns(&mut random)).collect();
        assert_eq!(drawn.iter().min(), Some(&10));
        assert_eq!(drawn.iter().max(), Some(&20));
        assert!(Lasting::Between([Span(20), Span(10)]).check().is_err());
        assert!(Lasting::For(Span::ZERO).check().is_err());
    }
}
