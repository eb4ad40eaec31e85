//! All that goes wrong in a run, in order.

use thiserror::Error;

use crate::faults::config::FaultConfig;
use crate::faults::event::FaultEvent;
use crate::faults::occurrence::{Events, Rank};
use crate::server::StoreChange;
use crate::stream::stream;
use crate::units::Span;

/// A fault that cannot be.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("fault {position} (`{kind}`): {problem}")]
pub struct FaultError {
    /// Which, counted from 1.
    pub position: usize,
    /// Its kind.
    pub kind: &'static str,
    /// The problem, and the mend.
    pub problem: String,
}

impl From<FaultError> for String {
    fn from(error: FaultError) -> Self {
        error.to_string()
    }
}

/// The faults of a run of `duration` with replicas 0 to `replicas`, in order of time.
///
/// Faults begin before the run ends, and may end after. If the number of replicas varies,
/// `replicas` is the most there will be at a time.
///
/// # Errors
///
/// The first fault that cannot be.
pub fn timeline(
    faults: &[FaultConfig],
    duration: Span,
    replicas: u32,
    seed: u64,
) -> Result<Vec<(u64, FaultEvent)>, FaultError> {
    let mut events = Events {
        planned: Vec::new(),
        snapshots: 0,
        numbered: 0,
        replicas,
    };
    for (index, fault) in faults.iter().enumerate() {
        check(fault, duration, replicas).map_err(|problem| error(faults, index, problem))?;
        let mut random = stream(seed, "faults", index as u64);
        let mut at_ns = fault.at.0;
        while at_ns < duration.0 {
            events.add(&fault.kind, fault.lasting, at_ns, &mut random);
            let Some(every) = fault.every else { break };
            at_ns = at_ns.saturating_add(every.0);
        }
        // Stable: what happens in one instant otherwise does so as the scenario has it.
        (events.planned).sort_by_key(|(at_ns, rank, _)| (*at_ns, *rank));
        check_splits(&events.planned).map_err(|problem| error(faults, index, problem))?;
    }
    let in_order = events.planned.into_iter();
    Ok(in_order.map(|(at_ns, _, event)| (at_ns, event)).collect())
}

fn error(faults: &[FaultConfig], index: usize, problem: String) -> FaultError {
    FaultError {
        position: index + 1,
        kind: faults[index].kind.name(),
        problem,
    }
}

fn check(fault: &FaultConfig, duration: Span, replicas: u32) -> Result<(), String> {
    fault.kind.check(fault.lasting, replicas)?;
    if fault.at >= duration {
        return Err(format!(
            "comes at {}, when the run of {duration} is over",
            fault.at
        ));
    }
    let Some(every) = fault.every else {
        return match fault.kind.name() {
            "mishaps" => Err("say how often: `every = \"60s\"`".to_owned()),
            _ => Ok(()),
        };
    };
    if fault.lasting.is_none() && fault.kind.may_last_for_ever() {
        return Err("happens again and never ends: say `for`".to_owned());
    }
    let longest = Span(fault.kind.longest_ns(fault.lasting));
    if every <= longest {
        return Err(format!(
            "happens again after {every}, when it may have lasted for {longest}: \
             `every` must be longer"
        ));
    }
    if (duration.0 - fault.at.0) / every.0 >= TIMES_MAX {
        return Err(format!(
            "happens more than {TIMES_MAX} times in {duration}: `every` must be longer than {every}"
        ));
    }
    Ok(())
}

/// A store that is split cannot be split again: which of the two servers would it be?
fn check_splits(planned: &[(u64, Rank, FaultEvent)]) -> Result<(), String> {
    let mut is_split = false;
    for (at_ns, _, event) in planned {
        match event {
            FaultEvent::Store(StoreChange::Split { .. }) if is_split => {
                return Err(format!(
                    "the store is split already at {}: let one split end first",
                    Span(*at_ns)
                ));
            }
            FaultEvent::Store(StoreChange::Split { .. }) => is_split = true,
            FaultEvent::Store(StoreChange::Join) => is_split = false,
            _ => {}
        }
    }
    Ok(())
}

