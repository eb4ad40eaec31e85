//! What was seen of a run.

use crate::demo::replica::Summary;
use leasehold_judge::record::Record;

/// What was seen of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) records: Vec<Record>,
    /// Requests decided without waiting for the store.
    pub(crate) local: u64,
    /// How long each of the others took.
    pub(crate) waits_ns: Vec<u64>,
    pub(crate) summaries: Vec<(u32, Summary)>,
    /// Replicas that ended before their time, and how.
    pub(crate) lost: Vec<(u32, String)>,
    /// When load was first offered, on the machine's clock.
    pub(crate) start_ns: u64,
    /// A signal ended it before its time.
    pub(crate) interrupted: bool,
    /// From the first request on.
    pub(crate) seconds: f64,
    /// What the server counted itself, if there is one and it counted all the time.
    pub(crate) server: Option<ServerUse>,
    /// What happened to the server in the meantime, a sentence each.
    pub(crate) incidents: Vec<String>,
}

/// What a run cost the server, by its own count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ServerUse {
    pub(crate) script_calls: u64,
    pub(crate) keys_written: u64,
    pub(crate) cpu_micros: u64,
}
