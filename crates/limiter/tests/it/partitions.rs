//! A store in several parts: each key in one of them, and what befalls one part is its own.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold::store::{Batch, Store, StoreFuture};
use leasehold::{Mode, Reason};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{beside, build, denial, drain, eventually, one_limit};

const PARTS: u32 = 5;

struct Parts {
    parts: Vec<Arc<FaultStore>>,
    /// Of the latest batch.
    latest: AtomicU32,
}

impl Parts {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            parts: (0..PARTS).map(|_| FaultStore::new(Fault::None)).collect(),
            latest: AtomicU32::new(u32::MAX),
        })
    }
}

impl Store for Parts {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        self.latest.store(batch.partition, Relaxed);
        self.parts[batch.partition as usize].exchange(batch)
    }

    fn partitions(&self) -> u32 {
        PARTS
    }

    fn round_trips(&self) -> u64 {
        self.parts.iter().map(Store::round_trips).sum()
    }
}

/// All of a key's tokens are in one ledger, whoever asks and however.
#[tokio::test]
async fn every_replica_finds_a_key_in_the_same_part() {
    let store = Parts::new();
    let limit = "1/h burst 40";
    for user in 0..20 {
        let (one, other) = (
            beside(limit, Arc::clone(&store)),
            beside(limit, Arc::clone(&store)),
        );
        let central = one_limit(limit)
            .mode(Mode::Central)
            .store(Arc::clone(&store));
        let (central, key) = (build(central), format!("user:{user}"));
        for limiter in [&one, &central, &other] {
            assert!(limiter.acquire(&key, 1).await.is_allowed());
        }
        let mut tokens = 3 + drain(&one, (&key).into()).await;
        one.shutdown().await.unwrap();
        tokens += drain(&other, (&key).into()).await + drain(&central, (&key).into()).await;
        other.shutdown().await.unwrap();
        tokens += drain(&central, (&key).into()).await;
        assert_eq!(tokens, 40, "{key}");
    }
    let used = store.parts.iter().filter(|part| part.round_trips() > 0);
    assert_eq!(used.count(), PARTS as usize, "20 keys lie in all parts");
}

#[tokio::test]
async fn a_part_that_is_away_leaves_the_others_alone() {
    let store = Parts::new();
    let builder = one_limit("1/h burst 1000").store(Arc::clone(&store));
    let limiter = build(builder.call_timeout(Duration::from_millis(20)));
    let mut keys = vec![String::new(); PARTS as usize];
    for user in 0.. {
        let key = format!("user:{user}");
        assert!(limiter.acquire(&key, 1).await.is_allowed());
        keys[store.latest.load(Relaxed) as usize] = key;
        if keys.iter().all(|key| !key.is_empty()) {
            break;
        }
    }
    for fault in [Fault::Fails, Fault::Silent] {
        store.parts[0].set(fault);
        // Costly enough that no stock of tokens hides what the store does.
        eventually("the part is found to be away", async || {
            let verdict = limiter.acquire(&keys[0], 200).await;
            (!verdict.is_allowed()).then(|| {
                assert_eq!(
                    denial(verdict).reason,
                    Reason::StoreUnavailable,
                    "{fault:?}"
                );
            })
        })
        .await;
        for key in &keys[1..] {
            let verdict = limiter.acquire(key, 100).await;
            assert!(verdict.is_allowed(), "{key}, {fault:?}: {verdict:?}");
        }
    }
}
