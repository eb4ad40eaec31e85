//! The replicas of a service over time: when each starts, how each ends, and how its clock runs.
//!
//! # Invariant
//!
//! A plan is a function of its configuration, the length of the run and the seed. A process has
//! one number, which is never given to another: whoever restarts is a new replica. Whoever is told
//! to drain goes later, at least one replica lives at every point between two events, and a
//! replacement starts before the one it replaces stops.

mod clock;

use std::fmt;

use rand::RngExt;
use serde::Deserialize;

pub use self::clock::{Clock, ClockConfig};
use crate::stream::{Stream, stream};
use crate::units::{Count, Share, Span};

/// The `[fleet]` table of a scenario.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FleetConfig {
    /// How many replicas there are at first.
    pub replicas: u32,
    /// How that changes, in order of time.
    pub scale: Vec<ScaleConfig>,
    /// Whether replicas are replaced one after the other, as in a deployment.
    pub restart: Option<RestartConfig>,
    /// How far the replicas' clocks are apart.
    pub clock: ClockConfig,
    /// How many keys a replica remembers at most.
    pub cache_keys: Count,
    /// The longest time a request waits for its verdict.
    pub budget: Span,
    /// After which time a replica gives up on a message to the store.
    pub call_timeout: Span,
}

/// A change of the number of replicas.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScaleConfig {
    /// When the first replica comes or goes.
    pub at: Span,
    /// How many there are afterwards.
    pub replicas: u32,
    /// How long after the first the last one comes or goes; evenly in between.
    #[serde(default)]
    pub over: Span,
    /// How long a replica that goes has to give back what it holds.
    #[serde(default = "drain_default")]
    pub drain: Span,
    /// Which part of those that go is killed instead.
    #[serde(default)]
    pub kill_share: Share,
}

/// A rolling restart: a new replica starts, the oldest one stops.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestartConfig {
    /// Time from one replica to the next.
    pub every: Span,
    /// How long the old one has to give back what it holds; at most `every`.
    #[serde(default = "drain_default")]
    pub drain: Span,
    /// Which part is killed instead.
    #[serde(default)]
    pub kill_share: Share,
    /// When the first one is restarted: after `every`, unless said otherwise.
    #[serde(default)]
    pub from: Option<Span>,
    /// From when on nobody is restarted any more: the end of the run, unless said otherwise.
    #[serde(default)]
    pub until: Option<Span>,
}

/// Changes of the life of a replica.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FleetEvent {
    /// The replica starts, and requests reach it from now on.
    Start {
        /// Which one. Replicas are numbered from 0, in order of their start.
        replica: u32,
    },
    /// The replica is told to stop: no more requests reach it.
    Drain {
        /// Which one.
        replica: u32,
    },
    /// The replica was told to stop, and its time is up: the process ends.
    Gone {
        /// Which one.
        replica: u32,
    },
    /// The process ends without a word.
    Kill {
        /// Which one.
        replica: u32,
    },
}

impl FleetEvent {
    /// Whether a replica starts.
    pub(crate) const fn starts(self) -> bool {
        matches!(self, Self::Start { .. })
    }
}

impl fmt::Display for FleetEvent {
    /// A few words, for a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { replica } => write!(f, "replica {replica}: started"),
            Self::Drain { replica } => write!(f, "replica {replica}: told to stop"),
            Self::Gone { replica } => write!(f, "replica {replica}: gone"),
            Self::Kill { replica } => write!(f, "replica {replica}: killed"),
        }
    }
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            scale: Vec::new(),
            restart: None,
            clock: ClockConfig::default(),
            cache_keys: Count(100_000),
            budget: Span::from_millis(100),
            call_timeout: Span::from_millis(250),
        }
    }
}

