//! Channels between a replica and the demo that runs it beside others.

use tokio::sync::{mpsc, watch};

use crate::demo::replica::{Seen, Summary};

/// A replica's message to the demo while it runs.
#[derive(Debug)]
pub(crate) enum Told {
    Seen(Seen),
    Ended {
        replica: u32,
        end: Result<Summary, String>,
    },
}

/// The replica's end of the channels: when to start, where to report, and when to stop.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) start_ns: u64,
    pub(crate) tell: mpsc::UnboundedSender<Told>,
    pub(crate) stopped: watch::Receiver<bool>,
}
