//! The fault matrix: one entry for each fault, in the order of the table.
//!
//! An entry says what the row is tried on, what begins the fault and what ends it, and what it may
//! add to the limit. Everything else is the same for all: see [`setting`](super::setting).

use std::time::Duration;

use leasehold_testbed::Way;
use rustix::process::Signal;

use super::bound::Bound;
use super::error::FaultsError;
use super::pace::{Pace, REPLICAS};
use super::world::{Scene, World};
use crate::demo::terms::Policy;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// As it is asked for on the command line.
    pub(crate) name: &'static str,
    /// The fault, in a few words.
    pub(crate) title: &'static str,
    pub(crate) scene: Scene,
    pub(crate) policy: Policy,
    pub(crate) load: Load,
    /// The fault is there before the replicas are.
    pub(crate) from_the_start: bool,
    pub(crate) begin: Act,
    pub(crate) lasts: Lasts,
    pub(crate) end: Act,
    /// The longest that `end` may take.
    pub(crate) slack: Duration,
    pub(crate) bound: Bound,
    /// Lines of log that it is worth, in one replica.
    pub(crate) log_lines: u64,
    /// The process of the victim stands still on purpose.
    pub(crate) stops_victim: bool,
    /// Belongs to the few that are tried in a hurry.
    pub(crate) quick: bool,
}

impl Row {
    /// From the start of the load to the fault.
    pub(crate) fn lead(&self, pace: Pace) -> Duration {
        if self.from_the_start {
            Duration::ZERO
        } else {
            pace.warm_up + pace.before
        }
    }
}

/// An act that begins or ends a fault. It may block, because it acts on other processes.
pub(crate) type Act = fn(&mut World) -> Result<(), FaultsError>;

/// Requests offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// Twice the limit: enough to use all of it, also without one replica of four.
    Double,
    /// Ten times the limit.
    Heavy,
}

/// How long a fault lasts, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasts {
    usually: u64,
    quick: u64,
}

impl Lasts {
    pub(crate) const fn at(self, pace: Pace) -> Duration {
        Duration::from_millis(if pace.quick { self.quick } else { self.usually })
    }
}

const fn lasts(usually: u64, quick: u64) -> Lasts {
    Lasts { usually, quick }
}

/// Begins and ends at once.
const AN_INSTANT: Lasts = lasts(0, 0);

const NOTHING: Act = |_| Ok(());