impl FleetConfig {
    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// Names the field and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        check_replicas("fleet.replicas", self.replicas)?;
        let mut settled = Span::ZERO;
        for (index, scale) in self.scale.iter().enumerate() {
            let name = format!("fleet.scale[{index}]");
            check_replicas(&format!("{name}.replicas"), scale.replicas)?;
            if scale.at < settled {
                return Err(format!(
                    "`{name}.at` is {}, but the change before lasts until {settled}: put changes \
                     in order of time, one ending before the next begins",
                    scale.at
                ));
            }
            settled = Span(scale.at.0.saturating_add(scale.over.0));
        }
        self.restart.as_ref().map_or(Ok(()), RestartConfig::check)?;
        self.clock.check()?;
        if self.cache_keys.0 == 0 {
            return Err("`fleet.cache-keys` is 0: a replica remembers at least 1 key".to_owned());
        }
        if self.call_timeout == Span::ZERO {
            return Err("`fleet.call-timeout` is 0: nothing would ever be answered".to_owned());
        }
        Ok(())
    }

    /// The turns of the fleet, replicas of the start left out, in order of time.
    fn turns(&self, duration: Span) -> Vec<(u64, Turn)> {
        let mut turns = Vec::new();
        let mut replicas = self.replicas;
        for scale in &self.scale {
            let change = scale.replicas.abs_diff(replicas);
            let turn = if scale.replicas > replicas {
                Turn::Join
            } else {
                Turn::Leave(Stop::of(scale.drain, scale.kill_share))
            };
            turns.extend((0..change).map(|index| (scale.at_of(index, change), turn)));
            replicas = scale.replicas;
        }
        if let Some(restart) = &self.restart {
            let stop = Stop::of(restart.drain, restart.kill_share);
            let times = restart.times(duration);
            turns.extend(times.map(|at_ns| (at_ns, Turn::Restart(stop))));
        }
        turns.retain(|(at_ns, _)| *at_ns < duration.0);
        turns.sort_by_key(|(at_ns, _)| *at_ns);
        turns
    }
}

impl ScaleConfig {
    /// When the `index`th of `change` replicas comes or goes.
    fn at_of(&self, index: u32, change: u32) -> u64 {
        let gaps = u128::from(change.saturating_sub(1).max(1));
        let after = u128::from(self.over.0) * u128::from(index) / gaps;
        let after = u64::try_from(after).expect("a part of `over`");
        self.at.0.saturating_add(after)
    }
}

impl RestartConfig {
    fn check(&self) -> Result<(), String> {
        if self.every < RESTART_EVERY_MIN {
            return Err(format!(
                "`fleet.restart.every` is {}: it must be at least {RESTART_EVERY_MIN}",
                self.every
            ));
        }
        if self.drain > self.every {
            return Err(format!(
                "`fleet.restart.drain` is {}, longer than `every`, {}: replicas are restarted one \
                 at a time, so raise `every` or lower `drain`",
                self.drain, self.every
            ));
        }
        let from = self.from.unwrap_or(self.every);
        match self.until {
            Some(until) if until <= from => Err(format!(
                "`fleet.restart.until` is {until}, but the first restart is at {from}: nobody \
                 would be restarted"
            )),
            _ => Ok(()),
        }
    }

    fn times(&self, duration: Span) -> impl Iterator<Item = u64> + use<> {
        let every_ns = self.every.0;
        let end_ns = self.until.unwrap_or(duration).min(duration).0;
        let first_ns = self.from.unwrap_or(self.every).0;
        core::iter::successors(Some(first_ns), move |at_ns| at_ns.checked_add(every_ns))
            .take_while(move |at_ns| *at_ns < end_ns)
    }
}

/// All that happens to replicas in a run of a length, in order of time. Replicas of the beginning
/// start at 0. Nothing begins at or after the end of the run, but who was told to drain by then
/// is still said to go, be it later.
///
/// The configuration has passed its [`check`](FleetConfig::check).
pub fn plan(config: &FleetConfig, duration: Span, seed: u64) -> Vec<(u64, FleetEvent)> {
    let mut planner = Planner::new(seed);
    for _ in 0..config.replicas {
        planner.start(0);
    }
    for (at_ns, turn) in config.turns(duration) {
        match turn {
            Turn::Join => planner.start(at_ns),
            Turn::Leave(stop) => {
                let position = planner.chance.random_range(0..planner.living.len());
                planner.stop(position, stop, at_ns);
            }
            Turn::Restart(stop) => {
                planner.start(at_ns);
                planner.stop(0, stop, at_ns);
            }
        }
    }
    planner.events.sort_by_key(|(at_ns, _)| *at_ns);
    planner.events
}

