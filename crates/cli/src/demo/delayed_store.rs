//! The embedded store at a distance: each exchange takes as long as a network would.
//!
//! A runtime's timers are too coarse for half a millisecond, so a thread keeps the time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use leasehold::store::{Batch, Store, StoreFuture};
use leasehold::{MemoryStore, StoreError, machine_nanos};
use tokio::sync::oneshot;

/// One replica's way to an embedded store that all replicas share.
pub(crate) struct DelayedStore {
    store: Arc<MemoryStore>,
    latency: Duration,
    alarms: mpsc::Sender<Alarm>,
    round_trips: AtomicU64,
}

struct Alarm {
    at_ns: u64,
    ring: oneshot::Sender<()>,
}

impl DelayedStore {
    pub(crate) fn new(store: Arc<MemoryStore>, latency: Duration) -> Self {
        let (alarms, asked) = mpsc::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "a thread that keeps time for the demo"
        )]
        std::thread::spawn(move || ring_alarms(&asked));
        Self {
            store,
            latency,
            alarms,
            round_trips: AtomicU64::new(0),
        }
    }

    async fn wait(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let (ring, alarm) = oneshot::channel();
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at_ns = machine_nanos().saturating_add(time);
        // The thread ends with the store, so neither end is gone while this is awaited.
        if self.alarms.send(Alarm { at_ns, ring }).is_ok() {
            let _ = alarm.await;
        }
    }
}

impl Store for DelayedStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(async move {
            self.round_trips.fetch_add(1, Relaxed);
            self.wait(self.latency / 2).await;
            let answer = self.store.exchange(batch).await?;
            self.wait(self.latency / 2).await;
            Ok::<_, StoreError>(answer)
        })
    }

    fn round_trips(&self) -> u64 {
        self.round_trips.load(Relaxed)
    }
}

/// Rings each alarm at its time, until nobody can ask for more.
fn ring_alarms(asked: &mpsc::Receiver<Alarm>) {
    let mut set: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut rings: Vec<Option<oneshot::Sender<()>>> = Vec::new();
    loop {
        let now = machine_nanos();
        while let Some(Reverse((at_ns, index))) = set.peek().copied() {
            if at_ns > now {
                break;
            }
            set.pop();
            // Whoever stopped waiting does not hear it.
            let _ = rings[index].take().map(|ring| ring.send(()));
        }
        if set.is_empty() {
            rings.clear();
        }
        let asked = match set.peek() {
            Some(Reverse((at_ns, _))) => asked.recv_timeout(Duration::from_nanos(at_ns - now)),
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match asked {
            Ok(Alarm { at_ns, ring }) => {
                set.push(Reverse((at_ns, rings.len())));
                rings.push(Some(ring));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
