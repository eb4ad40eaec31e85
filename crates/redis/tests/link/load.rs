//! Admissions of a limiter under overload, held against the limit.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use leasehold::{Limiter, Tuning};
use leasehold_redis::RedisStore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// One caller who takes all there is.
pub(super) struct Load {
    rate: u32,
    burst: u32,
    stop: Arc<AtomicBool>,
    admitted: Arc<AtomicUsize>,
    caller: JoinHandle<Vec<(f64, f64)>>,
}

impl Load {
    pub(super) fn on(store: &Arc<RedisStore>, rate: u32, burst: u32) -> Self {
        Self::tuned(store, rate, burst, Tuning::default())
    }

    pub(super) fn tuned(store: &Arc<RedisStore>, rate: u32, burst: u32, tuning: Tuning) -> Self {
        let limit = format!("{rate}/s burst {burst}");
        let limiter = Limiter::builder()
            .limit("api", limit)
            .tuning(tuning)
            .store(Arc::clone(store))
            .build()
            .expect("builds");
        let (stop, admitted) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let caller = tokio::spawn({
            let (stop, admitted) = (Arc::clone(&stop), Arc::clone(&admitted));
            async move {
                let (start, mut taken) = (Instant::now(), Vec::new());
                while !stop.load(Relaxed) {
                    let before = start.elapsed().as_secs_f64();
                    // Keys differ by their limits, so that loads do not share a bucket.
                    if limiter.acquire(&format!("{rate}"), 1).await.is_allowed() {
                        taken.push((before, start.elapsed().as_secs_f64()));
                        admitted.fetch_add(1, Relaxed);
                    } else {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                taken
            }
        });
        Self {
            rate,
            burst,
            stop,
            admitted,
            caller,
        }
    }

    pub(super) fn admitted(&self) -> usize {
        self.admitted.load(Relaxed)
    }

    /// No window, from the beginning of one admission to the end of a later one, holds more than
    /// burst + rate * length.
    pub(super) async fn ends_within_the_limit(self) {
        self.stop.store(true, Relaxed);
        let taken = self.caller.await.expect("no panic");
        let (rate, burst) = (f64::from(self.rate), f64::from(self.burst));
        let mut least = f64::INFINITY;
        let mut count = 0.0;
        for (before, after) in taken {
            least = least.min(count - rate * before);
            count += 1.0;
            let excess = count - rate * after - least - burst;
            assert!(excess <= 0.001, "{excess} tokens too many at {after} s");
        }
    }
}
