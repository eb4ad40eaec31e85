//! One row, tried: the world is set up, the replicas run, the fault begins and ends.

use std::time::Duration;

use leasehold::machine_nanos;
use leasehold_sim::units::Span;
use leasehold_testbed::Binary;
use tokio::task::block_in_place;

use super::error::FaultsError;
use super::pace::Pace;
use super::phases::Phases;
use super::rows::Row;
use super::setting::plans;
use super::world::World;
use crate::demo::fleet::Fleet;
use crate::demo::progress::Progress;
use crate::demo::run::Run;

/// A row as it ran.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) run: Run,
    pub(crate) phases: Phases,
}

/// Tries a row.
pub(crate) async fn run(
    row: &Row,
    pace: Pace,
    binary: &Binary,
    seed: u64,
) -> Result<Trial, FaultsError> {
    let mut world = World::set_up(row.scene, binary).await?;
    if row.from_the_start {
        block_in_place(|| (row.begin)(&mut world))?;
    }
    let plans = plans(row, pace, &world, seed);
    world.prefix.clone_from(&plans[0].prefix);
    let fleet = Fleet::of_processes(&plans).await?;
    world.replicas.clone_from(&fleet.process_ids);
    let (start_ns, duration) = (fleet.start_ns, plans[0].duration);
    let watched = fleet.watch(Progress::start(row.name, duration));
    let (run, acted) = tokio::join!(watched, act(row, pace, &mut world, start_ns));
    if run.interrupted {
        return Err(FaultsError::Interrupted);
    }
    let (begin_ns, end_ns) = acted?;
    let phases = Phases {
        warm_ns: (start_ns + Span::from(pace.warm_up).0).min(begin_ns),
        begin_ns,
        end_ns,
        stop_ns: start_ns + Span::from(duration).0,
    };
    // Half a second less may do; then nothing could be said of the recovery.
    if phases.end_ns + Span::from(pace.after).0 > phases.stop_ns + Span::from(SHORTER).0 {
        return Err(FaultsError::TookTooLong);
    }
    Ok(Trial { run, phases })
}

/// Begins the fault and ends it, each in its time; returns when that was.
async fn act(
    row: &Row,
    pace: Pace,
    world: &mut World,
    start_ns: u64,
) -> Result<(u64, u64), FaultsError> {
    let due_ns = start_ns + Span::from(row.lead(pace)).0;
    sleep_until(due_ns).await;
    let begin_ns = machine_nanos().max(start_ns);
    if !row.from_the_start {
        block_in_place(|| (row.begin)(world))?;
    }
    let lasts = row.lasts.at(pace);
    if lasts.is_zero() {
        return Ok((begin_ns, begin_ns));
    }
    sleep_until(begin_ns + Span::from(lasts).0).await;
    block_in_place(|| (row.end)(world))?;
    Ok((begin_ns, machine_nanos()))
}

async fn sleep_until(at_ns: u64) {
    tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(machine_nanos()))).await;
}

/// By how much what follows a fault may be shorter than planned.
const SHORTER: Duration = Duration::from_millis(500);
