//! A run of the demo, as it was seen from outside.

use crate::demo::replica::Summary;
use leasehold_judge::record::Record;

/// The requests of a run, and what replicas and servers reported.
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
    /// The server's own counts, if there is a server and it counted all the time.
    pub(crate) server: Option<ServerUse>,
    /// Incidents of the server in the meantime, a sentence each.
    pub(crate) incidents: Vec<String>,
}

/// The cost of a run for the server, by its own counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ServerUse {
    pub(crate) script_calls: u64,
    pub(crate) keys_written: u64,
    pub(crate) cpu_micros: u64,
}