/// More is a slip of the pen, such as `every = "1us"`.
const TIMES_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::event::ReplicaChange;
    use crate::network::{Direction, NetworkChange};
    use crate::server::{FaultId, Memory, Silence};

    #[derive(serde::Deserialize)]
    struct Scenario {
        fault: Vec<FaultConfig>,
    }

    fn faults(texts: &[&str]) -> Vec<FaultConfig> {
        let mut text = String::new();
        for fault in texts {
            text += "[[fault]]\n";
            text += fault;
            text.push('\n');
        }
        toml::from_str::<Scenario>(&text).unwrap().fault
    }

    fn planned(texts: &[&str]) -> Result<Vec<(u64, FaultEvent)>, FaultError> {
        timeline(&faults(texts), MINUTE, 10, 1)
    }

    /// Changes of the store, with the second in which each happens.
    fn store(texts: &[&str]) -> Vec<(f64, StoreChange)> {
        let of_store = |(at_ns, event)| match event {
            FaultEvent::Store(change) => (Span(at_ns).as_secs_f64(), change),
            other => panic!("{other} is not the store's"),
        };
        planned(texts).unwrap().into_iter().map(of_store).collect()
    }

    fn refused(texts: &[&str]) -> String {
        planned(texts).unwrap_err().to_string()
    }

    const MINUTE: Span = Span::from_secs(60);

    #[test]
    fn what_begins_ends_and_each_event_comes_in_its_time() {
        let events = planned(&[
            "at = \"20s\"\nkind = \"pause\"\nreplicas = [4]\nfor = \"5s\"",
            "at = \"10s\"\nkind = \"partition\"\nreplicas = [2, 1]\ndirection = \"to-store\"\n\
             for = \"12s\"",
        ])
        .unwrap();
        let network = |change| FaultEvent::Network {
            replicas: [1, 2].into(),
            change,
        };
        let replica = |change| FaultEvent::Replicas {
            replicas: [4].into(),
            change,
        };
        let second = 1_000_000_000;
        let expected = [
            (10 * second, network(NetworkChange::Cut(Direction::ToStore))),
            (20 * second, replica(ReplicaChange::Pause)),
            (
                22 * second,
                network(NetworkChange::Heal(Direction::ToStore)),
            ),
            (25 * second, replica(ReplicaChange::Resume)),
        ];
        assert_eq!(events, expected);
        let ends: Vec<bool> = events.iter().map(|(_, event)| event.ends()).collect();
        assert_eq!(ends, [false, false, true, true]);
    }

    #[test]
    fn a_fault_without_an_end_lasts_to_the_end() {
        let events = planned(&["at = \"10s\"\nkind = \"slow-store\"\ntimes = 3"]).unwrap();
        assert_eq!(events.len(), 1);
        let events = planned(&["at = \"10s\"\nkind = \"crash\"\nreplicas = 3"]).unwrap();
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn what_will_be_lost_is_known_ahead() {
        let lost =
            "at = \"10s\"\nkind = \"fail-over\"\nlost = \"500ms\"\ndown = \"3s\"\nevery = \"20s\"";
        let stop = |number| StoreChange::Stop {
            fault: FaultId(number),
            silence: Silence::Refuses,
        };
        let start = |number| StoreChange::Start {
            fault: FaultId(number),
            memory: Memory::Snapshot(number),
        };
        let expected = [
            (9.5, StoreChange::Snapshot(0)),
            (10.0, stop(0)),
            (13.0, start(0)),
            (29.5, StoreChange::Snapshot(1)),
            (30.0, stop(1)),
            (33.0, start(1)),
            (49.5, StoreChange::Snapshot(2)),
            (50.0, stop(2)),
            (53.0, start(2)),
        ];
        assert_eq!(store(&[lost]), expected);
    }

    #[test]
    fn what_was_there_before_the_world_began_cannot_be_lost() {
        let events = store(&["at = \"1s\"\nkind = \"fail-over\"\nlost = \"5s\""]);
        assert_eq!(events[0], (0.0, StoreChange::Snapshot(0)));
    }

    /// Otherwise a store would start before it stopped, or remember what it just lost.
    #[test]
    fn within_one_instant_events_keep_their_order() {
        let at_once = "at = \"10s\"\nkind = \"fail-over\"\nlost = \"0s\"";
        let flush = "at = \"10s\"\nkind = \"flush\"";
        let hang = "at = \"5s\"\nkind = \"hang\"\nfor = \"5s\"";
        let names: Vec<String> = store(&[flush, at_once, hang])
            .into_iter()
            .map(|(_, change)| FaultEvent::Store(change).to_string())
            .collect();
        let expected = [
            "store: stands still",
            "store: last write that will survive",
            "store: goes on",
            "store: flushed",
            "store: down",
            "store: up",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_server_that_loads_refuses_even_if_its_machine_was_gone() {
        let silent = "at = \"10s\"\nkind = \"store-down\"\nfor = \"5s\"\nthen = \"empty\"\n\
        loading = \"2s\"\nsilent = true";
        let fault = FaultId(0);
        let expected = [
            (
                10.0,
                StoreChange::Stop {
                    fault,
                    silence: Silence::Silent,
                },
            ),
            (15.0, StoreChange::Load { fault }),
            (
                17.0,
                StoreChange::Start {
                    fault,
                    memory: Memory::Empty,
                },
            ),
        ];
        assert_eq!(store(&[silent]), expected);
    }

    #[test]
    fn a_split_names_who_stays_and_what_the_new_side_knows() {
        let split =
            "at = \"10s\"\nkind = \"split-brain\"\nreplicas = [3, 0]\nlost = \"1s\"\nfor = \"5s\"";
        let stay = [0, 3].into();
        let expected = [
            (9.0, StoreChange::Snapshot(0)),
            (10.0, StoreChange::Split { snapshot: 0, stay }),
            (15.0, StoreChange::Join),
        ];
        assert_eq!(store(&[split]), expected);
        let again = "at = \"12s\"\nkind = \"split-brain\"\nreplicas = 1\nfor = \"1s\"";
        assert!(
            refused(&[split, again])
                .contains("fault 2 (`split-brain`): the store is split already at 12s")
        );
        let later = "at = \"15s\"\nkind = \"split-brain\"\nreplicas = 1\nfor = \"1s\"";
        assert_eq!(store(&[split, later]).len(), 6);
    }

    #[test]
    fn one_more_fault_leaves_the_others_as_they_are() {
        let crash = "at = \"1s\"\nkind = \"crash\"\nreplicas = 3\nevery = \"5s\"";
        let pause = "at = \"2s\"\nkind = \"pause\"\nreplicas = \"40%\"\nfor = [\"1s\", \"2s\"]\n\
        every = \"6s\"";
        let alone = planned(&[crash]).unwrap();
        let both = planned(&[crash, pause]).unwrap();
        assert_eq!(both, planned(&[crash, pause]).unwrap(), "of one seed");
        let crashes = both.into_iter().filter(|(_, event)| {
            matches!(
                event,
                FaultEvent::Replicas {
                    change: ReplicaChange::Crash,
                    ..
                }
            )
        });
        assert_eq!(crashes.collect::<Vec<_>>(), alone);
        assert_ne!(alone, timeline(&faults(&[crash]), MINUTE, 10, 2).unwrap());
    }

    #[test]
    fn mishaps_happen_as_often_as_they_weigh() {
        let mishaps = faults(&["at = \"0s\"\nevery = \"1s\"\nkind = \"mishaps\"\n\
             pick = [{ weight = 7, kind = \"nothing\" }, \
             { weight = 2, kind = \"flush\" }, { weight = 0, kind = \"script-flush\" }, \
             { kind = \"hang\", for = [\"0s\", \"900ms\"] }]"]);
        let events = timeline(&mishaps, Span::from_secs(10_000), 10, 1).unwrap();
        let count = |wanted: &StoreChange| {
            let wanted = FaultEvent::Store(wanted.clone());
            events.iter().filter(|(_, event)| *event == wanted).count()
        };
        // Four standard deviations around 2000 and 1000 of 10 000.
        let among = |wanted: fn(&StoreChange) -> bool| {
            let of_store =
                |event: &FaultEvent| matches!(event, FaultEvent::Store(it) if wanted(it));
            events.iter().filter(|(_, event)| of_store(event)).count()
        };
        let hangs = among(|change| matches!(change, StoreChange::Hang(_)));
        assert_eq!(
            among(|change| matches!(change, StoreChange::Resume(_))),
            hangs
        );
        let flushes = count(&StoreChange::Flush);
        assert!((1840..=2160).contains(&flushes), "{flushes}");
        assert!((880..=1120).contains(&hangs), "{hangs}");
        assert_eq!(count(&StoreChange::FlushScripts), 0);
        assert!(events.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn what_lasts_for_centuries_just_never_ends() {
        let down =
            "at = \"10s\"\nkind = \"store-down\"\nfor = \"5000000h\"\nloading = \"5000000h\"";
        let events = store(&[down]);
        assert_eq!(events.len(), 3);
        assert!(events[2].0 > 1.8e10, "{events:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_by_position_and_kind() {
        let flush = "at = \"1s\"\nkind = \"flush\"";
        let error = refused(&[flush, "at = \"1s\"\nkind = \"hang\""]);
        assert_eq!(
            error,
            "fault 2 (`hang`): say how long it lasts: `for = \"5s\"`"
        );
        let late = refused(&["at = \"60s\"\nkind = \"flush\""]);
        assert!(
            late.contains("comes at 60s, when the run of 60s is over"),
            "{late}"
        );
        let overlapping = refused(&["at = \"1s\"\nkind = \"hang\"\nfor = \"5s\"\nevery = \"5s\""]);
        assert!(
            overlapping.contains("`every` must be longer"),
            "{overlapping}"
        );
        let loading =
            "at = \"1s\"\nkind = \"store-down\"\nfor = \"3s\"\nloading = \"3s\"\nevery = \"6s\"";
        assert!(
            refused(&[loading]).contains("lasted for 6s"),
            "{}",
            refused(&[loading])
        );
        let endless = refused(&["at = \"1s\"\nkind = \"partition\"\nevery = \"5s\""]);
        assert!(endless.contains("say `for`"), "{endless}");
        let endless = refused(&[
            "at = \"1s\"\nevery = \"5s\"\nkind = \"mishaps\"\npick = [{ kind = \"partition\" }]",
        ]);
        assert!(endless.contains("say `for`"), "{endless}");
        let once = refused(&["at = \"1s\"\nkind = \"mishaps\"\npick = [{ kind = \"flush\" }]"]);
        assert!(once.contains("`every = \"60s\"`"), "{once}");
        let often = refused(&["at = \"1s\"\nkind = \"flush\"\nevery = \"1us\""]);
        assert!(often.contains("more than 1000000 times"), "{often}");
        let nobody = refused(&["at = \"1s\"\nkind = \"crash\"\nreplicas = 11"]);
        assert!(nobody.contains("only 10"), "{nobody}");
    }
}
