//! Exchanges that count only once replicas have them.

use std::sync::Arc;

use leasehold::Limiter;
use leasehold::store::Store as _;
use leasehold_redis::RedisStore;
use leasehold_testbed::ServerOptions;
use tokio::time::sleep;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_used_of_an_exchange_that_no_replica_acknowledged() {
    on_each_server(ServerOptions::default(), async |server| {
        let replica = replica_of(&server);
        wait_for_replica(&server);

        let mut settings = settings(&server.url()).expect("a URL");
        settings.replicas_acknowledged = 1;
        settings.response_timeout = Duration::from_millis(500);
        let store = Arc::new(RedisStore::connect(settings).await.expect("connects"));
        // Each request is an exchange of its own.
        let limiter = Limiter::builder()
            .limit("api", "1000/s burst 1")
            .store(Arc::clone(&store))
            .build()
            .expect("builds");
        let allowed = async || limiter.acquire("somebody", 1).await.is_allowed();
        let some = async || {
            while !allowed().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        within(RECOVERY, some()).await;

        replica.pause().expect("freezes");
        sleep(Duration::from_millis(50)).await;
        let before = store.round_trips();
        for _ in 0..5 {
            assert!(!allowed().await, "nobody has it");
            sleep(Duration::from_millis(50)).await;
        }
        assert!(store.round_trips() > before, "it was asked");
        assert!(link_of(&store).wire().is_ok(), "the connection is good");

        replica.resume().expect("goes on");
        within(RECOVERY * 2, some()).await;
    })
    .await;
}
