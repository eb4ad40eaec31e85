//! Keys under which something lies that the store's script did not write.

use leasehold::{FailurePolicy, Limiter, Mode, Reason, Tuning, Verdict};
use leasehold_redis::codec::Names;
use leasehold_testbed::ServerOptions;

use super::health::Log;
use super::*;

/// One list under one key ended every limit: closed, nine in ten of the other keys were denied;
/// open or local, the store was taken for away for ever. On one thread: the log is that thread's.
#[tokio::test]
async fn one_key_that_cannot_be_read_is_decided_by_its_policy_and_no_other_notices() {
    on_each_server(ServerOptions::default(), async |server| {
        let poisons: [&[&str]; 3] = [
            &["RPUSH", "x"],
            &["SET", "garbage"],
            &["HSET", "h", "nonsense"],
        ];
        let policies = [
            FailurePolicy::Closed,
            FailurePolicy::Local,
            FailurePolicy::Open,
        ];
        for (poison, policy) in poisons.into_iter().zip(policies) {
            let (log, _guard) = Log::of_this_thread();
            server.run(&redis::cmd("FLUSHALL")).expect("is emptied");
            server.run(&words(poison)).expect("is set");
            let limiter = limiter(&server, policy, Mode::Lease).await;
            for _ in 0..200 {
                for other in ["alice", "bob"] {
                    let verdict = limiter.acquire(other, 1).await;
                    assert!(verdict.is_allowed(), "{policy:?}: {verdict:?}");
                }
                let verdict = limiter.acquire(CAROL, 1).await;
                assert_eq!(reason(&verdict), expected(policy), "{verdict:?}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let error = limiter.peek(CAROL).await.expect_err("it cannot be read");
            assert!(!format!("{error} {error:?}").contains("carol"), "{error}");
            assert_eq!(log.count("was not written by this version"), 1);
            assert_eq!(log.count("carol"), 0, "a user's key is nobody's to read");
            assert_eq!(log.count("does not answer"), 0, "the store is there");

            // It heals once somebody has deleted what is there.
            let name = Names::new("leasehold").bucket(0, "api", CAROL.as_bytes());
            let kind = server.run(redis::cmd("TYPE").arg(&name)).expect("answers");
            let as_it_was = matches!(poison[0], "SET").then_some("string");
            let as_it_was = as_it_was.unwrap_or(if poison[0] == "HSET" { "hash" } else { "list" });
            assert_eq!(kind, Value::SimpleString(as_it_was.to_owned()));
            server.run(redis::cmd("DEL").arg(name)).expect("deletes");
            let healed = async {
                while limiter.peek(CAROL).await.is_err()
                    || !limiter.acquire(CAROL, 1).await.is_allowed()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            within(RECOVERY, healed).await;
            // Or it would remember the store that is emptied next.
            limiter.shutdown().await.expect("gives everything back");
        }
    })
    .await;
}

#[tokio::test]
async fn in_central_mode_such_a_key_is_denied_and_named_nowhere() {
    on_each_server(ServerOptions::default(), async |server| {
        let (log, _guard) = Log::of_this_thread();
        server.run(&words(&["ZADD", "1", "x"])).expect("is set");
        let limiter = limiter(&server, FailurePolicy::Closed, Mode::Central).await;
        for _ in 0..10 {
            let verdict = limiter.acquire(CAROL, 1).await;
            assert_eq!(reason(&verdict), Some(Reason::StoreUnavailable));
            assert!(limiter.acquire("alice", 1).await.is_allowed());
        }
        assert_eq!(log.count("carol"), 0);
    })
    .await;
}

async fn limiter(server: &LocalServer, policy: FailurePolicy, mode: Mode) -> Limiter {
    let store = RedisStore::connect(settings(&server.url()).expect("a URL")).await;
    let mut tuning = Tuning::default();
    tuning.max_replicas = std::num::NonZeroU32::new(1);
    let limiter = Limiter::builder()
        .limit("api", "100000/s")
        .failure_policy("api", policy)
        .mode(mode)
        .tuning(tuning)
        .store(store.expect("connects"));
    limiter.build().expect("builds")
}

/// A command on the bucket of Carol.
fn words(poison: &[&str]) -> redis::Cmd {
    let name = Names::new("leasehold").bucket(0, "api", CAROL.as_bytes());
    let mut command = redis::cmd(poison[0]);
    command.arg(name).arg(&poison[1..]);
    command
}

fn reason(verdict: &Verdict) -> Option<Reason> {
    verdict.denial().map(|denial| denial.reason)
}

fn expected(policy: FailurePolicy) -> Option<Reason> {
    match policy {
        FailurePolicy::Closed => Some(Reason::StoreUnavailable),
        _ => None,
    }
}

const CAROL: &str = "carol@example.org";