/// How many replicas a plan has in all.
pub fn instances(plan: &[(u64, FleetEvent)]) -> u32 {
    let starts = plan.iter().filter(|(_, event)| event.starts());
    u32::try_from(starts.count()).expect("replicas are numbered in 32 bits")
}

/// A change of the fleet by one replica.
#[derive(Clone, Copy)]
enum Turn {
    Join,
    Leave(Stop),
    Restart(Stop),
}

/// How a replica ends.
#[derive(Clone, Copy)]
struct Stop {
    drain_ns: u64,
    kill_share: f64,
}

impl Stop {
    fn of(drain: Span, kill_share: Share) -> Self {
        Self {
            drain_ns: drain.0,
            kill_share: kill_share.get(),
        }
    }
}

struct Planner {
    events: Vec<(u64, FleetEvent)>,
    /// Oldest first.
    living: Vec<u32>,
    started: u32,
    /// The part of the next replica to be killed that is due. It begins anywhere, so that each
    /// replica is killed with the probability that was asked for, and as many as were asked for.
    kills: f64,
    chance: Stream,
}

impl Planner {
    fn new(seed: u64) -> Self {
        let mut chance = stream(seed, "fleet", 0);
        Self {
            events: Vec::new(),
            living: Vec::new(),
            started: 0,
            kills: chance.random(),
            chance,
        }
    }

    fn start(&mut self, at_ns: u64) {
        let replica = self.started;
        self.started += 1;
        self.living.push(replica);
        self.events.push((at_ns, FleetEvent::Start { replica }));
    }

    fn stop(&mut self, position: usize, stop: Stop, at_ns: u64) {
        let replica = self.living.remove(position);
        self.kills += stop.kill_share;
        if self.kills >= 1.0 {
            self.kills -= 1.0;
            self.events.push((at_ns, FleetEvent::Kill { replica }));
        } else {
            let gone_ns = at_ns.saturating_add(stop.drain_ns);
            self.events.push((at_ns, FleetEvent::Drain { replica }));
            self.events.push((gone_ns, FleetEvent::Gone { replica }));
        }
    }
}

fn check_replicas(name: &str, replicas: u32) -> Result<(), String> {
    match replicas {
        0 => Err(format!(
            "`{name}` is 0: at least 1 replica must live to take requests"
        )),
        1..=REPLICAS_MAX => Ok(()),
        _ => Err(format!(
            "`{name}` is {replicas}: at most {REPLICAS_MAX} replicas can be simulated"
        )),
    }
}

const fn drain_default() -> Span {
    Span::from_secs(1)
}

/// Twenty times the largest fleet that anybody has reported; each replica takes some kilobytes.
const REPLICAS_MAX: u32 = 100_000;

