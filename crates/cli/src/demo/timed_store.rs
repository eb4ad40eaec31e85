//! A store, and a log of every exchange with it: when it was sent, when it was answered, for how
//! many keys.

use std::sync::{Arc, Mutex, MutexGuard};

use leasehold::machine_nanos;
use leasehold::store::{Batch, Store, StoreFuture};
use serde::{Deserialize, Serialize};

/// Passes everything on and takes down the time.
pub(crate) struct TimedStore {
    store: Arc<dyn Store>,
    log: Mutex<Vec<Exchange>>,
}

/// One exchange as its replica saw it, on the machine's clock.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Exchange {
    pub(crate) sent_ns: u64,
    /// `None` if it failed, or if nobody waited for so long.
    pub(crate) heard_ns: Option<u64>,
    pub(crate) keys: u32,
}

impl TimedStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            log: Mutex::default(),
        }
    }

    /// All exchanges so far, in order of sending.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.log().clone()
    }

    fn log(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.log.lock().expect("nobody panics with the log in hand")
    }

    /// Notes what is about to be sent; returns its place in the log.
    fn note(&self, batch: &Batch) -> usize {
        let mut log = self.log();
        log.push(Exchange {
            sent_ns: machine_nanos(),
            heard_ns: None,
            keys: u32::try_from(batch.calls.len()).expect("a batch is small"),
        });
        log.len() - 1
    }
}

impl Store for TimedStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(async move {
            let place = self.note(batch);
            let answer = self.store.exchange(batch).await?;
            self.log()[place].heard_ns = Some(machine_nanos());
            Ok(answer)
        })
    }

    fn round_trips(&self) -> u64 {
        self.store.round_trips()
    }
}
