//! Faults: what goes wrong in a run, and when: `[[fault]]` in a scenario.
//!
//! # Invariant
//!
//! What happens is a function of the faults, the run's length, the number of replicas and the
//! seed: [`timeline`] draws all chance ahead of the run. Each fault draws from a stream of its
//! own, so that one more fault leaves the others as they are. Whatever begins and has an end in
//! the scenario ends once.
//!
//! # Kinds
//!
//! Every fault has `at`, when it first happens. With `every` it happens again and again until the
//! run ends. `for` says how long it lasts: a time, or a shortest and a longest time.
//!
//! | `kind` | settings | `for` | what happens |
//! |---|---|---|---|
//! | `partition` | `replicas`, `direction` | or to the end | what is sent is lost; what is under way arrives |
//! | `loss` | `share`, `replicas`, `direction` | or to the end | messages are lost, more than the network loses anyway |
//! | `slow-network` | `times`, `replicas`, `direction` | or to the end | latency is a multiple |
//! | `store-down` | `then`, `loading`, `silent` | needed | the server is killed, and started again with or without data |
//! | `fail-over` | `lost` or `empty`, `down`, `silent` | no | another server takes over, which may lack the last writes |
//! | `split-brain` | `replicas`, `lost` | needed | another server takes over; these replicas go on with the old one |
//! | `flush` | | no | the running server forgets all data |
//! | `script-flush` | | no | the running server forgets its scripts; each message costs a round trip more until it is sent again |
//! | `hang` | | needed | the server stands still, and executes later what has queued up |
//! | `slow-store` | `times` | or to the end | each message takes a multiple of the server's time |
//! | `store-clock` | `step` | no | the server's clock jumps, forward or back |
//! | `crash` | `replicas`, `restart-after` | no | replicas are killed; without `restart-after` they stay away |
//! | `pause` | `replicas` | needed | replicas stand still, and go on with what they held |
//! | `limit` | `limit`, `name`, `replicas` | no | a new limit reaches these replicas only |
//! | `mishaps` | `pick` | no | one of several faults, by weight; needs `every` |
//! | `nothing` | | no | nothing; for `pick` |
//!
//! `replicas` is `"all"`, a list of numbers, a count (`3`) or a share (`"30%"`); who belongs to a
//! count or a share is drawn anew each time.
//!
//! # Overlaps
//!
//! Faults may overlap, but for two split brains: a scenario with those is refused. Each fault ends
//! by itself, whatever began or ended meanwhile. Where two meet in one place:
//!
//! - A server that several faults keep down works again when the last has ended, with the memory
//!   that the last start gives it. One that stands still goes on after the last hang. Slow-downs
//!   multiply, shares of loss add up as chances do, and a link passes nothing until the last
//!   partition heals.
//! - A server that is killed no longer stands still, and one that is down cannot begin to.
//! - While the store is split, what begins begins at the new primary: `store-down` takes that down,
//!   `flush` empties it, a snapshot for `lost` is taken there. Whoever stays with the old one
//!   notices nothing of it.
//! - A server that was down or stood still when another took over is the old primary, and works
//!   again as that when its fault ends. The new one works from the start. It is as slow as the old
//!   one was.
//! - When the split ends, the old primary is gone with all that befell it. If the new one is down
//!   then, it is down for all.
//! - A replica that several faults killed starts again when the first of them says so; it no longer
//!   stands still then.
//!
//! What each kind may add to the overshoot is in [`Excess`].

mod config;
mod event;
mod excess;
mod occurrence;
mod timeline;
mod values;

pub use self::config::{FaultConfig, FaultKind, Mishap, Restart};
pub use self::event::{FaultEvent, ReplicaChange};
pub use self::excess::{Circumstances, Excess};
pub use self::timeline::{FaultError, timeline};
pub use self::values::{Lasting, Step, Targets};
