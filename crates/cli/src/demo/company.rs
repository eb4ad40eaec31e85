//! What a replica needs to run beside the others, and what it tells while it runs.

use tokio::sync::{mpsc, watch};

use crate::demo::replica::{Seen, Summary};

/// What replicas tell while they run.
#[derive(Debug)]
pub(crate) enum Told {
    Seen(Seen),
    Ended {
        replica: u32,
        end: Result<Summary, String>,
    },
}

/// What a replica needs to run beside the others: when to start, whom to tell, and who may stop it.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) start_ns: u64,
    pub(crate) tell: mpsc::UnboundedSender<Told>,
    pub(crate) stopped: watch::Receiver<bool>,
}
