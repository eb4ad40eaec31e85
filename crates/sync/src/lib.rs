//! The background half of a replica, without I/O: how many tokens to lease, when to ask for them,
//! and which request gets which verdict; and the request path, which decides before it asks.
//!
//! This crate is for programs that drive a replica with a runtime of their own, as the simulator
//! does. A service uses the crate `leasehold`, which drives it with tokio.
//!
//! Nothing here reads a clock, draws a random number, starts a thread or touches a socket. Time
//! comes in as the last argument; effects go out as values ([`Batch`], verdicts, timeouts). The
//! tokio driver and the simulator drive the same [`Syncer`], and decide by the same
//! [`RequestPath`].

mod advance_account;
mod advance_right;
mod batch;
mod breaker;
mod call_queue;
mod clock_drift;
mod demand;
mod demand_meter;
mod enrollment;
mod fallback;
mod key_state;
mod keys;
mod lease_account;
mod limits;
mod looks;
mod pace;
mod partition;
mod partitions;
mod plan;
mod report_queue;
mod request_path;
mod shortest;
mod store_status;
mod sweep;
mod syncer;
mod timers;
mod tokens;
mod tuning;
mod typical_cost;
mod unserved;
mod wait_queue;

pub use batch::{Answer, Batch, Call, Miscounted, NamedLimit};
pub use fallback::FailurePolicy;
pub use key_state::{COST_LEASED_MAX, central_verdict};
pub use partition::{key_hash, partition_of};
pub use request_path::{Counted, Heard, Joint, RequestPath, SlowRequest, Step, Then};
pub use store_status::StoreStatus;
pub use syncer::{Syncer, Timeout};
pub use tokens::Tokens;
pub use tuning::{Tuning, TuningError};
pub use wait_queue::{Purpose, Waiter};
