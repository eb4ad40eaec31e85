//! Keys under which something lies that the store's script did not write.

use leasehold::store::{Answer, Batch, Call, NamedLimit, Store as _};
use leasehold::{FailurePolicy, LimitId, Limiter, Mode, Reason, Tuning, Verdict};
use leasehold_core::{
    Demand, Instant as LeaseInstant, LeaseRequest, Micros, RecordId, Request, Status, StoreTime,
};
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

/// One such request of a custom caller failed the batch, with the requests for all other keys.
#[tokio::test]
async fn a_request_that_cannot_be_counted_is_refused_and_the_others_are_executed() {
    let fine = lease(RECORD);
    let edge = 1 << 52;
    let uncountable = [
        Request::Spend { cost: edge },
        Request::Spend { cost: u64::MAX },
        Request::Charge { tokens: edge },
        Request::Lease(LeaseRequest {
            granted: edge,
            ..fine
        }),
        Request::Lease(LeaseRequest {
            spent: u64::MAX,
            ..fine
        }),
        Request::Lease(LeaseRequest {
            released: edge,
            ..fine
        }),
        Request::Lease(LeaseRequest {
            wanted: edge,
            ..fine
        }),
        Request::Lease(LeaseRequest {
            needed: edge,
            ..fine
        }),
        Request::Lease(LeaseRequest {
            lease: Micros(edge),
            ..fine
        }),
        Request::Lease(LeaseRequest {
            lease: Micros(edge - 1),
            ..fine
        }),
        Request::Lease(LeaseRequest {
            expiry: StoreTime::from_micros(edge),
            ..fine
        }),
    ];
    on_each_server(ServerOptions::default(), async |server| {
        let store = RedisStore::connect(settings(&server.url()).expect("a URL")).await;
        let store = store.expect("connects");
        let spend = Request::Spend { cost: 1 };
        for request in uncountable {
            let batch = batch(&[spend, request, spend, request], StoreTime::ZERO);
            let answer = store.exchange(&batch).await;
            let answer = answer.unwrap_or_else(|error| panic!("{request:?}: {error}"));
            let expected = [
                Status::Spent,
                Status::Uncountable,
                Status::Spent,
                Status::Uncountable,
            ];
            assert_eq!(statuses(&answer), expected, "{request:?}");
            answer.check(&batch).expect("one reply for each");
        }
        // Without any that is sent, the birth is asked for.
        let answer = store.exchange(&batch(&uncountable, StoreTime::ZERO)).await;
        let answer = answer.expect("it is there");
        assert!(answer.birth.since > StoreTime::ZERO);
        assert_eq!(
            statuses(&answer),
            [Status::Uncountable; 11],
            "{uncountable:?}"
        );
        // A birth of the future is met as the embedded store meets it.
        let future = batch(&[spend], StoreTime::from_micros(u64::MAX));
        let answer = store.exchange(&future).await.expect("it is there");
        assert_eq!(statuses(&answer), [Status::Denied], "it counts as emptied");
    })
    .await;
}

/// A number that was stored under one key came back in the reply and failed the whole batch.
#[tokio::test]
async fn a_stored_number_that_cannot_be_sent_back_is_the_trouble_of_its_key() {
    on_each_server(ServerOptions::default(), async |server| {
        let store = RedisStore::connect(settings(&server.url()).expect("a URL")).await;
        let store = store.expect("connects");
        let beyond = (1 << 52) + 1;
        for record in [[beyond, 0, 0, beyond - 2], [7, 0, 0, beyond]] {
            let outstanding = record[0];
            let (at, kept) = (1, 1 << 50);
            // Level to weight; how many replicas; how long it is kept, and the ceiling; and parts
            // that were retired.
            let header = [
                vec![3],
                sevens(&[0, at, outstanding, 0, record[3], 1]),
                vec![1, 0, 0],
                sevens(&[kept, 1000]),
                vec![0; 4],
            ];
            let [granted, spent, released, expiry] = record;
            let record = [granted, spent, released, expiry, 0];
            let id = [
                RECORD.replica.to_le_bytes(),
                RECORD.generation.to_le_bytes(),
            ]
            .concat();
            let key = Names::new("leasehold").bucket(0, "api", KEYS[1].as_bytes());
            server.run(&redis::cmd("FLUSHALL")).expect("is emptied");
            let mut set = redis::cmd("HSET");
            set.arg(key).arg("h").arg(header.concat());
            server
                .run(set.arg(id).arg(sevens(&record)))
                .expect("is set");
            let requests = [
                Request::Spend { cost: 1 },
                Request::Lease(lease(RECORD)),
                Request::Spend { cost: 1 },
            ];
            let answer = store.exchange(&batch(&requests, StoreTime::ZERO)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{record:?}: {error}"));
            let expected = [Status::Spent, Status::Unreadable, Status::Spent];
            assert_eq!(statuses(&answer), expected, "{record:?}");
        }
    })
    .await;
}

/// Numbers as a bucket has them: seven bytes each.
fn sevens(numbers: &[u64]) -> Vec<u8> {
    let seven = |number: &u64| number.to_le_bytes().into_iter().take(7);
    numbers.iter().flat_map(seven).collect()
}

fn lease(record: RecordId) -> LeaseRequest {
    LeaseRequest {
        record,
        granted: 0,
        spent: 0,
        released: 0,
        wanted: 1,
        needed: 1,
        lease: Micros(5_000_000),
        expiry: StoreTime::ZERO,
        demand: Demand::ONE,
    }
}

/// A batch with one of `requests` for each of the [`KEYS`], in turn.
fn batch(requests: &[Request], known_birth: StoreTime) -> Batch {
    let keys = KEYS.iter().cycle();
    let calls = requests.iter().zip(keys);
    let calls = calls.map(|(request, key)| Call::new((LimitId(0), *key).into(), *request));
    let limit = NamedLimit {
        name: "api".into(),
        limit: "1/min burst 1000".parse().expect("a limit"),
        policy: FailurePolicy::Closed,
    };
    Batch {
        replica: RECORD.replica,
        partition: 0,
        known_birth,
        quarantine: Micros(5_000_000),
        enroll: None,
        limits: [limit].into(),
        calls: calls.collect(),
        sent: LeaseInstant::ORIGIN,
    }
}

fn statuses(answer: &Answer) -> Vec<Status> {
    answer.replies.iter().map(|reply| reply.status).collect()
}

const KEYS: [&str; 3] = ["alice", "bob", "carol"];

const RECORD: RecordId = RecordId {
    replica: 1,
    generation: 1,
};

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
