//! A store that can be told to fail, and that counts what it is asked.

use std::future;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::store::{Answer, Batch, Store, StoreFuture};
use leasehold::{MemoryStore, StoreError};

/// A [`MemoryStore`] behind a network that misbehaves.
pub(crate) struct FaultStore {
    store: Arc<MemoryStore>,
    fault: Mutex<Fault>,
    exchanges: AtomicU64,
}

/// The fate of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    /// It is executed halfway through this time.
    Slow(Duration),
    /// It fails at once, unheard.
    Fails,
    /// It is never answered, and never heard.
    Silent,
    /// It is executed, and every other answer is lost.
    LosesAnswers,
    /// It is executed, and the last reply is missing.
    OneReplyShort,
}

impl FaultStore {
    pub(crate) fn new(fault: Fault) -> Arc<Self> {
        Self::before(Arc::new(MemoryStore::new()), fault)
    }

    /// One replica's way to a store that it shares with others.
    pub(crate) fn before(store: Arc<MemoryStore>, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            store,
            fault: Mutex::new(fault),
            exchanges: AtomicU64::new(0),
        })
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn answer(&self, batch: &Batch) -> Result<Answer, StoreError> {
        let number = self.exchanges.fetch_add(1, Relaxed);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None => self.store.exchange(batch).await,
            Fault::Slow(delay) => {
                tokio::time::sleep(delay / 2).await;
                let answer = self.store.exchange(batch).await;
                tokio::time::sleep(delay / 2).await;
                answer
            }
            Fault::Fails => Err(StoreError::new("connection refused")),
            Fault::Silent => future::pending().await,
            Fault::LosesAnswers => {
                let answer = self.store.exchange(batch).await;
                let lost = number % 2 == 1;
                answer.and_then(|answer| {
                    let reset = || StoreError::new("connection reset");
                    (!lost).then_some(answer).ok_or_else(reset)
                })
            }
            Fault::OneReplyShort => {
                let mut answer = self.store.exchange(batch).await?;
                answer.replies.pop();
                Ok(answer)
            }
        }
    }
}

impl Store for FaultStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(self.answer(batch))
    }

    fn round_trips(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }
}