/// The fields that most rows have in common.
const ROW: Row = Row {
    name: "",
    title: "",
    scene: Scene::Server,
    policy: Policy::Closed,
    load: Load::Double,
    from_the_start: false,
    begin: NOTHING,
    lasts: lasts(3000, 1500),
    end: NOTHING,
    slack: Duration::from_millis(1500),
    bound: Bound::Nothing,
    log_lines: 20,
    stops_victim: false,
    quick: false,
};

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "server-killed",
        title: "server killed (-9), restarted empty",
        begin: World::kill_server,
        // Back before the bucket has drained: a server that is taken for a new one is found out.
        lasts: lasts(50, 50),
        end: World::restart_server,
        quick: true,
        ..ROW
    },
    Row {
        name: "server-paused",
        title: "server stopped (SIGSTOP), goes on",
        begin: World::pause_server,
        end: World::resume_server,
        ..ROW
    },
    Row {
        name: "slow",
        title: "server 50 ms slower",
        scene: Scene::Proxied,
        begin: |world| world.make(Way::Slow(Duration::from_millis(50))),
        end: |world| world.make(Way::Open),
        ..ROW
    },
    Row {
        name: "refused-at-start",
        title: "connection refused at start",
        from_the_start: true,
        begin: World::kill_server,
        end: World::restart_server,
        ..ROW
    },
    Row {
        name: "black-hole",
        title: "socket accepts, never answers",
        scene: Scene::Proxied,
        begin: |world| world.make(Way::Silent),
        end: |world| world.make(Way::Open),
        quick: true,
        ..ROW
    },
    Row {
        name: "cut-repeatedly",
        title: "connections reset after 200 ms each",
        scene: Scene::Proxied,
        begin: |world| world.make(Way::Cut(Duration::from_millis(200))),
        end: |world| world.make(Way::Open),
        // Each of 15 times, the connection and the store go away and come back.
        log_lines: 4 * 15,
        ..ROW
    },
    Row {
        name: "flushall",
        title: "FLUSHALL",
        begin: |world| world.run(&redis::cmd("FLUSHALL")),
        lasts: AN_INSTANT,
        quick: true,
        ..ROW
    },
    Row {
        name: "script-flush",
        title: "SCRIPT FLUSH",
        begin: |world| world.run(redis::cmd("SCRIPT").arg("FLUSH")),
        lasts: AN_INSTANT,
        ..ROW
    },
    Row {
        name: "read-only",
        title: "READONLY: server made a replica",
        begin: |world| world.run(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1)),
        end: |world| world.run(redis::cmd("REPLICAOF").arg("NO").arg("ONE")),
        ..ROW
    },
    Row {
        name: "no-auth",
        title: "NOAUTH: server wants a password",
        begin: World::lock_out,
        end: World::let_in,
        ..ROW
    },
    Row {
        name: "out-of-memory",
        title: "OOM: maxmemory reached",
        begin: |world| world.run(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1)),
        end: |world| world.run(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0)),
        ..ROW
    },
    Row {
        name: "fail-over",
        title: "primary killed (-9), replica 0.5 s behind promoted",
        scene: Scene::Sentinels,
        begin: World::lag,
        lasts: lasts(500, 500),
        end: |world| {
            world.kill_server()?;
            world.await_promotion()
        },
        slack: Duration::from_secs(4),
        ..ROW
    },
    Row {
        name: "cluster-fail-over",
        title: "cluster: primary killed (-9), its replica promoted",
        scene: Scene::Cluster,
        // The primary is killed and its replica promoted before this ends.
        lasts: lasts(500, 500),
        end: World::kill_owner,
        slack: Duration::from_secs(6),
        ..ROW
    },
    Row {
        name: "cluster-reshard",
        title: "cluster: slot moved to another primary",
        scene: Scene::Cluster,
        lasts: lasts(500, 500),
        end: World::move_key,
        ..ROW
    },
    Row {
        name: "clock-ahead",
        title: "server's clock 1 s ahead",
        scene: Scene::Proxied,
        begin: |world| world.step_clock(1_000_000),
        lasts: AN_INSTANT,
        bound: Bound::ClockAhead(Duration::from_secs(1)),
        ..ROW
    },
    Row {
        name: "clock-back",
        title: "server's clock 1 s back, until caught up",
        scene: Scene::Proxied,
        begin: |world| world.step_clock(-1_000_000),
        lasts: lasts(1000, 1000),
        ..ROW
    },
    Row {
        name: "replica-ended",
        title: "one replica of four asked to end (SIGTERM)",
        begin: |world| world.signal_victim(Signal::TERM),
        lasts: AN_INSTANT,
        ..ROW
    },
    Row {
        name: "replica-killed",
        title: "one replica of four killed (-9)",
        begin: |world| world.signal_victim(Signal::KILL),
        lasts: AN_INSTANT,
        quick: true,
        ..ROW
    },
    Row {
        name: "replica-paused",
        title: "one replica of four stopped (SIGSTOP), goes on",
        begin: |world| world.signal_victim(Signal::STOP),
        end: |world| world.signal_victim(Signal::CONT),
        stops_victim: true,
        quick: true,
        ..ROW
    },
    Row {
        name: "cut-off",
        title: "one replica of four cut off",
        scene: Scene::ProxiedVictim,
        begin: |world| world.make(Way::Silent),
        end: |world| world.make(Way::Open),
        ..ROW
    },
    Row {
        name: "cut-off-local",
        title: "one replica of four cut off",
        scene: Scene::ProxiedVictim,
        policy: Policy::Local,
        begin: |world| world.make(Way::Silent),
        end: |world| world.make(Way::Open),
        bound: Bound::LocalPart { of: REPLICAS },
        ..ROW
    },
    Row {
        name: "outage-local",
        title: "server stopped (SIGSTOP), goes on",
        policy: Policy::Local,
        begin: World::pause_server,
        lasts: lasts(5000, 2500),
        end: World::resume_server,
        bound: Bound::LocalAll { of: REPLICAS },
        ..ROW
    },
    Row {
        name: "outage-open",
        title: "server stopped (SIGSTOP), goes on",
        policy: Policy::Open,
        begin: World::pause_server,
        lasts: lasts(5000, 2500),
        end: World::resume_server,
        bound: Bound::Open,
        ..ROW
    },
    Row {
        name: "long-outage",
        title: "server killed (-9) for a minute, under ten times the limit",
        load: Load::Heavy,
        begin: World::kill_server,
        lasts: lasts(60_000, 6000),
        end: World::restart_server,
        ..ROW
    },
];