/// Keeps a plan to a thousand events per simulated second.
const RESTART_EVERY_MIN: Span = Span::from_millis(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fleet(text: &str) -> FleetConfig {
        let config: FleetConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        config
    }

    fn refused(text: &str) -> String {
        toml::from_str::<FleetConfig>(text)
            .unwrap()
            .check()
            .unwrap_err()
    }

    /// How many live after all events at or before a time.
    fn living_at(plan: &[(u64, FleetEvent)], at_ns: u64) -> i64 {
        let changes = plan.iter().filter(|(at, _)| *at <= at_ns);
        changes
            .map(|(_, event)| match event {
                FleetEvent::Start { .. } => 1,
                FleetEvent::Drain { .. } | FleetEvent::Kill { .. } => -1,
                FleetEvent::Gone { .. } => 0,
            })
            .sum()
    }

    fn kills(plan: &[(u64, FleetEvent)]) -> usize {
        let kill = |(_, event): &&(u64, FleetEvent)| matches!(event, FleetEvent::Kill { .. });
        plan.iter().filter(kill).count()
    }

    #[test]
    fn a_fleet_is_read_from_its_table() {
        let config = fleet(
            r#"
            replicas = 10
            scale = [{ at = "20s", replicas = 40, over = "10s" }]
            restart = { every = "3s", drain = "1s", kill-share = "20%", from = "5s", until = "60s" }
            clock = { skew = "300s", drift-ppm = 200 }
            cache-keys = "20k"
            "#,
        );
        assert_eq!(config.scale[0].drain, Span::from_secs(1));
        assert_eq!(config.cache_keys, Count(20_000));
        assert_eq!(config.budget, Span::from_millis(100));
        assert_eq!(config.call_timeout, Span::from_millis(250));
        assert!(toml::from_str::<FleetConfig>("replica = 10").is_err());
    }

    #[test]
    fn a_fleet_of_nobody_is_refused_and_so_is_what_cannot_be() {
        assert!(refused("replicas = 0").contains("`fleet.replicas` is 0"));
        let none = refused("scale = [{ at = \"1s\", replicas = 0 }]");
        assert!(none.contains("`fleet.scale[0].replicas` is 0"), "{none}");
        let order = refused(
            "scale = [{ at = \"5s\", replicas = 4, over = \"2s\" }, { at = \"6s\", replicas = 2 }]",
        );
        assert!(order.contains("`fleet.scale[1].at` is 6s"), "{order}");
        assert!(order.contains("lasts until 7s"), "{order}");
        assert!(refused("restart = { every = \"1s\", drain = \"2s\" }").contains("raise `every`"));
        assert!(refused("restart = { every = \"0s\", drain = \"0s\" }").contains("at least 1ms"));
        let never = refused("restart = { every = \"5s\", until = \"5s\" }");
        assert!(never.contains("nobody would be restarted"), "{never}");
        assert!(refused("clock = { drift-ppm = 200000 }").contains("fleet.clock.drift-ppm"));
        assert!(refused("cache-keys = 0").contains("fleet.cache-keys"));
        assert!(refused("call-timeout = \"0s\"").contains("fleet.call-timeout"));
        assert!(refused("replicas = 100001").contains("at most 100000"));
    }

    #[test]
    fn a_fleet_grows_and_shrinks_evenly_between_two_times() {
        let config = fleet(
            r#"
            replicas = 5
            scale = [
                { at = "10s", replicas = 50, over = "44s" },
                { at = "60s", replicas = 10, drain = "2s" },
            ]
            "#,
        );
        let plan = plan(&config, Span::from_secs(100), 1);
        let second = 1_000_000_000;
        assert_eq!(living_at(&plan, 10 * second - 1), 5);
        assert_eq!(living_at(&plan, 10 * second), 6);
        assert_eq!(living_at(&plan, 32 * second), 28);
        assert_eq!(living_at(&plan, 54 * second - 1), 49);
        assert_eq!(living_at(&plan, 54 * second), 50);
        assert_eq!(living_at(&plan, 60 * second), 10);
        assert_eq!(instances(&plan), 50);
        assert_eq!(kills(&plan), 0);
        let gone = plan.iter().filter(|(at, _)| *at == 62 * second).count();
        assert_eq!(gone, 40);
    }

    #[test]
    fn a_rolling_restart_replaces_the_oldest_and_keeps_the_number() {
        let config = fleet("replicas = 3\nrestart = { every = \"3s\", drain = \"1s\" }");
        let second = 1_000_000_000;
        let plan = plan(&config, Span::from_secs(7), 1);
        let expected = [
            (3 * second, FleetEvent::Start { replica: 3 }),
            (3 * second, FleetEvent::Drain { replica: 0 }),
            (4 * second, FleetEvent::Gone { replica: 0 }),
            (6 * second, FleetEvent::Start { replica: 4 }),
            (6 * second, FleetEvent::Drain { replica: 1 }),
            (7 * second, FleetEvent::Gone { replica: 1 }),
        ];
        assert_eq!(plan[3..], expected);
    }

    #[test]
    fn restarts_keep_between_their_first_and_last_time() {
        let config = fleet("restart = { every = \"2s\", from = \"0s\", until = \"4s\" }");
        let plan = plan(&config, Span::from_secs(60), 1);
        let restarts = plan
            .iter()
            .filter(|(_, event)| matches!(event, FleetEvent::Drain { .. }));
        let times: Vec<u64> = restarts.map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 2_000_000_000]);
    }

    #[test]
    fn the_share_that_was_asked_for_is_killed_whatever_the_seed() {
        let config = fleet(
            "replicas = 10\nrestart = { every = \"1s\", drain = \"1s\", kill-share = \"20%\" }",
        );
        let mut first_killed = 0;
        for seed in 0..500 {
            let plan = plan(&config, Span::from_secs(101), seed);
            assert_eq!(kills(&plan), 20);
            first_killed +=
                usize::from(plan.contains(&(1_000_000_000, FleetEvent::Kill { replica: 0 })));
        }
        // Each is killed as often as any other: 100 of 500, standard deviation 9.
        assert!((64..=136).contains(&first_killed), "{first_killed}");
        for (share, expected) in [("0%", 0), ("100%", 100)] {
            let text = format!("restart = {{ every = \"1s\", kill-share = \"{share}\" }}");
            assert_eq!(
                kills(&plan(&fleet(&text), Span::from_secs(101), 7)),
                expected
            );
        }
    }

    #[test]
    fn who_goes_when_the_fleet_shrinks_is_chance_and_repeats_with_its_seed() {
        let config = fleet("replicas = 20\nscale = [{ at = \"1s\", replicas = 19 }]");
        let leaver = |seed| {
            let plan = plan(&config, Span::from_secs(2), seed);
            plan.iter().find_map(|(_, event)| match event {
                FleetEvent::Drain { replica } => Some(*replica),
                _ => None,
            })
        };
        assert_eq!(leaver(3), leaver(3));
        let leavers: std::collections::BTreeSet<_> = (0..200).map(leaver).collect();
        assert!(leavers.len() >= 18, "{leavers:?}");
    }

    fn any_fleet() -> impl Strategy<Value = FleetConfig> {
        let step = (0..20_u64, 0..20_u64, 1..20_u32, 0..5_u64, 0.0..=1.0_f64);
        let restart = (1..5000_u64, 0.0..=1.0_f64, 0..=20_u64, 0.0..=1.0_f64);
        let steps = proptest::collection::vec(step, 0..5);
        (1..20_u32, steps, proptest::option::of(restart)).prop_map(|(replicas, steps, restart)| {
            let mut at = 0;
            let scale = steps
                .into_iter()
                .map(|(wait, over, replicas, drain, kill)| {
                    let from = at + wait;
                    at = from + over;
                    ScaleConfig {
                        at: Span::from_secs(from),
                        replicas,
                        over: Span::from_secs(over),
                        drain: Span::from_secs(drain),
                        kill_share: Share::new(kill).unwrap(),
                    }
                });
            let scale = scale.collect();
            let restart = restart.map(|(every, drain, from, kill)| RestartConfig {
                every: Span::from_millis(every),
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_precision_loss,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                drain: Span::from_millis((every as f64 * drain) as u64),
                kill_share: Share::new(kill).unwrap(),
                from: Some(Span::from_secs(from)),
                until: None,
            });
            FleetConfig {
                replicas,
                scale,
                restart,
                ..FleetConfig::default()
            }
        })
    }

    proptest! {
        #[test]
        fn every_replica_starts_once_ends_at_most_once_and_somebody_always_lives(
            config in any_fleet(),
            seconds in 1..60_u64,
            seed: u64,
        ) {
            config.check().unwrap();
            let duration = Span::from_secs(seconds);
            let plan = plan(&config, duration, seed);
            prop_assert!(plan.is_sorted_by_key(|(at, _)| *at));

            let (mut started, mut living) = (0, std::collections::BTreeSet::new());
            let mut draining = std::collections::BTreeSet::new();
            let mut begun = false;
            for (at_ns, event) in &plan {
                match event {
                    FleetEvent::Start { replica } => {
                        prop_assert_eq!(*replica, started);
                        started += 1;
                        living.insert(*replica);
                    }
                    FleetEvent::Drain { replica } => {
                        prop_assert!(living.remove(replica));
                        draining.insert(*replica);
                    }
                    FleetEvent::Kill { replica } => prop_assert!(living.remove(replica)),
                    FleetEvent::Gone { replica } => prop_assert!(draining.remove(replica)),
                }
                let goes = matches!(event, FleetEvent::Gone { .. });
                prop_assert!(goes || *at_ns < duration.0);
                begun |= started == config.replicas;
                prop_assert!(!begun || !living.is_empty());
            }
            prop_assert!(draining.is_empty());
            prop_assert_eq!(started, instances(&plan));

            let settled = config.scale.last().filter(|last| last.at.0 + last.over.0 < duration.0);
            if let Some(last) = settled {
                prop_assert_eq!(living.len(), last.replicas as usize);
            }
        }
    }
}
